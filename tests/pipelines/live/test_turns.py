"""Sessions take turns at the recognizer, and take their sound with them only when it is their turn."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import numpy as np

from mmpipe.audio import media
from mmpipe.evaluate.clips import Clip
from mmpipe.pipelines.engines import Engines
from mmpipe.pipelines.live import CommittedEvent, LiveModels, LiveOptions, LiveSession
from mmpipe.stage import Recognizer
from mmpipe.types import SPEECH_RATE_HZ, Segment, SpeechWindow, Word


class Counts(Recognizer):
    """Says how long each window was, as two words that never change."""

    languages = frozenset({"en"})
    max_items = 2

    def __init__(self) -> None:
        self.heard_s: list[float] = []

    def run(self, items: Sequence[SpeechWindow]) -> list[Segment]:
        self.heard_s += [item.audio.duration_s for item in items]
        words = (Word("quite", 0.3, 0.6, 0.9), Word("so.", 0.6, 0.9, 0.9))
        return [Segment(0.3, 0.9, "quite so.", "en", words) for _ in items]


async def settled(session: LiveSession) -> None:
    while not session.idle:
        await asyncio.sleep(0.001)


def talk(librivox: list[Clip], recognizer: Counts, speech_s: float, silence_s: float) -> list[Any]:
    """Speech and silence come while every turn is taken by others; then the turns are given back."""
    sound = media.load(librivox[0].path).samples[: round(speech_s * SPEECH_RATE_HZ)]
    silence = np.zeros(round(silence_s * SPEECH_RATE_HZ), np.float32)

    async def run() -> list[Any]:
        with LiveModels(Engines(recognizer, interactive=True)) as models:
            session = LiveSession(models, LiveOptions(source="en"))
            async with AsyncExitStack() as others:
                for _ in range(2):
                    await others.enter_async_context(models.turn())
                for at in range(0, len(sound) + len(silence), 1600):
                    session.push(np.concatenate([sound, silence])[at : at + 1600])
                    await asyncio.sleep(0)
            await settled(session)
            session.finish()
            return [event async for event in session.events()]

    return asyncio.run(asyncio.wait_for(run(), 60))


def test_a_window_holds_what_was_said_while_it_waited_for_its_turn(librivox: list[Clip]) -> None:
    recognizer = Counts()
    events = talk(librivox, recognizer, speech_s=3.0, silence_s=0.0)
    assert len(recognizer.heard_s) == 2  # one as soon as there was a turn, and the last one
    assert recognizer.heard_s[0] > 2.5
    assert [event.text for event in events if isinstance(event, CommittedEvent)] == ["quite so."]


def test_a_speaker_who_stops_while_waiting_is_heard_once(librivox: list[Clip]) -> None:
    recognizer = Counts()
    events = talk(librivox, recognizer, speech_s=2.0, silence_s=0.4)  # not silent long enough to have ended
    assert len(recognizer.heard_s) == 1
    assert [event.text for event in events if isinstance(event, CommittedEvent)] == ["quite so."]
    assert events[-1].reason == "finished"
