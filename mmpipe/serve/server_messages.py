"""What a server says, checked before a client believes it: to a client, a server is a stranger, too."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, get_type_hints

from mmpipe.errors import MmpipeError
from mmpipe.pipelines.live.events import EVENT_TYPES, Event, SpokenEvent
from mmpipe.serve.wire import HEADER_BYTES, Close, Packet, ProtocolError, from_pcm16
from mmpipe.types import Audio, Word

#: A longer message is not even received.
MAX_MESSAGE_BYTES = 1_000_000
#: Of one ``spoken`` event: a sentence takes some seconds.
MAX_SPOKEN_S = 120.0
MAX_WORDS = 10_000
MAX_TEXT = 100_000
_MAX_SHOWN = 500  # characters of an error
_MAX_RATE_HZ = 192_000
_MAX_COUNT = 2**53  # what JSON carries exactly
_MAX_TIME_S = 1e9
#: Messages that tell a client nothing.
_SILENT = {"pong"}

_FIELDS: dict[type[Any], dict[str, Any]] = {
    kind: {field.name: get_type_hints(kind)[field.name] for field in fields(kind)}
    for kind in (*EVENT_TYPES.values(), Word)
}


class ServerProtocolError(MmpipeError):
    """What came from the server is not mmpipe's protocol: another program, another version, or a hostile one."""


@dataclass(frozen=True, slots=True)
class Started:
    """The session begins, or goes on."""

    session: str
    token: str
    next_packet: int
    idle_s: float


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """The server has the packets before ``next_packet``."""

    next_packet: int


@dataclass(frozen=True, slots=True)
class Nothing:
    """A message that asks for nothing."""


@dataclass(slots=True)
class SpokenHead:
    """A ``spoken`` event whose sound is still to come, in binary messages."""

    values: dict[str, Any]
    samples: int
    rate_hz: int
    sound: bytearray

    @property
    def complete(self) -> bool:
        return len(self.sound) == 2 * self.samples

    def add(self, message: str | bytes) -> None:
        """
        Raises:
            ProtocolError: the server gives up in the middle.
            ServerProtocolError: that is not the sound which belongs here.
        """
        if isinstance(message, str):
            _object(message)
            raise ServerProtocolError("text came where the sound of an event goes on")
        if len(message) <= HEADER_BYTES or len(message) % 2:
            raise ServerProtocolError(f"a binary message of {len(message)} bytes is no sound")
        packet = Packet.unpack(message)
        if packet.seq != self.values["seq"] or 2 * packet.position != len(self.sound):
            raise ServerProtocolError("sound came that belongs to no event, or elsewhere in it")
        if len(self.sound) + len(packet.payload) > 2 * self.samples:
            raise ServerProtocolError(f"more sound came than the {self.samples} samples that were announced")
        self.sound += packet.payload

    def event(self) -> Event:
        return SpokenEvent(**self.values, audio=Audio(from_pcm16(bytes(self.sound)), self.rate_hz))


Message = Started | Acknowledged | Nothing | SpokenHead | Event


def parse(message: str | bytes) -> Message:
    """One message of a server.

    Raises:
        ProtocolError: it is the server's word that it refuses, or gives up.
        ServerProtocolError: it is none of the protocol.
    """
    found = _object(message)
    kind = found["type"]
    if kind == "started":
        return Started(
            _text(found, "session", 64),
            _text(found, "token", 256),
            _count(found, "next_packet"),
            _number(found, "idle_s", 0.01, 86_400),
        )
    if kind == "ack":
        return Acknowledged(_count(found, "next_packet"))
    if kind in _SILENT:
        return Nothing()
    if kind not in EVENT_TYPES:
        raise ServerProtocolError(f"a message of the unknown type {_shown(kind)!r} came")
    return _event(EVENT_TYPES[kind], found)


def refusal(body: bytes | bytearray | None) -> ProtocolError | None:
    """The error in the body of an HTTP answer that refuses the connection; None: it has none."""
    try:
        _object(bytes(body or b"").decode("utf-8"))
    except ProtocolError as error:
        return error
    except (ServerProtocolError, UnicodeDecodeError):
        return None
    return None


