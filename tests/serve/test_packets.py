from __future__ import annotations

import asyncio
import random
import signal

import av
import numpy as np
import pytest

from mmpipe.serve.encoder import PacketEncoder
from mmpipe.serve.packets import MAX_GAP_S, PIECE_S, WINDOW, PacketDecoder, Reorder, SoundFormat
from mmpipe.serve.wire import WRAP, Packet, ProtocolError, from_pcm16, to_pcm16


def packet(seq: int) -> Packet:
    return Packet(seq, seq * 100, b"\0\0")


async def heard(decoder: PacketDecoder, packet: Packet) -> np.ndarray:
    samples = await decoder.decoded(packet)
    return np.concatenate([np.zeros(0, np.float32), *decoder.pieces(packet, samples)])


def fed(decoder: PacketDecoder, packet: Packet) -> np.ndarray:
    return asyncio.run(heard(decoder, packet))


def fed_opus(decoder: PacketDecoder, packets: list[Packet]) -> list[np.ndarray]:
    """What becomes of each; the decoder lives on one event loop."""

    async def all_of_them() -> list[np.ndarray]:
        try:
            return [await heard(decoder, packet) for packet in packets]
        finally:
            decoder.close()

    return asyncio.run(all_of_them())


def order(reorder: Reorder, seqs: list[int]) -> list[int]:
    return [found.seq for seq in seqs for found in reorder.push(packet(seq))]


def test_packets_in_order_pass_at_once() -> None:
    reorder = Reorder()
    assert [order(reorder, [n]) for n in range(3)] == [[0], [1], [2]]


def test_packets_out_of_order_and_twice_come_out_once_and_in_order() -> None:
    seqs = [*range(200), *range(0, 200, 3)]
    chance = random.Random(5)
    for _ in range(20):
        mixed = sorted(seqs, key=lambda seq: seq + chance.uniform(0, WINDOW / 2))
        reorder = Reorder()
        assert order(reorder, mixed) == list(range(200))
        assert reorder.repeated == len(seqs) - 200
        assert reorder.lost == 0


def test_what_does_not_come_within_the_window_is_given_up_and_counted() -> None:
    reorder = Reorder(window=4)
    assert order(reorder, [0, 3, 4]) == [0]
    assert reorder.next_seq == 1
    assert order(reorder, [5, 6]) == [3, 4, 5, 6]
    assert order(reorder, [7]) == [7]
    assert reorder.lost == 2
    assert order(reorder, [1, 2, 8]) == [8]  # too late
    assert reorder.repeated == 2


def test_the_end_gives_up_what_is_missing() -> None:
    reorder = Reorder()
    assert order(reorder, [0, 2, 5]) == [0]
    assert [found.seq for found in reorder.flush(8)] == [2, 5]
    assert reorder.lost == 5
    assert reorder.next_seq == 8


def test_an_absurd_number_is_refused() -> None:
    with pytest.raises(ProtocolError, match="count by one"):
        list(Reorder().push(packet(2**31)))


def test_pcm_survives_the_way() -> None:
    values = np.arange(-32768, 32768, dtype=np.int16)
    assert to_pcm16(from_pcm16(values.tobytes())) == values.tobytes()
    assert from_pcm16(to_pcm16(np.array([2.0, -2.0], np.float32))) == pytest.approx([1, -1], abs=1e-4)


def test_a_gap_becomes_as_much_silence() -> None:
    decoder = PacketDecoder(SoundFormat())
    tone = to_pcm16(np.full(160, 0.5, np.float32))
    assert len(fed(decoder, Packet(0, 0, tone))) == 160
    after = fed(decoder, Packet(3, 480, tone))
    assert len(after) == 320 + 160
    assert np.all(after[:320] == 0)
    assert np.all(after[320:] == 0.5)
    assert len(fed(decoder, Packet(4, 640, tone))) == 160  # and no more silence after that


def test_positions_may_pass_their_largest_value() -> None:
    decoder = PacketDecoder(SoundFormat())
    tone = to_pcm16(np.full(160, 0.5, np.float32))
    decoder._expected = WRAP - 160
    assert len(fed(decoder, Packet(0, WRAP - 160, tone))) == 160
    assert len(fed(decoder, Packet(1, 0, tone))) == 160
    assert len(fed(decoder, Packet(3, 320, tone))) == 320


def test_a_position_that_runs_back_or_away_costs_little() -> None:
    decoder = PacketDecoder(SoundFormat())
    tone = to_pcm16(np.full(160, 0.5, np.float32))
    assert len(fed(decoder, Packet(0, 0, tone))) == 160
    assert len(fed(decoder, Packet(1, 40, tone))) == 160
    assert len(fed(decoder, Packet(2, 2**30, tone))) == 160 + MAX_GAP_S * 16_000
    assert len(fed(decoder, Packet(3, 2**30 + 160, tone))) == 160


