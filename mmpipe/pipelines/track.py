"""Lay spoken sentences on a time line, one after the other or each at the time of its source."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmpipe.audio.media import AudioWriter
from mmpipe.types import Audio, TranslatedSegment

#: Between sentences that follow one another: what a reader leaves at a full stop.
PAUSE_S = 0.35


class SpeechTrack:
    """Writes the speech of segments to a file as they come. A context manager.

    ``dub``: each sentence begins at the time of its source, or when the one before has ended if that is later. Else
    they follow one another with a short pause.
    """

    def __init__(self, path: Path, *, dub: bool = False) -> None:
        self._path, self._dub = path, dub
        self._writer: AudioWriter | None = None  # made when the rate is known
        self.max_lag_s = 0.0  # how late, at worst, a dubbed sentence began

    @property
    def duration_s(self) -> float:
        return self._writer.samples_written / self._writer.rate_hz if self._writer else 0.0

    def add(self, item: TranslatedSegment) -> tuple[float, float]:
        """Write the speech of ``item``; its start and end on the track, seconds."""
        if item.speech is None:
            return self.duration_s, self.duration_s
        if self._writer is None:
            self._writer = AudioWriter(self._path, item.speech.rate_hz)
        start_s = self.duration_s + (PAUSE_S if self.duration_s else 0.0)
        if self._dub:
            start_s = max(item.source.start_s, self.duration_s)
            self.max_lag_s = max(self.max_lag_s, start_s - item.source.start_s)
        self.pad_to(start_s)
        self._writer.write(item.speech)
        return start_s, self.duration_s

    def pad_to(self, end_s: float) -> None:
        """Silence up to ``end_s``."""
        if self._writer is None:
            self._writer = AudioWriter(self._path, rate_hz=24_000)
        for silence in _silence(end_s - self.duration_s, self._writer.rate_hz):
            self._writer.write(silence)

    def close(self) -> None:
        if self._writer:
            self._writer.close()

    def __enter__(self) -> SpeechTrack:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _silence(duration_s: float, rate_hz: int) -> Iterator[Audio]:
    """In pieces of ten seconds: a recording may begin with an hour of silence."""
    left = round(duration_s * rate_hz)
    while left > 0:
        count = min(left, 10 * rate_hz)
        yield Audio(np.zeros(count, np.float32), rate_hz)
        left -= count