def _object(message: str | bytes) -> dict[str, Any]:
    if isinstance(message, bytes):
        raise ServerProtocolError("sound came where no event had announced it")
    try:
        found = json.loads(message)
    except (ValueError, RecursionError):  # ValueError: also for a number of 5000 digits
        raise ServerProtocolError(f"a message is no JSON: {_shown(message)!r}") from None
    if not (isinstance(found, dict) and isinstance(found.get("type"), str)):
        raise ServerProtocolError("a message is no object with a type")
    if found["type"] == "error":
        raise _error(found)
    return found


def _error(found: dict[str, Any]) -> ProtocolError | ServerProtocolError:
    code = _text(found, "code", 64)
    text = _shown(_text(found, "text", MAX_TEXT))
    retry_after_s = None if found.get("retry_after_s") is None else _number(found, "retry_after_s", 0, 86_400)
    try:
        return ProtocolError(Close[code.upper()], text, retry_after_s)
    except KeyError:
        return ServerProtocolError(f"it gave the unknown error {_shown(code)!r}: {text}")


def _event(kind: type[Event], found: dict[str, Any]) -> SpokenHead | Event:
    values = {name: _field(found, name, hint) for name, hint in _FIELDS[kind].items() if hint is not Audio}
    if kind is not SpokenEvent:
        return kind(**values)
    rate_hz, samples = _count(found, "rate_hz"), _count(found, "samples")
    if not 8_000 <= rate_hz <= _MAX_RATE_HZ or samples > MAX_SPOKEN_S * rate_hz:
        raise ServerProtocolError(f"{samples} samples at {rate_hz} Hz are no sentence")
    return SpokenHead(values, samples, rate_hz, bytearray())


def _field(found: dict[str, Any], name: str, hint: Any) -> Any:
    if hint is str:
        return _text(found, name)
    if hint is float:
        return _number(found, name, -_MAX_TIME_S, _MAX_TIME_S)
    if hint is int:
        return _count(found, name)
    if hint is bool:
        if not isinstance(found.get(name), bool):
            raise _wrong(found, name)
        return found[name]
    if hint == str | None:
        return None if found.get(name) is None else _text(found, name)
    if hint == tuple[Word, ...]:
        return _words(found, name)
    raise AssertionError(f"{name} of an event is of a type that no client checks: {hint}")


def _words(found: dict[str, Any], name: str) -> tuple[Word, ...]:
    words = found.get(name)
    if not isinstance(words, list) or len(words) > MAX_WORDS or not all(isinstance(word, dict) for word in words):
        raise _wrong(found, name)
    return tuple(Word(**{field: _field(word, field, hint) for field, hint in _FIELDS[Word].items()}) for word in words)


def _text(found: dict[str, Any], name: str, longest: int = MAX_TEXT) -> str:
    value = found.get(name)
    if not isinstance(value, str) or len(value) > longest:
        raise _wrong(found, name)
    return value


def _count(found: dict[str, Any], name: str) -> int:
    value = found.get(name)
    if type(value) is not int or not 0 <= value < _MAX_COUNT:
        raise _wrong(found, name)
    return value


def _number(found: dict[str, Any], name: str, least: float, most: float) -> float:
    value: Any = found.get(name)
    if type(value) not in (int, float) or not least <= value <= most:  # and no NaN, which is in no range
        raise _wrong(found, name)
    return float(value)


def _wrong(found: dict[str, Any], name: str) -> ServerProtocolError:
    kind = found.get("type", "word")
    return ServerProtocolError(f"{name!r} of a message {_shown(str(kind))!r} is missing or wrong")


def _shown(text: str) -> str:
    """``text`` of a stranger for a terminal: short, and nothing that moves its cursor."""
    cut = text[:_MAX_SHOWN]
    return "".join(char if char.isprintable() else " " for char in cut)
