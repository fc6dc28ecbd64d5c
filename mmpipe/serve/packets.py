"""Packets of sound back into order, and into samples."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import av
import numpy as np
from av.audio.frame import AudioFrame

from mmpipe.errors import MediaError
from mmpipe.serve.wire import OPUS_RATE_HZ, WRAP, Close, Packet, ProtocolError, from_pcm16
from mmpipe.types import SPEECH_RATE_HZ
from mmpipe.untrusted import UntrustedOpus

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: A packet is waited for until one has come that is this much younger.
WINDOW = 32
#: A sequence number further ahead than this is a mistake of the sender, not a loss.
MAX_JUMP = 10_000
#: Longer stretches without sound are shortened to this: silence says nothing, and costs a little all the same.
MAX_GAP_S = 30.0
#: Sound is given out in pieces of at most this length: one is heard quickly, and behind it others have their turns.
PIECE_S = 0.5


class Reorder:
    """Gives packets in the order of their numbers, each once. What has not come within the window is given up."""

    def __init__(self, window: int = WINDOW) -> None:
        self.next_seq = 0  # all before it were given out or given up
        self.repeated = 0  # packets that came again, or after they were given up
        self.lost = 0  # packets that were given up
        self._window = window
        self._held: dict[int, Packet] = {}  # fewer than the window
        self._newest = -1  # number that ever came

    def push(self, packet: Packet) -> Iterator[Packet]:
        """Packets that are next in turn now.

        Raises:
            ProtocolError: the number is absurd.
        """
        if packet.seq < self.next_seq or packet.seq in self._held:
            self.repeated += 1
            return
        if packet.seq - self.next_seq > MAX_JUMP:
            raise ProtocolError(
                Close.BAD_MESSAGE, f"Packet {packet.seq} came where {self.next_seq} was expected: count by one, from 0."
            )
        self._held[packet.seq] = packet
        self._newest = max(self._newest, packet.seq)
        yield from self._in_turn()
        while self._held and self._newest - self.next_seq >= self._window:
            self._give_up()
            yield from self._in_turn()

    def flush(self, total: int) -> Iterator[Packet]:
        """The rest, of ``total`` packets that were sent: what is missing now will not come."""
        while self._held:
            self._give_up()
            yield from self._in_turn()
        if total > self.next_seq:
            self.lost += total - self.next_seq
            self.next_seq = total

    def _give_up(self) -> None:
        first = min(self._held)
        self.lost += first - self.next_seq
        self.next_seq = first

    def _in_turn(self) -> Iterator[Packet]:
        while (packet := self._held.pop(self.next_seq, None)) is not None:
            self.next_seq += 1
            yield packet


@dataclass(frozen=True, slots=True)
class SoundFormat:
    """How the sound of a session travels."""

    codec: Literal["pcm16", "opus"] = "pcm16"
    rate_hz: int = SPEECH_RATE_HZ


class PacketDecoder:
    """Packets, in order, to 16 kHz samples. Gaps between their positions become silence, so that times stay true."""

    def __init__(self, sound: SoundFormat) -> None:
        self.damaged = 0  # packets that could not be decoded and became silence
        self.received_s = 0.0
        self._rate_hz = OPUS_RATE_HZ if sound.codec == "opus" else sound.rate_hz
        self._opus = UntrustedOpus() if sound.codec == "opus" else None
        self._resampler = None
        if self._rate_hz != SPEECH_RATE_HZ:
            self._resampler = av.AudioResampler(format="flt", layout="mono", rate=SPEECH_RATE_HZ)
        self._expected = 0  # position of the next packet if nothing is missing

    async def decoded(self, packet: Packet) -> NDArray[np.float32]:
        """What ``packet`` holds, float32 of shape (n,) at the rate that was announced. In order; not to be cancelled.

        Raises:
            ProtocolError: the payload cannot be what was announced.
        """
        if self._opus is None:
            if len(packet.payload) % 2:
                raise ProtocolError(
                    Close.BAD_MESSAGE, f"{len(packet.payload)} bytes are no 16-bit samples: their number is odd."
                )
            return from_pcm16(packet.payload)
        try:
            samples, sound = await self._opus.decode(packet.payload)
        except MediaError as error:
            raise ProtocolError(Close.BAD_MESSAGE, str(error)) from error
        self.damaged += not sound
        return samples

    def pieces(self, packet: Packet, samples: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
        """What the resampler gives by now of ``samples``, which ``packet`` holds, and of silence before them.

        float32 of shape (n,), at most :data:`PIECE_S` each: a packet of a few bytes may stand for a long silence.
        Whoever takes the pieces decides when to go on. All of them are to be taken before those of the next packet.
        """
        gap = (packet.position - self._expected) % WRAP
        silence = 0
        if 0 < gap < WRAP // 2:  # else it overlaps with what was there: the sender's count is wrong, sound comes first
            silence = min(gap, round(MAX_GAP_S * self._rate_hz))
            self._expected = packet.position
        self._expected = (self._expected + len(samples)) % WRAP
        longest = round(PIECE_S * self._rate_hz)
        for at in range(0, silence, longest):
            yield self._heard(np.zeros(min(longest, silence - at), np.float32))
        for at in range(0, len(samples), longest):
            yield self._heard(samples[at : at + longest])

    def flush(self) -> NDArray[np.float32]:
        """What the resampler holds back."""
        return self._pull(None) if self._resampler is not None else np.zeros(0, np.float32)

    def close(self) -> None:
        """Nothing more will be decoded."""
        if self._opus is not None:
            self._opus.close()

    def _heard(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        self.received_s += len(samples) / self._rate_hz
        return self._resample(samples)

    def _resample(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        if self._resampler is None:
            return samples
        frame = AudioFrame.from_ndarray(samples[None], format="flt", layout="mono")
        frame.sample_rate = self._rate_hz
        return self._pull(frame)

    def _pull(self, frame: AudioFrame | None) -> NDArray[np.float32]:
        assert self._resampler is not None
        pieces = [out.to_ndarray()[0] for out in self._resampler.resample(frame)]
        return np.concatenate([np.zeros(0, np.float32), *pieces])
