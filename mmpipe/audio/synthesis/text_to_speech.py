"""Text of any length to speech: the layer above the engines.

It picks the engine, writes the text out as it is spoken, cuts it into clauses, has them spoken, trims the silence
of each, matches their loudness and puts back the pauses that belong to the punctuation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from threading import Lock
from typing import TYPE_CHECKING

from mmpipe.audio.synthesis.clauses import split_clauses, width
from mmpipe.audio.synthesis.engines import BuiltInSynthesizers, GivenSynthesizers, Synthesizers
from mmpipe.audio.synthesis.finish import join, match_loudness, silence, trim
from mmpipe.audio.synthesis.normalize import normalize
from mmpipe.errors import InputError, LanguageError
from mmpipe.stage import Synthesizer
from mmpipe.types import Audio, SpeechRequest

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Calls an engine with some requests; what ``mmpipe.batching`` puts between the speaker and the engine.
Runner = Callable[[Synthesizer, Sequence[SpeechRequest]], list[Audio]]

MIN_SPEED, MAX_SPEED = 0.5, 2.0
_ESTIMATE_MAX_CHARS = 250
#: Of the first piece of a stream: Kokoro takes about a second for so many letters on a core that it shares.
FIRST_CHARS = 50

# Characters a second at normal speed, pauses apart, of Kokoro's default voices. Other voices and engines differ by up
# to a fifth: a voice that has spoken is known by what it took (:class:`_Pace`).
_CHARS_PER_S = {"en": 18.5, "es": 17.0, "fr": 19.5, "it": 17.0, "ja": 25.0, "pt": 17.0, "zh": 18.5}
_CHARS_PER_S_ELSEWHERE = 16.0
_PRIOR_CHARS = 200.0  # how much speech the table's figure counts for, beside what was heard


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be spoken for one text, and the pause after each piece."""

    engine: Synthesizer
    requests: tuple[SpeechRequest, ...]
    pauses_s: tuple[float, ...]


