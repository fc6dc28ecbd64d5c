"""Faults of the live protocol: messages, packets and frames that no honest client sends."""

from __future__ import annotations

import asyncio
import json
import struct

from mmpipe.evaluate.soak_faults import Fault, Target
from mmpipe.evaluate.soak_wire import BINARY, CLOSE, PING, PONG, TEXT, Raw, frame
from mmpipe.serve.wire import WRAP, Packet

START = {"type": "start", "source": "en"}
FRAMES = 3_000
_BLOCK = bytes(3_200)  # 0.1 s of silence
_PATIENCE_S = 12.0


def _text(message: object) -> bytes:
    return frame(TEXT, json.dumps(message).encode())


async def _opened(raw: Raw) -> str:
    """Ask for the WebSocket, and begin a session. Empty: it began, as far as can be told without reading."""
    found = await raw.upgrade()
    if found != "HTTP 101":
        return found
    await raw.send(_text(START))
    return ""


async def silent(target: Target) -> str:
    """A WebSocket over which nothing is said."""
    async with Raw(target.port, target.address) as raw:
        found = await raw.upgrade()
        return found if found != "HTTP 101" else await raw.farewell(target.hold_s)


async def unread_pings(target: Target) -> str:
    """Pings whose answers are never read."""
    async with Raw(target.port, target.address, never_reads=True) as raw:
        if refused := await _opened(raw):
            return refused
        raw.writer.transport.pause_reading()  # type: ignore[attr-defined]
        pings = frame(PING, bytes(125)) * 100
        for _ in range(FRAMES // 100):
            if not await raw.send(pings):
                return "takes no more"
            await asyncio.sleep(0.02)
        return "takes all"


async def control_frames(target: Target) -> str:
    """A flood of pings and of pongs that nobody asked for."""
    async with Raw(target.port, target.address) as raw:
        if refused := await _opened(raw):
            return refused
        for _ in range(FRAMES // 200):
            if not await raw.send((frame(PONG, bytes(60)) + frame(PING)) * 100):
                return "takes no more"
        return await raw.farewell(3.0)


async def empty_fragments(target: Target) -> str:
    """A message in thousands of pieces with nothing in them."""
    async with Raw(target.port, target.address) as raw:
        if refused := await _opened(raw):
            return refused
        await raw.send(frame(TEXT, last=False) + frame(0, last=False) * FRAMES + frame(0))
        return await raw.farewell(_PATIENCE_S)


async def malformed_message(target: Target) -> str:
    """Messages that are none, as the first or later."""
    deep = b"[" * 10_000
    messages = (
        frame(TEXT, b"{"), frame(TEXT, b"\xff\xfe"), frame(TEXT, deep),
        frame(TEXT, b'{"type": "start", "rate_hz": 1e400}'),
        frame(TEXT, b"null"), frame(TEXT), frame(BINARY), frame(BINARY, b"1234567"), frame(0, b"of nothing"),
        _text({"type": "start", "to": "x" * 16}), _text({"type": "start", "hotwords": ["\u0000"] * 100}),
        _text({"type": "start", "between": ["en", "en"], "to": "pt"}), _text({"type": "start", "speed": -1}),
        _text({"type": "finish", "packets": -1}), _text({"type": "ack", "event": WRAP}), _text({"type": "nonsense"}),
        frame(3, b"of no kind"), frame(CLOSE, b"\x00"), frame(CLOSE, struct.pack(">H", 5) + b"\xff"),
        frame(PING, bytes(125), last=False), bytes((0xF1, 0x80, 0, 0, 0, 0)), b"\x81\x02{}",
    )  # fmt: skip
    async with Raw(target.port, target.address) as raw:
        refused = await (_opened(raw) if target.rng.random() < 0.5 else _upgraded(raw))
        if refused:
            return refused
        await raw.send(target.rng.choice(messages))
        return await raw.farewell(_PATIENCE_S)


async def _upgraded(raw: Raw) -> str:
    found = await raw.upgrade()
    return "" if found == "HTTP 101" else found


async def absurd_packets(target: Target) -> str:
    """Sound with numbers and positions that no sender counts to, and payloads that are no sound."""
    far, odd = WRAP - 1, b"\x01"
    runs = (
        [Packet(far, 0, _BLOCK)],
        [Packet(9_999, 0, _BLOCK)],
        [Packet(0, far, _BLOCK), Packet(1, 0, _BLOCK)],
        [Packet(n, n * (2**27) % WRAP, _BLOCK) for n in range(60)],
        [Packet(n * 33, 0, odd) for n in range(60)],
        [Packet(0, 0, odd * 65_001)],
        [Packet(n, 1_600 * (n // 2), _BLOCK) for n in range(40)],
        [Packet(39 - n, 1_600 * (39 - n), _BLOCK) for n in range(40)],
    )
    start = {**START, "format": "opus"} if target.rng.random() < 0.4 else START
    async with Raw(target.port, target.address) as raw:
        if refused := await _upgraded(raw):
            return refused
        await raw.send(_text(start))
        await raw.send(b"".join(frame(BINARY, packet.pack()) for packet in target.rng.choice(runs)))
        await raw.send(_text({"type": "finish", "packets": target.rng.choice((0, 60, far))}))
        return await raw.farewell(_PATIENCE_S)


async def wrong_tokens(target: Target) -> str:
    """Somebody guesses at sessions and their tokens."""
    answer = ""
    for n in range(5):
        resume = {"type": "resume", "session": f"{n:08x}", "token": "0" * (8 << n), "last_event": n and WRAP - n}
        async with Raw(target.port, target.address) as raw:
            if refused := await _upgraded(raw):
                return refused
            await raw.send(_text(resume))
            answer = await raw.farewell(_PATIENCE_S)
    return answer


async def huge_message(target: Target) -> str:
    """A message over every limit: said to be, or in fact, whole or in pieces."""
    pieces = frame(BINARY, bytes(30_000), last=False) + frame(0, bytes(30_000), last=False) * 8
    sent = target.rng.choice((frame(BINARY, bytes(100), says=2**40), frame(TEXT, bytes(2_000_000)), pieces))
    async with Raw(target.port, target.address) as raw:
        if refused := await _opened(raw):
            return refused
        await raw.send(sent)
        return await raw.farewell(_PATIENCE_S)


async def too_fast(target: Target) -> str:
    """Two minutes of sound within a second."""
    async with Raw(target.port, target.address) as raw:
        if refused := await _opened(raw):
            return refused
        for n in range(1_200):
            if not await raw.send(frame(BINARY, Packet(n, 1_600 * n, _BLOCK).pack())):
                return "takes no more"
        return await raw.farewell(_PATIENCE_S)


async def abandoned_session(target: Target) -> str:
    """A session that begins, says something, and whose client is never heard of again."""
    async with Raw(target.port, target.address) as raw:
        if refused := await _opened(raw):
            return refused
        for n in range(20):
            await raw.send(frame(BINARY, Packet(n, 1_600 * n, _BLOCK).pack()))
            await asyncio.sleep(0.02)
    return "abandoned"


FAULTS = (
    Fault("silent WebSocket", 15, silent),
    Fault("pings never read", 30, unread_pings),
    Fault("flood of control frames", 30, control_frames),
    Fault("flood of empty fragments", 30, empty_fragments),
    Fault("malformed message", 5, malformed_message),
    Fault("absurd packets", 8, absurd_packets),
    Fault("wrong resume tokens", 20, wrong_tokens),
    Fault("huge message", 15, huge_message),
    Fault("sound too fast", 40, too_fast),
    Fault("abandoned session", 40, abandoned_session),
)
