"""What clients of the live protocol could say, as strategies of hypothesis: each act names a connection of three."""

from __future__ import annotations

import json
import struct
from fractions import Fraction
from functools import cache
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

CONNECTIONS = 3
MAX_ACTS = 16

#: (connection, verb, what it takes): see :mod:`fuzzing.talking` for what becomes of them.
Act = tuple[int, str, Any]

_odd_numbers = st.sampled_from([0, 1, -1, 2**31, 2**32 - 1, 2**32, 2**63, -(2**63), 10**400, 0.5, -0.0, 1e308])
_not_numbers = st.sampled_from([float("nan"), float("inf"), float("-inf")])
texts_of_any_kind = st.text(max_size=20) | st.sampled_from(
    ["", "\0", "\ud800".encode("utf-8", "surrogatepass").decode("latin-1"), "x" * 5000]
)
#: Of any kind that JSON has, and some that it has not.
_scalars = st.none() | st.booleans() | st.integers() | st.floats() | _odd_numbers | _not_numbers | texts_of_any_kind
values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts_of_any_kind, inner, max_size=4),
    max_leaves=8,
)


def _fields(types: dict[str, SearchStrategy[Any]]) -> SearchStrategy[dict[str, Any]]:
    """Any of the fields, each mostly as it should be."""
    return st.fixed_dictionaries({}, optional=types)


_languages = st.sampled_from(["en", "pt", "EN", "pt-BR", "xx", "e", "en" * 9, "", "日本"])
_start_fields = {
    "format": st.sampled_from(["pcm16", "opus"]),
    "to": st.just("pt"),
    "speak": st.booleans(),
    "partials": st.booleans(),
    "drafts": st.booleans(),
    "stats": st.booleans(),
    "headphones": st.booleans(),
    "speed": st.sampled_from([0.5, 1.0, 2.0]),
    "hotwords": st.lists(st.sampled_from(["Dashwood", "w", ""]), max_size=3),
}
_odd_fields = {
    **dict.fromkeys(_start_fields, values),
    "rate_hz": st.sampled_from([8_000, 11_025, 16_000, 44_100, 48_000]) | values,
    "source": _languages | values,
    "between": st.lists(_languages, max_size=3) | values,
    "api_key": texts_of_any_kind | values,
    "type": st.sampled_from(["start", "resume", "finish", "x"]) | values,
    "unknown": values,
}

starts = _fields(_start_fields).map(lambda fields: {"type": "start", "source": "en", **fields})
odd_starts = st.builds(lambda start, odd: {**start, **odd}, starts, _fields(_odd_fields))

_count = st.integers(0, 8)
controls = st.one_of(
    st.builds(lambda n: {"type": "ack", "event": n}, _count),
    st.builds(lambda on: {"type": "playing", "playing": on}, st.booleans()),
    st.just({"type": "ping"}),
    st.builds(lambda n: {"type": "finish", "packets": n}, _count),
)
odd_controls = st.one_of(
    st.builds(lambda n: {"type": "finish", "packets": n}, _odd_numbers | values),
    st.builds(lambda n: {"type": "ack", "event": n}, _odd_numbers | values),
    st.builds(lambda on: {"type": "playing", "playing": on}, values),
    st.dictionaries(st.sampled_from(["type", "packets", "event", "playing"]), values, max_size=4),
)

