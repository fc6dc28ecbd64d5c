"""Which language a live session hears: named, detected once, or found out for each utterance of a two-way talk.

Nothing but rules over what a recognizer said. Their figures were found with Whisper base on English, Spanish and French
clips cut to 1 to 4 s, recognized in each language.
"""

from __future__ import annotations

from mmpipe.pipelines.live.segmenter import Window
from mmpipe.types import Segment

#: A language that is detected with this probability is believed,
SURE = 0.8
#: in a window of this length. Of shorter ones, some Spanish was surely English.
LONG_ENOUGH_S = 2.0
#: A window that is understood with less, avg_logprob, may be in another language: half of those recognized in a wrong
#: one are below it (Whisper rather translates than fails), of those in the right one 5 % (English) to 25 % (Spanish
#: over a telephone).
DOUBT_LOGPROB = -0.5
#: So many doubtful windows in a row, and a language that was settled is detected anew.
DOUBTS = 2


class SpokenLanguage:
    """What to ask of a recognizer for the next window, and what to make of its answer.

    A language that the caller named is never doubted. One that was detected is kept until confidence falls; then the
    next window is detected anew. Between two languages, each utterance is asked for anew, and a doubtful window is
    recognized in both: whichever is understood better is right more often than the detection (of 53 English and Spanish
    beginnings of 0.9 s, 52 instead of 43).
    """

    def __init__(self, source: str | None, between: tuple[str, str] | None = None) -> None:
        self.language = source  # None: not known
        self._named = source is not None
        self._between = between
        self._doubts = 0

    @property
    def open(self) -> bool:
        """Whether the next window is to be detected."""
        return not self._named and (self.language is None or self._doubts >= DOUBTS)

    @property
    def candidates(self) -> tuple[str, ...]:
        """What detection chooses from; empty: all languages."""
        return self._between or ()

    def alternative(self, found: Segment) -> str | None:
        """The language in which a window that was detected as ``found`` should be recognized as well; None: it is fine.

        Of both, :meth:`better` is to be taken.
        """
        if not self.open or not found.text:
            return None
        if self._between:
            one, other = self._between
            return (other if found.language == one else one) if found.avg_logprob < DOUBT_LOGPROB else None
        if self.language in (None, found.language) or _sure(found):
            return None
        return self.language

    def better(self, found: Segment, again: Segment) -> Segment:
        """Which of two answers to the same window to believe; ``again`` was recognized as :meth:`alternative` says."""
        if not self._between:
            return again  # another language, and not surely: it is as it was
        return max(found, again, key=lambda segment: (bool(segment.text), segment.avg_logprob))

    def heard(self, window: Window, segment: Segment, *, committed: bool) -> None:
        """Take note of what was understood. ``committed``: some of it is final."""
        if segment.text and not self._named:
            self._weigh(window, segment, committed=committed)
        if window.last and self._between:
            self.language, self._doubts = None, 0  # who speaks next may be the other

    def _weigh(self, window: Window, segment: Segment, *, committed: bool) -> None:
        long_enough = window.audio.duration_s >= LONG_ENOUGH_S
        doubtful = segment.avg_logprob < DOUBT_LOGPROB
        if self.open:
            self._doubts = 0
            if self._between:
                settled = committed or (long_enough and not doubtful)
            else:
                settled = segment.language == self.language or (long_enough and _sure(segment))
            if settled:
                self.language = segment.language
        elif long_enough or window.last:
            self._doubts = self._doubts + 1 if doubtful else 0


def _sure(segment: Segment) -> bool:
    return (segment.language_probability or 0.0) > SURE
