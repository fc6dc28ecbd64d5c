"""What the language model says to a prompt, and whether that is to be believed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from math import exp
from typing import Any

from mmpipe.errors import InputError
from mmpipe.fusion.articles import with_article
from mmpipe.fusion.confidence import shares
from mmpipe.generation.engine import GenerationEngine
from mmpipe.generation.grammar import GrammarCompiler
from mmpipe.generation.likelihood import Choices
from mmpipe.generation.requests import FinishReason, ForcedTokens, Generation, GenerationRequest, Prompt
from mmpipe.generation.sampling import SamplingOptions
from mmpipe.generation.streams import GenerationStream
from mmpipe.pipelines.engines import Lazy
from mmpipe.pipelines.multimodal_qa.question import Question
from mmpipe.pipelines.multimodal_qa.question_language import ENGLISH
from mmpipe.pipelines.multimodal_qa.stream import AnswerStream
from mmpipe.types import ImageFeatures, TextLine

#: What the language model learned to say where it cannot know.
REFUSAL = "I cannot tell."
_REFUSES = re.compile(r"\W*(?:$|I (?:cannot|can't) tell\b)", re.IGNORECASE)
_NEXT_SENTENCE = re.compile(r"[.!?…][\"')\]]*\s+\S")

#: (answer, log probabilities of its tokens, features of the pictures that were shown last) -> the probability that it
#: is right, 0..1.
Confidence = Callable[[str, Sequence[float], Sequence[ImageFeatures]], float]


@dataclass(frozen=True, slots=True, eq=False)
class Said:
    """``text`` in ``language`` (None: not known), to be told; ``said``: what the language model said itself, if it did
    in its own words as ``token_ids``."""

    text: str
    said: str
    confidence: float
    language: str | None = ENGLISH
    refused: bool = False
    read: tuple[TextLine, ...] = ()
    choices: Mapping[str, float] = field(default_factory=dict)
    data: Any = None
    token_ids: tuple[int, ...] = ()


class Answerer:
    """Has answers written by ``engine``. Those of one sentence are refused below ``threshold``, 0..1.

    A longer answer is not: its tokens could have been others in many ways, so that its likelihood says little.
    """

    def __init__(self, engine: GenerationEngine, confidence: Confidence, threshold: float) -> None:
        if not 0 <= threshold <= 1:
            raise InputError(f"The threshold is {threshold}; it is a probability, 0 to 1.")
        self._engine, self._confidence, self._threshold = engine, confidence, threshold
        self._grammars = Lazy("Grammars", lambda: GrammarCompiler(engine.language_model))

    def say(
        self, prompt: Prompt, features: Sequence[ImageFeatures], question: Question, out: AnswerStream, *, live: bool
    ) -> Said:
        """An answer in its own words. ``features``: of what was shown last. ``live``: pass it on to ``out``
        as it is written, from its second sentence on.

        Before that, it may still turn out to be refused, and what was told cannot be taken back.
        """
        stream = self._submit(GenerationRequest(prompt, question.max_new_tokens, question.sampling), out)
        held, long = "", False
        for piece in stream:
            held += piece
            long = long or is_long(held)
            if long and live:
                out.push(held)
                held = ""
        return self.judge(stream.result(), features)

    def trace(
        self,
        prompt: Prompt,
        features: Sequence[ImageFeatures],
        question: Question,
        out: AnswerStream,
        token_ids: Sequence[int] = (),
    ) -> tuple[Said, Generation]:
        """What :meth:`say` gives, and how it came to be, with attention. ``token_ids``: the answer, if it was given."""
        request = GenerationRequest(
            prompt,
            question.max_new_tokens,
            SamplingOptions() if token_ids else question.sampling,
            grammar=ForcedTokens(token_ids) if token_ids else None,
            trace_attention=True,
        )
        generation = self._submit(request, out).result()
        return self.judge(generation, features), generation

    def judge(self, generation: Generation, features: Sequence[ImageFeatures]) -> Said:
        """What to make of what was generated."""
        said = _finished(generation).text.strip()
        sure = self._confidence(said, generation.logprobs, features)
        if _REFUSES.match(said):
            return Said(said or REFUSAL, said, sure, refused=True, token_ids=generation.token_ids)
        if sure < self._threshold and not is_long(said):
            return Said(REFUSAL, said, sure, refused=True, token_ids=generation.token_ids)
        return Said(said, said, sure, token_ids=generation.token_ids)

    def choose(self, prompt: Prompt, choices: Sequence[str], english: Sequence[str], language: str) -> Said:
        """One of ``choices``, which are in ``language`` what ``english`` is in English, by likelihood.

        Where the language model itself would rather say that it cannot tell, that is the answer. How likely the choices
        are at all does not matter otherwise: who is asked whether it is a dog or a cat would have said "A beagle.".

        Raises:
            InputError: two of them are the same in English.
        """
        spelled = [spellings(choice) for choice in english]
        scored = Choices(self._engine.language_model, [*spelled, REFUSAL]).score(self._engine, prompt)
        *logprobs, doubt = (choice.logprob for choice in scored)
        in_doubt = exp(doubt)
        by_text = sorted(zip(choices, shares(logprobs), english, strict=True), key=lambda one: -one[1])
        best, share, said = by_text[0]
        refused = in_doubt > 0.5
        return Said(
            text=REFUSAL if refused else best,
            said=REFUSAL if refused else said,
            confidence=in_doubt if refused else share * (1 - in_doubt),
            language=ENGLISH if refused else language,
            refused=refused,
            choices={text: share for text, share, _ in by_text},
        )

    def fill_in(self, prompt: Prompt, features: Sequence[ImageFeatures], question: Question, out: AnswerStream) -> Said:
        """JSON as the question's schema wants it.

        Raises:
            InputError: the schema cannot be used, or the answer was cut off before it was complete.
            MissingDependencyError: llguidance is not installed.
        """
        grammar = self._grammars().json(question.schema or {})
        request = GenerationRequest(prompt, question.max_new_tokens, question.sampling, grammar=grammar)
        generation = _finished(self._submit(request, out).result())
        try:
            data = json.loads(generation.text)
        except ValueError as error:
            raise InputError(
                f"The JSON was not complete after {len(generation.token_ids)} tokens: raise max_new_tokens, or give "
                "the strings in the schema a maxLength."
            ) from error
        sure = self._confidence(generation.text, generation.logprobs, features)
        return Said(generation.text, generation.text, sure, data=data)

    def _submit(self, request: GenerationRequest, out: AnswerStream) -> GenerationStream:
        stream = self._engine.submit(request, block=True)
        out.stop_with(stream.cancel)
        return stream


def is_long(text: str) -> bool:
    """Whether ``text`` goes on after its first sentence."""
    return bool(_NEXT_SENTENCE.search(text))


def _finished(generation: Generation) -> Generation:
    if generation.finish is FinishReason.CANCELLED:
        raise CancelledError
    return generation


def spellings(choice: str) -> list[str]:
    """How the language model may write an answer: as it stands, and as a sentence, with an article if it is a noun."""
    named = with_article(choice)
    sentences = [f"{text[:1].upper()}{text[1:]}." for text in (choice, named)]
    return list(dict.fromkeys([choice, *sentences]))
