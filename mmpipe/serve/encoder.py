"""Samples into packets: the client's side of :mod:`mmpipe.serve.packets`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TYPE_CHECKING

import av
import numpy as np
from av.audio.frame import AudioFrame

from mmpipe.serve.packets import SoundFormat
from mmpipe.serve.wire import OPUS_RATE_HZ, Packet, to_pcm16

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The longest packet of PCM.
PACKET_S = 0.1
OPUS_SAMPLES = OPUS_RATE_HZ // 50  # 20 ms, what Opus is tuned for
OPUS_BITS_PER_S = 32_000


class PacketEncoder:
    """Numbers and packs what is said, sample after sample. ``rate_hz`` is that of the samples that are given."""

    def __init__(self, sound: SoundFormat) -> None:
        self.packets = 0  # made so far
        self._sound = sound
        self._position = 0
        self._longest = round(PACKET_S * sound.rate_hz)
        self._opus = _OpusEncoder(sound.rate_hz) if sound.codec == "opus" else None

    def feed(self, samples: NDArray[np.float32]) -> Iterator[Packet]:
        """``samples``: float32 (n,)."""
        if self._opus is not None:
            yield from self._pack(self._opus.encode(samples))
            return
        for at in range(0, len(samples), self._longest):
            piece = samples[at : at + self._longest]
            yield from self._pack([(to_pcm16(piece), len(piece))])

    def flush(self) -> Iterator[Packet]:
        """What the encoder holds back."""
        if self._opus is not None:
            yield from self._pack(self._opus.encode(None))

    def _pack(self, payloads: Iterable[tuple[bytes, int]]) -> Iterator[Packet]:
        for payload, length in payloads:
            yield Packet(self.packets, self._position, payload)
            self.packets += 1
            self._position += length


class _OpusEncoder:
    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._resampler = av.AudioResampler(format="flt", layout="mono", rate=OPUS_RATE_HZ, frame_size=OPUS_SAMPLES)
        self._codec = av.AudioCodecContext.create("libopus", "w")
        self._codec.sample_rate = OPUS_RATE_HZ
        self._codec.layout = "mono"
        self._codec.format = "flt"
        self._codec.bit_rate = OPUS_BITS_PER_S
        self._codec.time_base = Fraction(1, OPUS_RATE_HZ)
        self._position = 0

    def encode(self, samples: NDArray[np.float32] | None) -> Iterator[tuple[bytes, int]]:
        """Packets of 20 ms, each with its length in samples of 48 kHz; None: the rest."""
        frame = None
        if samples is not None:
            if not len(samples):
                return
            frame = AudioFrame.from_ndarray(np.clip(samples, -1, 1)[None], format="flt", layout="mono")
            frame.sample_rate = self._rate_hz
        for piece in self._resampler.resample(frame):
            piece.pts, piece.time_base = self._position, Fraction(1, OPUS_RATE_HZ)
            self._position += piece.samples
            for packet in self._codec.encode(piece):
                yield bytes(packet), OPUS_SAMPLES
        if samples is None:
            for packet in self._codec.encode(None):
                yield bytes(packet), OPUS_SAMPLES
