"""The voice of a live session: translations spoken in order, in a lane that may fall behind but not for ever.

Time here is the sound that the session has heard: what is played while so much sound comes in. So the lane needs no
timer, and a replay at any pace gives the same.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from mmpipe.audio.synthesis.text_to_speech import MAX_SPEED
from mmpipe.errors import MmpipeError
from mmpipe.logs import without_text
from mmpipe.pipelines.live.models import LiveModels
from mmpipe.pipelines.live.options import LiveOptions
from mmpipe.types import Audio, Segment

logger = logging.getLogger(__name__)

#: As long as the voice is up to so many seconds behind, it speaks so much faster than it was told.
PACES = ((2.0, 1.0), (5.0, 1.1), (8.0, 1.2), (inf, 1.3))
#: A player is sent this much before its time and no more, so that what waits can still be spoken faster or left out.
AHEAD_S = 8.0
#: What of the voice a room and the sound devices keep for themselves before the microphone hears it.
ECHO_S = 0.3


class Playback:
    """What a player is playing, as far as it follows from what it was sent; it may tell better."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.since_s = 0.0  # when it began with what it plays now
        self._until_s = 0.0
        self._told: bool | None = None
        self._silent_since_s = -inf

    def advance(self, now_s: float) -> None:
        if self._told is None and self.now_s < self._until_s <= now_s:
            self._silent_since_s = self._until_s
        self.now_s = now_s

    def add(self, duration_s: float) -> float:
        """Sound was sent to the player; gives when it will have played it."""
        if not self.playing:
            self.since_s = self.now_s
        self._until_s = max(self._until_s, self.now_s) + duration_s
        return self._until_s

    def stop(self) -> None:
        self._until_s = min(self._until_s, self.now_s)
        self._silent_since_s = self.now_s

    def tell(self, playing: bool | None) -> None:
        """What the player says: it plays, it does not, or (None) it will not say any more."""
        if playing and not self.playing:
            self.since_s = self.now_s
        if playing is False:
            if self._told or self._until_s > self.now_s:
                self._silent_since_s = self.now_s
            self._until_s = min(self._until_s, self.now_s)
        self._told = playing

    @property
    def left_s(self) -> float:
        """How much of what was sent has not been played."""
        return max(0.0, self._until_s - self.now_s)

    @property
    def playing(self) -> bool:
        return self.left_s > 0 if self._told is None else self._told

    @property
    def audible(self) -> bool:
        """Whether a microphone in the same room may hear it."""
        return self.playing or self.now_s < self._silent_since_s + ECHO_S


@dataclass(frozen=True, slots=True)
class Saying:
    """A sentence to be spoken."""

    source: Segment
    text: str
    language: str
    estimated_s: float


class VoiceLane:
    """Speaks sentences one after the other: faster when it is behind, and when that is not enough, not all of them."""

    def __init__(
        self,
        models: LiveModels,
        options: LiveOptions,
        name: str,
        say: Callable[[Saying, Audio], None],
        warn: Callable[[str], None],
    ) -> None:
        """``say``: takes each piece of sound. ``name``: of the session, in the log."""
        self.playback = Playback()
        self.dropped = 0  # sentences that were not spoken, or not to their end
        self.language: str | None = None  # of what was spoken last
        self._models, self._options, self._name, self._say, self._warn = models, options, name, say, warn
        self._waiting: deque[Saying] = deque()
        self._ends_s: deque[float] = deque()  # when the player is through with each sentence it was sent
        self._speaking: Saying | None = None
        self._interrupted = False  # what is being spoken now
        self._over = False  # no more sound
        self._ended = False  # no more sentences
        self._news = asyncio.Event()

    # --- what the session does ---

    def add(self, source: Segment, text: str, language: str) -> None:
        estimated_s = self._models.text_to_speech.estimate_s(text, language, self._options.voice, self._options.speed)
        self._waiting.append(Saying(source, text, language, estimated_s))
        self._news.set()

    def advance(self, heard_s: float) -> None:
        """So much sound was heard by now."""
        self.playback.advance(heard_s)
        while self._ends_s and self._ends_s[0] <= heard_s:
            self._ends_s.popleft()
        if self._waiting:
            self._news.set()

    def finish(self) -> None:
        """No more sound will come: what waits is spoken without looking at the player, and nothing is left out."""
        self._over = True
        self._news.set()

    def end(self) -> None:
        """No more sentences will come."""
        self._ended = True
        self._news.set()

    def interrupt(self) -> int:
        """Somebody answers: be silent. Gives how many sentences were not heard to their end."""
        dropped = len(self._waiting) + len(self._ends_s) + (self._speaking is not None)
        self._waiting.clear()
        self._ends_s.clear()
        self._interrupted = True
        self.playback.stop()
        self.dropped += dropped
        return dropped

    @property
    def input_muted(self) -> bool:
        """Whether sound that comes now may be the voice's own."""
        return self._options.speak and not self._options.headphones and self.playback.audible

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def behind_s(self) -> float:
        """When a sentence that is added now would be heard."""
        return self.playback.left_s + sum(saying.estimated_s for saying in self._waiting)

    @property
    def busy(self) -> bool:
        """Whether something is spoken, or would be without waiting for the player."""
        return self._speaking is not None or bool(self._waiting and self._may_speak)

    # --- the lane ---

    async def run(self) -> None:
        """Speak until :meth:`end` was called and nothing waits any more."""
        while True:
            while not (self._waiting and self._may_speak):
                if self._ended and not self._waiting:
                    return
                self._news.clear()
                await self._news.wait()
            self._leave_out()
            self._speaking, self._interrupted = self._waiting.popleft(), False
            try:
                await self._speak(self._speaking)
            except MmpipeError as error:
                logger.error("%s: a sentence could not be spoken\n%s", self._name, without_text(error))
                self._warn(f"A sentence could not be spoken: {error}")
            finally:
                self._speaking = None

    @property
    def _may_speak(self) -> bool:
        return self._over or self.playback.left_s <= AHEAD_S

    def _leave_out(self) -> None:
        while len(self._waiting) > 1 and not self._over and self.behind_s > self._options.max_behind_s:
            left_out = self._waiting.popleft()
            self.dropped += 1
            behind_s, size = self.behind_s, len(left_out.text)
            logger.info("%s: %d characters not spoken, the voice is %.0f s behind", self._name, size, behind_s)

    async def _speak(self, saying: Saying) -> None:
        in_thread, text_to_speech = self._models.in_thread, self._models.text_to_speech
        speed = self._speed()
        # in a thread, since an engine may have to be loaded first
        pieces = await in_thread(text_to_speech.stream, saying.text, saying.language, self._options.voice, speed)
        ends_s = 0.0
        while (audio := await in_thread(next, pieces, None)) is not None:
            if self._interrupted:
                return
            self.language = saying.language
            ends_s = self.playback.add(audio.duration_s)
            self._say(saying, audio)
        if ends_s and not self._interrupted:
            self._ends_s.append(ends_s)

    def _speed(self) -> float:
        faster = next(factor for up_to_s, factor in PACES if self.behind_s <= up_to_s)
        return min(MAX_SPEED, self._options.speed * faster)