@pytest.mark.parametrize("rate_hz", [8_000, 22_050, 44_100, 48_000])
def test_resampling_piece_by_piece_is_resampling_the_whole(rate_hz: int) -> None:
    """No clicks at the seams: a tone stays the tone it was."""
    sound = (0.5 * np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz)).astype(np.float32)
    decoder = PacketDecoder(SoundFormat("pcm16", rate_hz))
    pieces = [
        fed(decoder, Packet(n, at, to_pcm16(sound[at : at + 333]))) for n, at in enumerate(range(0, rate_hz, 333))
    ]
    out = np.concatenate([*pieces, decoder.flush()])
    assert len(out) == pytest.approx(16_000, abs=20)
    inner = out[200:15_800]
    delay = np.arange(200, 15_800)
    expected = 0.5 * np.sin(2 * np.pi * 440 * delay / 16_000)
    assert np.abs(inner - expected).max() < 0.02


@pytest.mark.parametrize("rate_hz", [16_000, 44_100, 48_000])
def test_opus_packets_become_the_sound_they_were(rate_hz: int) -> None:
    sound = (0.3 * np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz)).astype(np.float32)
    encoder = PacketEncoder(SoundFormat("opus", rate_hz))
    decoder = PacketDecoder(SoundFormat("opus"))
    packets = [p for at in range(0, rate_hz, 1_000) for p in encoder.feed(sound[at : at + 1_000])]
    packets += list(encoder.flush())
    assert [p.seq for p in packets] == list(range(len(packets)))
    assert sum(len(p.payload) for p in packets) < 8_000  # and not the 32 kB of PCM
    out = np.concatenate([*fed_opus(decoder, packets), decoder.flush()])
    assert len(out) == pytest.approx(16_000, abs=640)
    spectrum = np.abs(np.fft.rfft(out[2_000:14_000]))
    assert spectrum.argmax() * 16_000 / 12_000 == pytest.approx(440, abs=2)
    assert np.sqrt(np.mean(out[2_000:14_000] ** 2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)


def test_a_damaged_opus_packet_becomes_silence_and_the_next_is_heard() -> None:
    encoder, decoder = PacketEncoder(SoundFormat("opus", 48_000)), PacketDecoder(SoundFormat("opus"))
    packets = list(encoder.feed((0.3 * np.random.default_rng(1).normal(size=48_000)).astype(np.float32)))
    damaged = [Packet(n, p.position, b"\xff" * 40 if n in (10, 11) else p.payload) for n, p in enumerate(packets)]
    pieces = fed_opus(decoder, damaged)
    assert np.abs(pieces[11]).max() < 0.05 < np.abs(pieces[20]).max()
    assert decoder.damaged == 2
    assert decoder.received_s == pytest.approx(len(packets) * 0.02)


def test_the_libraries_know_opus() -> None:
    assert {"libopus"} <= av.codecs_available


def test_a_few_bytes_that_stand_for_a_long_silence_come_in_short_pieces() -> None:
    """Silence of half a minute in one piece held the event loop for 100 ms, for every packet of ten bytes."""
    for rate_hz in (8_000, 16_000, 48_000):
        decoder = PacketDecoder(SoundFormat("pcm16", rate_hz))
        pieces = decoder.pieces(Packet(0, 30 * rate_hz, b"\0\0"), np.zeros(1, np.float32))
        first = next(pieces)
        assert decoder.received_s == pytest.approx(PIECE_S)  # and the rest is not even made
        lengths = [len(first), *map(len, pieces)]
        assert max(lengths) <= round(PIECE_S * 16_000) + 32
        assert decoder.received_s == pytest.approx(30, abs=0.01)
    long = PacketDecoder(SoundFormat()).pieces(Packet(0, 0, bytes(64_000)), np.zeros(32_000, np.float32))
    assert max(map(len, long)) <= 8_000


def test_an_opus_decoder_that_crashes_costs_a_packet_and_one_that_always_does_the_session() -> None:
    sound = (0.3 * np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000)).astype(np.float32)
    packets = list(PacketEncoder(SoundFormat("opus", 48_000)).feed(sound))
    decoder = PacketDecoder(SoundFormat("opus"))

    async def talk() -> list[np.ndarray]:
        found = []
        for n, one in enumerate(packets[:40]):
            if n == 20:
                kill(decoder)
            found.append(await heard(decoder, one))
        with pytest.raises(ProtocolError, match="crash their decoder"):
            for one in packets[40:]:
                kill(decoder)
                await heard(decoder, one)
        decoder.close()
        return found

    found = asyncio.run(talk())
    assert not found[20][200:].any()  # the resampler still had some of the one before
    assert np.abs(found[30]).max() > 0.1
    assert decoder.damaged >= 1


def kill(decoder: PacketDecoder) -> None:
    opus = decoder._opus
    assert opus is not None
    if opus._child is not None:
        signal.pidfd_send_signal(opus._child[0]._pidfd, signal.SIGSEGV)
