"""Are spoken questions answered as the same questions in writing are?

Held-out questions, spoken by a voice that the training knew and by voices it did not, are answered in three ways:
*text*, the question as it stands, which is the ceiling; *transcript*, recognized and then asked; *fusion*, heard by the
language model itself. The answers are greedy, so that nothing but the question makes a difference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mmpipe.evaluate.fusion import Rate
from mmpipe.fusion.audio.distillation import spoken_prompt
from mmpipe.fusion.audio.questions import HELD_OUT_VOICES, SpokenQuestion, questions
from mmpipe.fusion.splicing import splice
from mmpipe.generation.chat import Message, render
from mmpipe.generation.engine import GenerationEngine
from mmpipe.generation.requests import Generation, GenerationRequest, Prompt
from mmpipe.pipelines.audio_fusion import speech_in
from mmpipe.pipelines.engines import Engines
from mmpipe.pipelines.spoken_training import QuestionClip
from mmpipe.types import RecognitionOptions, SpeechWindow

if TYPE_CHECKING:
    from torch import Tensor

    from mmpipe.generation.language_model import LanguageModel
    from mmpipe.types import Audio

#: A voice that was trained with, of other questions.
KNOWN_VOICE = "joe"
ANSWER_TOKENS = 16
#: Sound -> what was said.
Recognize = Callable[[Sequence["Audio"]], list[str]]
#: Sound -> embeddings, (n, hidden) each.
Embed = Callable[[Sequence["Audio"]], "list[Tensor]"]


@dataclass(frozen=True, slots=True)
class Scored:
    """How one way of hearing does over some recordings.

    ``first``: the answer begins with the same token as that to the text; ``same``: it is the same altogether, up to
    :data:`ANSWER_TOKENS`; ``right``: of questions with a known answer, it contains that.
    """

    first: Rate
    same: Rate
    right: Rate


def held_out_clips(count: int | None = None) -> list[QuestionClip]:
    """``count`` held-out questions (None: all), each by :data:`KNOWN_VOICE` and by one of the held-out voices."""
    asked = [one for one in questions() if one.held_out][:count]
    return [QuestionClip(one, KNOWN_VOICE) for one in asked] + [
        QuestionClip(one, HELD_OUT_VOICES[at % len(HELD_OUT_VOICES)]) for at, one in enumerate(asked)
    ]


def score(
    language_model: LanguageModel,
    clips: Sequence[QuestionClip],
    sounds: Sequence[Audio],
    recognize: Recognize,
    embed: Embed,
) -> dict[str, dict[str, Scored]]:
    """Group of voices ("known voice", "new voices") -> way ("text", "transcript", "fusion") -> how it does."""
    texts = [clip.question.text for clip in clips]
    heard = recognize(sounds)
    with GenerationEngine(language_model) as engine:
        unique = list(dict.fromkeys([*texts, *heard]))
        told = dict(zip(unique, _answers(engine, [_text(language_model, text) for text in unique]), strict=True))
        fused = _answers(engine, [spoken(language_model, embeddings) for embeddings in embed(sounds)])
    ways = {"text": [told[text] for text in texts], "transcript": [told[text] for text in heard], "fusion": fused}
    groups = {
        "known voice": [at for at, clip in enumerate(clips) if clip.voice == KNOWN_VOICE],
        "new voices": [at for at, clip in enumerate(clips) if clip.voice != KNOWN_VOICE],
    }
    return {
        group: {
            way: scored(
                [clips[at].question for at in rows], [answers[at] for at in rows], [ways["text"][at] for at in rows]
            )
            for way, answers in ways.items()
        }
        for group, rows in groups.items()
    }


def scored(asked: Sequence[SpokenQuestion], answers: Sequence[Generation], texts: Sequence[Generation]) -> Scored:
    """``texts``: the answers to the questions in writing."""
    pairs = list(zip(answers, texts, strict=True))
    return Scored(
        first=_rate(ours.token_ids[:1] == theirs.token_ids[:1] for ours, theirs in pairs),
        same=_rate(ours.token_ids == theirs.token_ids for ours, theirs in pairs),
        right=_rate(right(one, answer.text) for one, answer in zip(asked, answers, strict=True) if one.accepted),
    )


def right(question: SpokenQuestion, answer: str) -> bool:
    """Whether ``answer`` has one of the accepted words; yes and no must come first."""
    said = " ".join(re.findall(r"\w+", answer.lower()))
    if set(question.accepted) <= {"yes", "no"}:
        return said.split(" ")[0] in question.accepted
    return any(re.search(rf"\b{re.escape(word.lower())}\b", said) for word in question.accepted)


def recognize(sounds: Sequence[Audio]) -> list[str]:
    """What Whisper base hears, as the pipeline would ask it."""
    options = RecognitionOptions(language="en")
    with Engines("whisper-base") as engines:
        windows = [SpeechWindow(speech_in(sound, engines.vad), options) for sound in sounds]
        return [segment.text for segment in engines.batchers(engines.recognizer, windows)]


def spoken(language_model: LanguageModel, embeddings: Tensor) -> Prompt:
    """A question that is only heard: ``embeddings`` (n, hidden) in a turn of the user's."""
    ids = torch.tensor([spoken_prompt(language_model, len(embeddings))])
    with torch.inference_mode():
        placed = splice(language_model.embed(ids), ids == language_model.placeholder_id, [[embeddings]])
    return Prompt(embeddings=placed[0])


def _text(language_model: LanguageModel, text: str) -> Prompt:
    return Prompt(token_ids=render(language_model, [Message("user", text or "?")]).token_ids)


def _answers(engine: GenerationEngine, prompts: Iterable[Prompt]) -> list[Generation]:
    return engine.generate(GenerationRequest(prompt, ANSWER_TOKENS) for prompt in prompts)


def _rate(marks: Iterable[bool]) -> Rate:
    marks = list(marks)
    return Rate(sum(marks), len(marks))
