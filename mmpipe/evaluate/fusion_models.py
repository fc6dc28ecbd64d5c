"""The two that are compared: pictures fused into a language model, and the picture's class told to it in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp

import torch

from mmpipe.evaluate.fusion import Asked
from mmpipe.fusion.confidence import confidence
from mmpipe.fusion.engine import GenerationEngine
from mmpipe.fusion.language_model import LanguageModel
from mmpipe.fusion.requests import GenerationRequest, Prompt, ScoreRequest
from mmpipe.fusion.strategies import FeatureBatch, Strategy
from mmpipe.fusion.training.packing import Packer
from mmpipe.fusion.training.questions import with_article
from mmpipe.types import ImageFeatures

_FUSED_TOKENS, _CASCADE_TOKENS = 24, 24


@dataclass(frozen=True, slots=True)
class Answered:
    """``confidence``: 0..1, that the answer is right. ``logprobs``: of its tokens, if they were generated."""

    text: str
    confidence: float
    logprobs: tuple[float, ...] = ()


def fused(
    language_model: LanguageModel, strategy: Strategy, features: Mapping[str, ImageFeatures], asked: Sequence[Asked]
) -> list[Answered]:
    """Greedy answers of the language model with the pictures spliced in. ``features``: by the name of the picture."""
    packer = Packer(language_model, strategy.n_tokens)
    prefix = torch.tensor(packer.prefix())
    with torch.inference_mode():
        plain, spliced, memory = language_model.embed(prefix), {}, {}
        placeholders, prompt = prefix == language_model.placeholder_id, torch.ones(1, len(prefix), dtype=torch.bool)
        for name in dict.fromkeys(one.picture for one in asked):
            encoded = strategy(FeatureBatch.of([features[name]]))
            spliced[name] = strategy.place(plain.unsqueeze(0), placeholders.unsqueeze(0), prompt, encoded)[0]
            memory[name] = encoded if strategy.attends else None
        requests = []
        for one in asked:
            question = language_model.embed(packer.question(one.question))
            prompt_of = Prompt(torch.cat([spliced[one.picture], question]), memory=memory[one.picture])
            requests.append(GenerationRequest(prompt_of, max_new_tokens=_FUSED_TOKENS))
    with GenerationEngine(language_model, attending=strategy.attending if strategy.attends else None) as engine:
        said = engine.generate(requests)
    return [
        Answered(one.text, confidence(one.text, one.logprobs, [features[question.picture]]), one.logprobs)
        for question, one in zip(asked, said, strict=True)
    ]


def cascade(
    language_model: LanguageModel, labels: Sequence[str], features: Mapping[str, ImageFeatures], asked: Sequence[Asked]
) -> list[Answered]:
    """The same language model, untouched, told the likeliest class in words. To yes-or-no questions it answers by
    which of the two is the likelier: left to itself it often says neither."""
    lm = language_model
    packer = Packer(lm, 0)
    prompts = []
    for one in asked:
        name = with_article(labels[int(features[one.picture].logits.argmax())])
        prompts.append(
            Prompt(token_ids=[*packer.prefix(), *packer.question(f"The picture shows {name}. {one.question}")])
        )
    yes_no = [lm.encode("Yes"), lm.encode("No")]
    with GenerationEngine(lm) as engine:
        closed = {i for i, one in enumerate(asked) if one.sort in ("presence", "category")}
        scores = {i: engine.score(ScoreRequest(prompts[i], yes_no), block=True) for i in sorted(closed)}
        open_ones = [i for i in range(len(asked)) if i not in closed]
        said = engine.generate(GenerationRequest(prompts[i], max_new_tokens=_CASCADE_TOKENS) for i in open_ones)
        answers = {i: Answered(one.text, exp(sum(one.logprobs))) for i, one in zip(open_ones, said, strict=True)}
        for i, future in scores.items():
            yes, no = (score.logprob for score in future.result())
            answers[i] = Answered("Yes." if yes > no else "No.", exp(max(yes, no)) / (exp(yes) + exp(no)))
    return [answers[i] for i in range(len(asked))]
