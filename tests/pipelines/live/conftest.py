"""Engines that a test can break, and a replay on a clock of its own: sound is the only time that passes."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from mmpipe.audio.vad import SileroVad
from mmpipe.pipelines.engines import Engines
from mmpipe.pipelines.live import Event, LiveModels, LiveOptions, LiveSession
from mmpipe.stage import Recognizer, Synthesizer, Translator
from mmpipe.types import SPEECH_RATE_HZ, Audio, Segment, Sentence, SpeechRequest, SpeechWindow, Tier, Word

BLOCK = SPEECH_RATE_HZ // 10
PATIENCE_S = 60


LEVEL = 0.005
WORD = SPEECH_RATE_HZ // 2
#: Words from here on are Portuguese, those before English.
PORTUGUESE = 50


def spell(words: Sequence[int]) -> np.ndarray:
    """Sound that spells words: word n is 0.4 s of a level of its own, and 0.1 s of nothing."""
    sound = np.zeros((len(words), WORD), np.float32)
    sound[:, : round(0.8 * WORD)] = ((np.array(words) + 1) * LEVEL)[:, None]
    return sound.reshape(-1)


class Reader(Recognizer):
    """Reads spelled words: "w1 w2 w3 w4." Every fifth ends a sentence."""

    name = "reader"
    languages = frozenset({"en", "pt"})

    def run(self, items: Sequence[SpeechWindow]) -> list[Segment]:
        return [self.read(item.audio) for item in items]

    def read(self, audio: Audio) -> Segment:
        codes = np.rint(audio.samples / LEVEL).astype(int)
        edges = [0, *(np.flatnonzero(np.diff(codes)) + 1), len(codes)]
        found = [(int(codes[a]) - 1, a, b) for a, b in itertools.pairwise(edges) if codes[a] > 0 and b - a > 800]
        words = tuple(
            Word(f"w{n}" + "." * (n % 5 == 4), a / SPEECH_RATE_HZ, b / SPEECH_RATE_HZ, 0.9) for n, a, b in found
        )
        language = "pt" if found and found[-1][0] >= PORTUGUESE else "en"
        text = " ".join(word.text for word in words)
        return Segment(0.0, audio.duration_s, text, language, words, language_probability=0.99)


class Upper(Translator):
    """Translates by shouting."""

    name = "upper"
    pairs: Mapping[tuple[str, str], Tier] = {
        (one, other): Tier.GOOD
        for one in ("en", "es", "fr", "pt")
        for other in ("en", "es", "fr", "pt")
        if one != other
    }
    failing = 0

    def run(self, items: Sequence[Sentence]) -> list[str]:
        if self.failing:
            self.failing -= 1
            raise RuntimeError("translation is down")
        return [item.text.upper() for item in items]


class Beep(Synthesizer):
    """Says everything in ``duration_s``. Can be told to fail, or to wait for the gate."""

    name = "beep"
    voices: Mapping[str, Sequence[str]] = {"pt": ("beep",), "en": ("beep",), "fr": ("beep",)}

    def __init__(self, duration_s: float = 0.1) -> None:
        self.duration_s = duration_s
        self.failing = 0
        self.asked: list[SpeechRequest] = []
        self.gate = threading.Event()
        self.gate.set()

    def run(self, items: Sequence[SpeechRequest]) -> list[Audio]:
        self.gate.wait(PATIENCE_S)
        self.asked += items
        if self.failing:
            self.failing -= 1
            raise RuntimeError("out of breath")
        return [Audio(np.full(round(self.duration_s * self.rate_hz), 0.1, np.float32), self.rate_hz) for _ in items]


class SoundClock:
    """A clock that stands still until it is told how much sound there was."""

    def __init__(self) -> None:
        self.time_s = 0.0

    def now_s(self) -> float:
        return self.time_s

    def wait(self, condition: object, timeout_s: float | None) -> None:
        raise AssertionError("a session does not wait on its clock")


async def replay(
    models: LiveModels,
    options: LiveOptions,
    sound: np.ndarray,
    *,
    meanwhile: Callable[[LiveSession, float], Awaitable[None]] | None = None,
) -> list[Event]:
    """Every event of a session that hears ``sound``, each block worked off before the next one comes."""
    clock = SoundClock()
    session = LiveSession(models, options, clock)
    events: list[Event] = []

    async def read() -> None:
        events.extend([event async for event in session.events()])

    reading = asyncio.create_task(read())
    for at in range(0, len(sound), BLOCK):
        clock.time_s += len(sound[at : at + BLOCK]) / SPEECH_RATE_HZ
        session.push(sound[at : at + BLOCK])
        await asyncio.sleep(0)
        while not (session.idle or reading.done()):
            await asyncio.sleep(0.001)
        if meanwhile:
            await meanwhile(session, clock.time_s)
    session.finish()
    await asyncio.wait_for(reading, PATIENCE_S)
    return events


def of(kind: type[Event], events: list[Event]) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


@pytest.fixture(scope="session")
def live() -> SimpleNamespace:
    """What tests need of this file, without importing it."""
    return SimpleNamespace(
        Upper=Upper, Beep=Beep, SoundClock=SoundClock, models=models, replay=replay, of=of, spell=spell
    )


@contextmanager
def models(recognizer: Recognizer, upper: Translator | None = None) -> Iterator[LiveModels]:
    """Models that hear with ``recognizer``."""
    engines = Engines(recognizer, translators=[upper or Upper()], synthesizers=[Beep()], interactive=True)
    with engines, LiveModels(engines) as models:
        yield models


@pytest.fixture
def reading(loud: Callable[[float], SileroVad]) -> Iterator[Callable[..., LiveModels]]:
    """Makes models that read spelled sound."""
    with ExitStack() as stack:

        def make(beep: Beep | None = None, **options: Any) -> LiveModels:
            engines = Engines(Reader(), translators=[Upper()], synthesizers=[beep or Beep()], interactive=True)
            models = LiveModels(stack.enter_context(engines), **options)
            models.vad = loud(LEVEL / 2)
            return models

        yield make
