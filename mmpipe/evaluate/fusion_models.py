"""The two that are compared: pictures fused into a language model, and the picture's class told to it in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp
from typing import Protocol

import torch
from torch import Tensor

from mmpipe.fusion.articles import with_article
from mmpipe.fusion.confidence import confidence
from mmpipe.fusion.strategies import FeatureBatch, Strategy
from mmpipe.fusion.training.multi_image_questions import ORDINALS
from mmpipe.fusion.training.packing import Packer, Turn
from mmpipe.generation.engine import GenerationEngine
from mmpipe.generation.language_model import LanguageModel
from mmpipe.generation.requests import GenerationRequest, Prompt, ScoreRequest
from mmpipe.types import ImageFeatures

_FUSED_TOKENS, _CASCADE_TOKENS = 24, 24


class PictureQuestion(Protocol):
    """What is asked about one picture, or several: their names in order. ``history``: turns before, in which the first
    of the pictures were shown."""

    @property
    def pictures(self) -> tuple[str, ...]: ...
    @property
    def yes_or_no(self) -> bool: ...
    @property
    def question(self) -> str: ...
    @property
    def history(self) -> Sequence[Turn]: ...


@dataclass(frozen=True, slots=True)
class Answered:
    """``confidence``: 0..1, that the answer is right. ``logprobs``: of its tokens, if they were generated."""

    text: str
    confidence: float
    logprobs: tuple[float, ...] = ()


def fused(
    language_model: LanguageModel,
    strategy: Strategy,
    features: Mapping[str, ImageFeatures],
    asked: Sequence[PictureQuestion],
) -> list[Answered]:
    """Greedy answers of the language model with the pictures spliced in. ``features``: by the name of the picture."""
    packer = Packer(language_model, strategy.n_tokens)
    with torch.inference_mode():
        encoded, requests = dict[str, Tensor](), []
        for one in asked:
            for name in one.pictures:
                if name not in encoded:
                    encoded[name] = strategy(FeatureBatch.of([features[name]]))
            shown = torch.cat([encoded[name] for name in one.pictures])
            now = len(one.pictures) - sum(turn.pictures for turn in one.history)
            ids = torch.tensor([packer.prefix(now, one.history) + packer.question(one.question)])
            given = torch.ones(ids.shape, dtype=torch.bool)
            embeds = strategy.place(language_model.embed(ids), ids == language_model.placeholder_id, given, shown)
            prompt = Prompt(embeds[0], memory=shown if strategy.attends else None)
            requests.append(GenerationRequest(prompt, max_new_tokens=_FUSED_TOKENS))
    with GenerationEngine(language_model, attending=strategy.attending if strategy.attends else None) as engine:
        said = engine.generate(requests)
    answers = []
    for one, generation in zip(asked, said, strict=True):
        before = sum(turn.pictures for turn in one.history)
        pictures = [features[name] for name in one.pictures[before:]]  # shown last
        sure = confidence(generation.text, generation.logprobs, pictures)
        answers.append(Answered(generation.text, sure, generation.logprobs))
    return answers


def cascade(
    language_model: LanguageModel,
    labels: Sequence[str],
    features: Mapping[str, ImageFeatures],
    asked: Sequence[PictureQuestion],
) -> list[Answered]:
    """The same language model, untouched, told the likeliest class of each picture in words. To yes-or-no questions it
    answers by which of the two is the likelier: left to itself it often says neither."""
    lm = language_model
    packer = Packer(lm, 0)
    prompts = []
    for one in asked:
        names = [with_article(labels[int(features[name].logits.argmax())]) for name in one.pictures]
        history, start = [], 0
        for turn in one.history:
            told = _told(names[start : start + turn.pictures])
            history.append(Turn(0, f"{told} {turn.question}", turn.answer))
            start += turn.pictures
        question = packer.question(f"{_told(names[start:])} {one.question}".strip())
        prompts.append(Prompt(token_ids=[*packer.prefix(0, history), *question]))
    yes_no = [lm.encode("Yes"), lm.encode("No")]
    with GenerationEngine(lm) as engine:
        closed = {i for i, one in enumerate(asked) if one.yes_or_no}
        scores = {i: engine.score(ScoreRequest(prompts[i], yes_no), block=True) for i in sorted(closed)}
        open_ones = [i for i in range(len(asked)) if i not in closed]
        said = engine.generate(GenerationRequest(prompts[i], max_new_tokens=_CASCADE_TOKENS) for i in open_ones)
        answers = {i: Answered(one.text, exp(sum(one.logprobs))) for i, one in zip(open_ones, said, strict=True)}
        for i, future in scores.items():
            yes, no = (score.logprob for score in future.result())
            answers[i] = Answered("Yes." if yes > no else "No.", exp(max(yes, no)) / (exp(yes) + exp(no)))
    return [answers[i] for i in range(len(asked))]


def _told(names: Sequence[str]) -> str:
    """What the pictures show, in words."""
    if len(names) == 1:
        return f"The picture shows {names[0]}."
    places = ORDINALS[: len(names)]
    return " ".join(f"The {nth} picture shows {name}." for nth, name in zip(places, names, strict=True))
