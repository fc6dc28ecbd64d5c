"""The state of one speaker: what was heard, what of it is speech, what is understood. No model, no clock, no thread.

Sound goes in by :meth:`StreamSegmenter.push`. :meth:`StreamSegmenter.next_window` says what a recognizer should hear
next, if anything; what it understood goes in by :meth:`StreamSegmenter.understood`, which gives the words that are now
final.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from mmpipe.audio.vad import FRAME, Endpointer, SileroVad, VadOptions
from mmpipe.pipelines.live.agreement import AgreementOptions, LocalAgreement, Update
from mmpipe.types import SPEECH_RATE_HZ, Audio, Segment, Word

# Where an utterance is cut that is too long for one window, in samples:
_SEARCH = 2 * SPEECH_RATE_HZ  # so near to the end of the window, in the middle of
_GAP = SPEECH_RATE_HZ * 30 // 1000  # the quietest piece of this length, about the shortest gap between two words;
_REST = SPEECH_RATE_HZ  # and so much is left for the next window: of much less nothing is understood


@dataclass(frozen=True, slots=True)
class SegmenterOptions:
    """How a live session listens."""

    vad: VadOptions = field(default_factory=lambda: VadOptions(min_silence_s=0.5, pad_s=0.3, max_speech_s=1e9))
    agreement: AgreementOptions = field(default_factory=AgreementOptions)
    first_window_s: float = 0.4  # of speech, before the first hypothesis of an utterance
    step_s: float = 0.5  # new sound before the next hypothesis
    #: After this much silence the utterance is probably over: its last window comes soon, another before it is waste.
    ending_s: float = 0.25
    #: A window that is longer is cut behind words that are final. Below what a recognizer encodes anyway.
    trim_from_s: float = 8.0
    #: What is longer is cut, whatever is final, and goes on in the next window: below Whisper's 30 s.
    max_window_s: float = 25.0


@dataclass(frozen=True, slots=True)
class Window:
    """What to recognize. ``last``: the utterance has ended. ``cut``: it goes on in another window, being too long for
    one. Either way all that is understood is final."""

    start_s: float
    audio: Audio
    last: bool
    cut: bool = False

    @property
    def end_s(self) -> float:
        return self.start_s + self.audio.duration_s


class StreamSegmenter:
    """One stream of 16 kHz sound, cut into utterances, and each utterance into words."""

    def __init__(self, vad: SileroVad, options: SegmenterOptions | None = None) -> None:
        self.options = options or SegmenterOptions()
        self._endpointer = Endpointer(self.options.vad)
        self._stream = vad.stream()
        self._pad = round(self.options.vad.pad_s * SPEECH_RATE_HZ)
        self._room = self._held = np.zeros(0, np.float32)  # what is held is the beginning of the room
        self._held_from = 0  # place of _held[0] in the stream; like all places here, in samples
        self._start: int | None = None  # of the window: the utterance, or what of it is not final
        self._heard_to = 0  # end of the last window that was given out
        self._void_to = 0  # what was heard before, and not ended as an utterance, was none
        self._ended: list[tuple[int, int]] = []  # utterances that are over and not yet given out for the last time
        self._agreement = LocalAgreement(self.options.agreement)

    @property
    def received_s(self) -> float:
        return (self._held_from + len(self._held)) / SPEECH_RATE_HZ

    @property
    def speaking(self) -> bool:
        """Whether somebody is speaking now."""
        return self._endpointer.speaking_since is not None

    @property
    def tail(self) -> tuple[Word, ...]:
        """Words that are understood and not final."""
        return self._agreement.tail

    def push(self, samples: np.ndarray) -> None:
        """Hear ``samples``, float32 of shape (n,)."""
        self._hold(samples)
        for span in self._endpointer.feed(self._stream.feed(samples)):
            self._close(span.start * FRAME - self._pad, span.end * FRAME + self._pad)
        since = self._endpointer.speaking_since
        if since is not None and self._start is None:
            self._start = max(since * FRAME - self._pad, self._held_from)
        elif since is None and self._start is not None:  # a click: shorter than any speech
            self._start, self._void_to = None, self._held_from + len(self._held)
            self._agreement.finish(())
        self._forget()

    def _hold(self, samples: np.ndarray) -> None:
        """Room grows by half of it: packets are many and small, and each would move all sound before it."""
        length, wanted = len(self._held), len(self._held) + len(samples)
        if wanted > len(self._room):
            room = np.empty(max(wanted, len(self._room) * 3 // 2, 4 * SPEECH_RATE_HZ), np.float32)
            room[:length] = self._held
            self._room = room
        self._room[length:wanted] = samples
        self._held = self._room[:wanted]

    def clear(self) -> None:
        """Let go of all sound: nothing will be recognized any more."""
        self._held_from += len(self._held)
        self._room = self._held = np.zeros(0, np.float32)

    def finish(self) -> None:
        """No more sound will come."""
        for span in self._endpointer.flush():
            self._close(span.start * FRAME - self._pad, span.end * FRAME + self._pad)

    def _close(self, start: int, end: int) -> None:
        if self._start is None:
            self._start = max(start, self._held_from)
        self._ended.append((self._start, end))
        self._start = None

    def _forget(self) -> None:
        """Let go of sound that no window will need."""
        places = [start for start, _ in self._ended]
        if self._start is not None:
            places.append(self._start)
        first = min(places, default=self._held_from + len(self._held) - self._pad - 2 * FRAME)
        drop = first - self._held_from
        if drop > SPEECH_RATE_HZ // 2:  # not for every packet
            left = len(self._held) - drop
            enough = 4 * max(left, 4 * SPEECH_RATE_HZ)
            room = self._room if len(self._room) <= enough else np.empty(enough, np.float32)  # much came at once
            room[:left] = self._held[drop:]
            self._room, self._held, self._held_from = room, room[:left], first

    @property
    def ready(self) -> bool:
        """Whether something should be recognized now."""
        if self._ended:
            return True
        if self._start is None or self._endpointer.silent_frames * FRAME >= self.options.ending_s * SPEECH_RATE_HZ:
            return False
        end = self._held_from + len(self._held)
        speech_s = (end - self._start) / SPEECH_RATE_HZ - self.options.vad.pad_s
        new_s = (end - max(self._heard_to, self._start)) / SPEECH_RATE_HZ
        return speech_s >= self.options.first_window_s and new_s >= self.options.step_s

    def next_window(self) -> Window | None:
        """What should be recognized now; None while nothing is worth it."""
        if not self.ready:
            return None
        if self._ended:
            start, end = self._ended[0]
            if cut := self._cut(start, end):
                self._ended[0] = cut, end
                return self._window(start, cut, cut=True)
            self._ended.pop(0)
            return self._window(start, end, last=True)
        assert self._start is not None
        start, end = self._start, self._held_from + len(self._held)
        if cut := self._cut(start, end):  # nothing of it became final, or much has come at once
            self._start = cut
            return self._window(start, cut, cut=True)
        return self._window(start, end)

    def _cut(self, start: int, end: int) -> int | None:
        """Where to part what is too long for one window; None: it is not."""
        longest = round(self.options.max_window_s * SPEECH_RATE_HZ)
        if end - start <= longest:
            return None
        latest = min(start + longest, end - _REST)
        earliest = max(latest - _SEARCH, start + longest // 2)
        count = max((latest - earliest) // _GAP, 1)
        pieces = self._held[earliest - self._held_from :][: count * _GAP].reshape(count, _GAP)
        quietest = int(np.square(pieces).sum(axis=1).argmin())
        return earliest + quietest * _GAP + _GAP // 2

    def _window(self, start: int, end: int, *, last: bool = False, cut: bool = False) -> Window:
        samples = self._held[start - self._held_from : end - self._held_from].copy()  # what is held moves on
        self._heard_to = end
        return Window(start / SPEECH_RATE_HZ, Audio(samples, SPEECH_RATE_HZ), last, cut)

    def understood(self, window: Window, segment: Segment) -> Update:
        """What ``window`` was found to hold; ``segment`` has times from the start of the window."""
        words = [word.shifted(window.start_s) for word in segment.words]
        if window.last or window.cut:
            return self._agreement.finish(words)
        if round(window.start_s * SPEECH_RATE_HZ) < self._void_to:
            return Update((), ())
        if not words:  # not understood this time: what is shown stays
            return Update((), self._agreement.tail)
        update = self._agreement.update(words, window.end_s)
        self._trim(window, update)
        return update

    def _trim(self, window: Window, update: Update) -> None:
        """Cut a long window behind what is final: at the end of a sentence if there is one, else of a word."""
        if self._start is None or window.audio.duration_s < self.options.trim_from_s:
            return
        ends = [word.end_s for word in update.committed if word.text[-1:] in ".?!。？！"]
        cut_s = ends[-1] if ends else self._agreement.committed_until_s
        if cut_s > window.start_s:
            self._start = max(self._start, min(round(cut_s * SPEECH_RATE_HZ), self._heard_to))