#: JSON, nearly JSON, and what is expensive to read.
texts = st.one_of(
    values.map(lambda value: json.dumps(value, default=str)),
    st.text(max_size=60),
    st.integers(1, 30_000).flatmap(
        lambda n: st.sampled_from(["[" * n, '{"a":' * (n // 5), "1" * n, '"' + "\\u0000" * (n // 6)])
    ),
    st.sampled_from(['{"type":"start","type":"resume"}', '{"type": "ping"} ', "\ufeff{}", "NaN", '{"type": 1e999}']),
)
not_utf8 = st.sampled_from(
    [b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b'{"type":"\xf0\x28"}', b"\xf4\x90\x80\x80"]
) | st.binary(max_size=30)


@cache
def _opus_packets() -> tuple[bytes, ...]:
    codec: Any = av.AudioCodecContext.create("libopus", "w")
    codec.sample_rate, codec.layout, codec.format, codec.time_base = 48_000, "mono", "flt", Fraction(1, 48_000)
    frame = AudioFrame.from_ndarray(np.sin(np.arange(9_600) / 20).astype(np.float32)[None], "flt", "mono")
    frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
    return tuple(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])


@st.composite
def _opus(draw: st.DrawFn) -> bytes:
    """An Opus packet, whole or with a damage."""
    packet = bytearray(draw(st.sampled_from(_opus_packets())))
    for _ in range(draw(st.integers(0, 3))):
        packet[draw(st.integers(0, len(packet) - 1))] = draw(st.integers(0, 255))
    return bytes(packet[: draw(st.integers(0, len(packet)))] or packet)


payloads = st.one_of(
    st.sampled_from([b"\0\0" * 1_600, b"\x00\x10" * 1_600, b"\x00\x10" * 800, b"\xff\x7f\x01\x80" * 15_000]),
    st.binary(max_size=40),
    _opus(),
    st.binary(min_size=1, max_size=1).map(lambda toc: toc + b"\x3f" + b"\x01" * 30),  # a few bytes, much silence
)
packets = st.builds(
    lambda seq, position, payload: struct.pack("<II", seq % 2**32, position % 2**32) + payload,
    st.integers(0, 40) | st.sampled_from([9_999, 10_001, 2**31, 2**32 - 1]),
    st.integers(0, 40).map(lambda n: n * 1_600)
    | st.sampled_from([1, 2**31 - 1, 2**31, 2**32 - 1])
    | st.integers(0, 2**32 - 1),
    payloads,
)

frames = st.fixed_dictionaries(
    {"opcode": st.integers(0, 15), "payload": st.binary(max_size=200)},
    optional={
        "fin": st.booleans(),
        "rsv": st.integers(0, 7),
        "masked": st.booleans(),
        "length": st.sampled_from([0, 1, 125, 126, 127, 65_535, 65_536, 65_537, 2**31, 2**63 - 1, 2**63, 2**64 - 1]),
    },
)

headers = _fields(
    {
        "Origin": st.sampled_from(
            ["http://localhost", "https://example.org", "null", "http://[", "http://a:b:c", "\xe4"]
        ),
        "Authorization": st.sampled_from(["Bearer x", "Bearer", "Basic !", "bearer  \t"])
        | st.text("ab :=", max_size=9),
        "Sec-WebSocket-Protocol": st.sampled_from(["x", "a, b", ",", ""]),
        "Sec-WebSocket-Extensions": st.sampled_from(["permessage-deflate", "permessage-deflate; x", ";", "x" * 500]),
        "Cookie": st.text('ab=;"', max_size=20),
    }
)

close = st.tuples(
    st.sampled_from([0, 999, 1000, 1001, 1005, 1006, 1015, 3000, 4400, 4999, 65_535]), st.binary(max_size=130)
)

_ACTS: dict[str, SearchStrategy[Any]] = {
    "json": starts | odd_starts | odd_controls,
    "control": controls,
    "text": texts,
    "raw text": not_utf8,
    "packet": packets,
    "packets in order": st.tuples(st.integers(1, 12), st.sampled_from([1_600, 1_600, 0, 1, 2**20, 2**31]), payloads),
    "flood": st.tuples(st.sampled_from([3, 300]), controls),
    "binary": st.binary(max_size=30) | st.just(b"\0" * 70_000),
    "resume": st.fixed_dictionaries(
        {
            "of": st.integers(0, CONNECTIONS - 1),
            "token": st.sampled_from(["right", "right", "wrong", "", "none", "\u00e9", "x" * 5000]),
            "last_event": st.integers(0, 4) | _odd_numbers,
        }
    ),
    "frame": frames,
    "fragments": st.tuples(st.sampled_from([1, 2, 8]), st.sampled_from([1, 3, 200, 5_000]), st.binary(max_size=3)),
    "pings": st.tuples(st.sampled_from([1, 5, 500]), st.binary(max_size=130)),
    "half": frames,
    "close": close,
    "wait": st.none(),
    "abort": st.none(),
    "shut": st.none(),
}
#: Some of what ends a connection, and more of what goes on with it.
_WEIGHTS = {"json": 2, "control": 8, "packet": 6, "packets in order": 10, "resume": 6, "wait": 3, "pings": 2}
_verbs = st.sampled_from([verb for verb in _ACTS for _ in range(_WEIGHTS.get(verb, 1))])


def _acts(connections: SearchStrategy[int]) -> SearchStrategy[Act]:
    elsewhere = st.sampled_from([0, 1, 2])  # where a session is taken up again, mostly
    return _verbs.flatmap(
        lambda verb: st.tuples(elsewhere if verb == "resume" else connections, st.just(verb), _ACTS[verb])
    )


def conversations() -> SearchStrategy[list[Act]]:
    """Mostly sessions that begin well and go wrong later."""
    any_of_them = st.sampled_from([0, 0, 0, 1, 2])
    opened = st.builds(lambda found: (0, "open", found), headers)
    begun = starts.map(lambda start: (0, "json", start))
    packets_first = _ACTS["packets in order"].map(lambda found: (0, "packets in order", found))
    back = st.integers(0, 2).map(lambda last: (1, "resume", {"of": 0, "token": "right", "last_event": last}))
    lost = st.sampled_from(["abort", "shut", "wait"]).map(lambda verb: (0, verb, None))
    return st.one_of(
        st.builds(
            lambda start, sound, gone, resume, rest: [start, sound, gone, resume, *rest],
            begun,
            packets_first,
            lost,
            back,
            st.lists(_acts(st.sampled_from([0, 1, 1, 1])), max_size=MAX_ACTS),
        ),
        st.builds(lambda first, rest: [first, *rest], begun, st.lists(_acts(any_of_them), max_size=MAX_ACTS)),
        st.builds(lambda first, rest: [first, *rest], begun, st.lists(_acts(any_of_them), max_size=MAX_ACTS)),
        st.lists(_acts(any_of_them), min_size=1, max_size=MAX_ACTS),
        st.builds(lambda first, rest: [first, *rest], opened, st.lists(_acts(st.just(0)), min_size=1, max_size=6)),
    )