class TextToSpeech:
    """Speaks text in any language that some engine knows.

    ``engines``: those to choose from, the first that has the language and the voice; None: the built-in ones, made
    when first needed (Kokoro, then Piper for the voice "joe", then espeak-ng). ``runner``: how to call an engine;
    None: directly, one call at a time. A context manager.
    """

    def __init__(
        self, engines: Sequence[Synthesizer] | Synthesizers | None = None, runner: Runner | None = None
    ) -> None:
        self._made_here = ExitStack()
        if engines is None:
            engines = self._made_here.enter_context(closing(BuiltInSynthesizers()))
        self._synthesizers = engines if isinstance(engines, Synthesizers) else GivenSynthesizers(engines)
        self._runner = runner or self._run_alone
        self._running = Lock()
        self._pace = _Pace()

    def speak(self, text: str, language: str, voice: str | None = None, speed: float = 1.0) -> Audio:
        """All of ``text`` as one piece of sound, without samples if there is nothing to speak in it.

        ``language``: ISO 639-1. ``voice``: one of ``voices(language)``; None: the first. ``speed``: 0.5 to 2.

        Raises:
            LanguageError: no engine has a voice for the language.
            InputError: there is no such voice, or ``speed`` is out of range.
            MissingDependencyError: the language needs an extra.
            WeightsError: the model files cannot be had.
        """
        return self.speak_many([SpeechRequest(text, language, voice, speed)])[0]

    def stream(self, text: str, language: str, voice: str | None = None, speed: float = 1.0) -> Iterator[Audio]:
        """The sound of :meth:`speak`, clause by clause as they are ready, each with the pause after it.

        The first piece is short, so that it is there soon, be the sentence ever so long.

        Raises: as :meth:`speak`, all before the first piece.
        """
        plan = self._plan(SpeechRequest(text, language, voice, speed), FIRST_CHARS)
        return self._stream(plan)

    def speak_many(self, requests: Sequence[SpeechRequest]) -> list[Audio]:
        """:meth:`speak` for many texts. All clauses for one engine go to it in one call.

        Raises: as :meth:`speak`.
        """
        plans = [self._plan(request) for request in requests]
        sounds: dict[Synthesizer, Iterator[Audio]] = {}
        for engine in {plan.engine: None for plan in plans}:
            together = [clause for plan in plans if plan.engine is engine for clause in plan.requests]
            sounds[engine] = iter(self._runner(engine, together) if together else ())
        return [
            join(list(self._with_pauses(plan, islice(sounds[plan.engine], len(plan.requests)))), plan.engine.rate_hz)
            for plan in plans
        ]

    def voices(self, language: str) -> list[str]:
        """Names of the voices for ``language``, the default first. Empty where there is none."""
        return self._synthesizers.voices(language)

    def languages(self) -> list[str]:
        """Languages that some engine has a voice for. No model is loaded to tell."""
        return sorted(self._synthesizers.languages())

    def check(self, language: str, voice: str | None = None) -> None:
        """Raise now what :meth:`speak` would raise for this language and voice. Loads the engine."""
        self.choose(language, voice)

    def choose(self, language: str, voice: str | None = None) -> tuple[Synthesizer, str]:
        """The engine that speaks ``language`` with ``voice``, and the voice's name.

        Raises: as :meth:`speak`.
        """
        for engine in self._synthesizers.candidates(language, voice):
            names = engine.voices.get(language, ())
            if names and voice is None:
                return engine, names[0]
            if voice in names:
                return engine, str(voice)
        raise self._refusal(language, voice)

    def estimate_s(self, text: str, language: str, voice: str | None = None, speed: float = 1.0) -> float:
        """About how many seconds ``text`` will take, without speaking it: from its characters and its pauses.

        Within 6 % of the truth on average for Kokoro's default voices. Gets better for a voice as it is used.
        """
        clauses = split_clauses(normalize(text, language), _ESTIMATE_MAX_CHARS)
        spoken_s = sum(width(clause.text) for clause in clauses) / self._pace.chars_per_s(language, voice)
        return (spoken_s + sum(clause.pause_s for clause in clauses[:-1])) / speed

    def close(self) -> None:
        """Free the engines that were made here; those that were given are their owner's."""
        self._made_here.close()

    def __enter__(self) -> TextToSpeech:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _refusal(self, language: str, voice: str | None) -> InputError:
        names = self.voices(language)
        if not names:
            near = get_close_matches(language, self.languages(), n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else "`mmpipe languages` lists those that have one"
            return LanguageError(f"There is no voice for the language {language!r}: {hint}")
        listed = self._synthesizers.listed()
        owners = [engine for engine in listed for known in engine.voices.values() if voice in known]
        if owners:
            speaks = [code for code, known in owners[0].voices.items() if voice in known]
            hint = f"it speaks {', '.join(speaks)}."
        else:
            near = get_close_matches(str(voice), names, n=3, cutoff=0.5)
            hint = f"did you mean {' or '.join(near)}?" if near else "there is no such voice."
        return InputError(f"The voice {voice!r} does not speak {language!r}: {hint} Voices: {', '.join(names)}")

    # -- speech -------------------------------------------------------------------------------------------------

    def _plan(self, request: SpeechRequest, first_chars: int | None = None) -> _Plan:
        if not MIN_SPEED <= request.speed <= MAX_SPEED:
            raise InputError(f"A speed of {request.speed} cannot be spoken: give one from {MIN_SPEED} to {MAX_SPEED}")
        engine, voice = self.choose(request.language, request.voice)
        clauses = [
            clause
            for clause in split_clauses(normalize(request.text, request.language), engine.max_chars, first_chars)
            if any(map(str.isalnum, clause.text))
        ]
        return _Plan(
            engine,
            tuple(SpeechRequest(clause.text, request.language, voice, request.speed) for clause in clauses),
            tuple(clause.pause_s / request.speed for clause in clauses),
        )

    def _stream(self, plan: _Plan) -> Iterator[Audio]:
        def sounds() -> Iterator[Audio]:
            for request in plan.requests:
                yield from self._runner(plan.engine, [request])

        yield from self._with_pauses(plan, sounds())

    def _run_alone(self, engine: Synthesizer, requests: Sequence[SpeechRequest]) -> list[Audio]:
        with self._running:  # a stage is called from one thread at a time
            return engine.run(requests)

    def _with_pauses(self, plan: _Plan, sounds: Iterable[Audio]) -> Iterator[Audio]:
        """Finished pieces with the pause between them: none before the first, none after the last."""
        last = len(plan.requests) - 1
        parts = zip(plan.requests, plan.pauses_s, sounds, strict=True)
        for position, (request, pause_s, sound) in enumerate(parts):
            spoken = match_loudness(trim(sound))
            if len(spoken.samples) == 0:
                continue
            self._pace.heard(request, spoken.duration_s)
            pause = silence(pause_s if position < last else 0.0, spoken.rate_hz)
            yield join([spoken, pause], spoken.rate_hz)


class _Pace:
    """How fast each voice speaks: the table's figure, drawn towards what was heard of the voice."""

    def __init__(self) -> None:
        self._heard: dict[tuple[str, str | None], tuple[float, float]] = {}  # characters, seconds at normal speed
        self._lock = Lock()

    def heard(self, request: SpeechRequest, duration_s: float) -> None:
        with self._lock:
            for voice in (request.voice, None):  # None: whichever voice the language is spoken with
                chars, seconds = self._heard.get((request.language, voice), (0.0, 0.0))
                now = chars + width(request.text), seconds + duration_s * request.speed
                self._heard[request.language, voice] = now

    def chars_per_s(self, language: str, voice: str | None) -> float:
        prior = _CHARS_PER_S.get(language, _CHARS_PER_S_ELSEWHERE)
        with self._lock:
            chars, seconds = self._heard.get((language, voice), (0.0, 0.0))
        return (chars + _PRIOR_CHARS) / (seconds + _PRIOR_CHARS / prior)
