"""A server may be a stranger, too: what it says is checked, bounded, and told in one sentence."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpipe.client import ClientOptions, ConnectionLostError, LiveClient
from mmpipe.errors import MmpipeError
from mmpipe.pipelines.live import EndedEvent, Event
from mmpipe.serve.server_messages import MAX_SPOKEN_S, ServerProtocolError, parse
from mmpipe.serve.wire import Close, Packet, ProtocolError

STARTED = {"type": "started", "session": "ab", "token": "t", "next_packet": 0, "idle_s": 30}
TIMES = {"seq": 1, "emitted_s": 0.5, "start_s": 0.0, "end_s": 0.4, "text": "so"}
COMMITTED = {
    "type": "committed",
    **TIMES,
    "heard_until_s": 0.5,
    "language": "en",
    "words": [{"text": "so", "start_s": 0.0, "end_s": 0.4, "probability": 0.9}],
}
SPOKEN = {"type": "spoken", **TIMES, "rate_hz": 24_000, "samples": 4, "duration_s": 0.0}
ENDED = {"type": "ended", **TIMES, "seq": 2, "reason": "finished"}


async def against(*messages: Any) -> list[Event]:
    """What a client makes of a server that says ``messages``."""
    from websockets.asyncio.server import ServerConnection, serve

    async def say(connection: ServerConnection) -> None:
        await connection.recv()
        for message in messages:
            await connection.send(message if isinstance(message, str | bytes) else json.dumps(message))
        await connection.wait_closed()

    async with serve(say, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with asyncio.timeout(20):
            async with LiveClient(f"ws://127.0.0.1:{port}", ClientOptions(), retry_delays_s=(0.0,)) as client:
                return [event async for event in client]


def test_a_server_that_keeps_to_the_protocol_is_understood() -> None:
    events = asyncio.run(against(STARTED, COMMITTED, {"type": "pong"}, {**ENDED, "new_field": [1]}))
    assert [event.type for event in events] == ["committed", "ended"]
    assert isinstance(events[-1], EndedEvent)


@pytest.mark.parametrize(
    "messages",
    [
        ["no JSON"],
        ["[" * 100_000],
        ["[1]"],
        ["{}"],
        ['{"type": 5}'],
        [b"\0" * 20],
        [{**STARTED, "session": None}],
        [{**STARTED, "token": "t" * 1_000}],
        [{**STARTED, "next_packet": 7}],
        [{**STARTED, "next_packet": True}],
        [{**STARTED, "idle_s": 0}],
        [json.dumps(STARTED).replace("30", "NaN")],
        [json.dumps(STARTED).replace("30", "1" + "0" * 400)],
        [json.dumps(STARTED).replace("30", "1" * 5_000)],
        [COMMITTED],
        [{"type": "error"}],
        [{"type": "error", "code": "apocalypse", "text": "now"}],
        [{"type": "error", "code": 5, "text": "now"}],
        [STARTED, STARTED],
        [STARTED, {"type": "sing"}],
        [STARTED, {"type": "ack", "next_packet": 1}],
        [STARTED, {"type": "ack", "next_packet": -1}],
        [STARTED, {"type": "ack"}],
        [STARTED, COMMITTED, COMMITTED],
        [STARTED, {**COMMITTED, "seq": 1.5}],
        [STARTED, {**COMMITTED, "text": ["so"]}],
        [STARTED, {**COMMITTED, "start_s": "0"}],
        [STARTED, {**COMMITTED, "start_s": 1e300}],
        [STARTED, {**COMMITTED, "words": None}],
        [STARTED, {**COMMITTED, "words": [[]]}],
        [STARTED, {**COMMITTED, "words": [{"text": "so"}]}],
        [STARTED, {name: COMMITTED[name] for name in COMMITTED if name != "language"}],
        [STARTED, b"\0" * 20],
        [STARTED, {**SPOKEN, "samples": 10**12}],
        [STARTED, {**SPOKEN, "rate_hz": 1}],
        [STARTED, {**SPOKEN, "rate_hz": 10**9}],
        [STARTED, SPOKEN, "{}"],
        [STARTED, SPOKEN, {"type": "pong"}],
        [STARTED, SPOKEN, b"\0"],
        [STARTED, SPOKEN, Packet(1, 0, b"\0\0\0").pack()],
        [STARTED, SPOKEN, Packet(9, 0, b"\0\0").pack()],
        [STARTED, SPOKEN, Packet(1, 2, b"\0\0").pack()],
        [STARTED, SPOKEN, Packet(1, 0, bytes(10)).pack()],
        [STARTED, json.dumps({**COMMITTED, "text": "x" * 200_000})],
        [STARTED, "x" * 1_100_000],
    ],
)
def test_what_is_not_the_protocol_is_said_in_one_sentence(
    messages: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    """It was "a bug" of the client, with a traceback in the log, or an array as large as the server said."""
    with pytest.raises(
        ServerProtocolError, match=r"The server at ws://127\.0\.0\.1:\d+/v1/live does not speak"
    ) as found:
        asyncio.run(against(*messages))
    assert len(str(found.value)) < 1_000
    assert str(found.value).isprintable()
    assert "Traceback" not in caplog.text


def test_an_error_of_the_server_is_told_without_what_would_move_the_cursor() -> None:
    with pytest.raises(ProtocolError) as found:
        asyncio.run(against({"type": "error", "code": "busy", "text": "full\x1b[2J" + "x" * 9_000, "retry_after_s": 3}))
    assert found.value.close is Close.BUSY
    assert found.value.retry_after_s == 3
    assert "\x1b" not in str(found.value)
    assert len(str(found.value)) <= 500


def test_sound_is_kept_only_as_it_comes() -> None:
    """A server that announces two minutes and sends none made a client allocate them."""
    announced = {**SPOKEN, "rate_hz": 192_000, "samples": round(MAX_SPOKEN_S * 192_000)}
    tracemalloc.start()
    parse(json.dumps(announced))
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()


def test_events_that_nobody_reads_are_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    from websockets.asyncio.server import ServerConnection, serve

    monkeypatch.setattr("mmpipe.client.MAX_UNREAD_BYTES", 300_000)
    sent = 0

    async def say(connection: ServerConnection) -> None:
        nonlocal sent
        await connection.recv()
        await connection.send(json.dumps(STARTED))
        for seq in range(1, 101):
            await connection.send(json.dumps({**COMMITTED, "seq": seq, "text": "x" * 90_000}))
            sent = seq
        await connection.send(json.dumps({**ENDED, "seq": 101}))
        await connection.wait_closed()

    async def talk() -> None:
        async with serve(say, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            async with asyncio.timeout(20), LiveClient(f"ws://127.0.0.1:{port}") as client:
                while client._events.qsize() < 3:
                    await asyncio.sleep(0.001)
                await asyncio.sleep(0.05)
                assert client._events.qsize() == 3
                seqs = [event.seq async for event in client]
                assert seqs == list(range(1, 102))

    asyncio.run(talk())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
KINDS = ["started", "ack", "error", "partial", "committed", "translated", "spoken", "stats", "warning", "ended"]


@settings(max_examples=500, deadline=None)
@given(
    st.sampled_from([STARTED, COMMITTED, SPOKEN, ENDED]),
    st.dictionaries(
        st.sampled_from([*STARTED, *COMMITTED, *SPOKEN, *ENDED]), JSON | st.sampled_from(KINDS), max_size=4
    ),
)
def test_whatever_a_server_says_is_a_message_or_one_clear_error(
    message: dict[str, Any], changed: dict[str, Any]
) -> None:
    try:
        parse(json.dumps(message | changed))
    except MmpipeError as error:
        assert len(str(error)) < 1_000


def test_a_server_that_refuses_the_handshake_without_our_words_cannot_be_reached() -> None:
    from http import HTTPStatus

    from websockets.asyncio.server import serve

    async def talk(body: str) -> None:
        async with serve(
            lambda _: None,
            "127.0.0.1",
            0,
            process_request=lambda connection, _: connection.respond(  # type: ignore[arg-type]
                HTTPStatus.FORBIDDEN, body
            ),
        ) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            async with asyncio.timeout(20), LiveClient(f"ws://127.0.0.1:{port}"):
                pass

    for body in ("<html>no</html>", "[]", "\x1b"):
        with pytest.raises(ConnectionLostError, match="403"):
            asyncio.run(talk(body))
    with pytest.raises(ProtocolError, match="not here") as found:
        asyncio.run(talk('{"type": "error", "code": "unauthorised", "text": "not here"}'))
    assert found.value.close is Close.UNAUTHORISED
