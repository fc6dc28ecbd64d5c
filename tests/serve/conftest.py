"""Sound that spells words, a recognizer that reads them, and a WebSocket without a network.

Word n is 0.4 s of a level of its own, and 0.1 s of nothing. What is lost, repeated or out of order on the way shows in
the text.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import pytest
from fastapi import FastAPI

from mmpipe.audio.vad import SileroVad
from mmpipe.pipelines.engines import Engines
from mmpipe.pipelines.live import LiveModels
from mmpipe.serve.app import create_app
from mmpipe.serve.options import ServeOptions
from mmpipe.serve.session import ServedSession
from mmpipe.serve.session_manager import SessionManager
from mmpipe.serve.wire import PATH, Packet, to_pcm16
from mmpipe.stage import Recognizer, Synthesizer, Translator
from mmpipe.types import SPEECH_RATE_HZ, Audio, Segment, Sentence, SpeechRequest, SpeechWindow, Tier, Word

PATIENCE_S = 20  # only ever reached when a test fails
LEVEL = 0.005
WORD = SPEECH_RATE_HZ // 2
PACKET = SPEECH_RATE_HZ // 10


def spell(words: Sequence[int]) -> np.ndarray:
    sound = np.zeros((len(words), WORD), np.float32)
    sound[:, : round(0.8 * WORD)] = ((np.array(words) + 1) * LEVEL)[:, None]
    return sound.reshape(-1)


def text(words: Sequence[int]) -> str:
    """What is recognized in the sound of ``words``: every fifth ends a sentence."""
    return " ".join(f"w{n}" + "." * (n % 5 == 4) for n in words)


class Reader(Recognizer):
    """Reads spelled words. Can be told to fail, or to wait for the gate."""

    name = "reader"
    languages = frozenset({"en"})

    def __init__(self) -> None:
        self.failing = 0
        self.poisoned: int | None = None  # the word on which it always fails
        self.gate = threading.Event()
        self.gate.set()

    def run(self, items: Sequence[SpeechWindow]) -> list[Segment]:
        self.gate.wait(PATIENCE_S)
        if self.failing:
            self.failing -= 1
            raise RuntimeError("out of order")
        return [self.read(item.audio) for item in items]

    def read(self, audio: Audio) -> Segment:
        codes = np.rint(audio.samples / LEVEL).astype(int)
        edges = [0, *(np.flatnonzero(np.diff(codes)) + 1), len(codes)]
        words = [
            Word(text([int(codes[a]) - 1]), a / SPEECH_RATE_HZ, b / SPEECH_RATE_HZ, 0.9)
            for a, b in itertools.pairwise(edges)
            if codes[a] > 0 and b - a > 800
        ]
        if any(word.text == text([self.poisoned]) for word in words if self.poisoned is not None):
            raise RuntimeError("cannot hear this")
        return Segment(0.0, audio.duration_s, " ".join(word.text for word in words), "en", tuple(words))


class Upper(Translator):
    name = "upper"
    pairs: Mapping[tuple[str, str], Tier] = {("en", "pt"): Tier.GOOD}

    def __init__(self) -> None:
        self.failing = 0
        self.gate = threading.Event()
        self.gate.set()

    def run(self, items: Sequence[Sentence]) -> list[str]:
        self.gate.wait(PATIENCE_S)
        if self.failing:
            self.failing -= 1
            raise RuntimeError("translation is down")
        return [item.text.upper() for item in items]


class Beep(Synthesizer):
    """Two seconds, more than fits into one message. Can be told to fail, or to wait for the gate."""

    name = "beep"
    rate_hz = 24_000
    voices: Mapping[str, Sequence[str]] = {"pt": ("beep",)}

    def __init__(self) -> None:
        self.failing = 0
        self.gate = threading.Event()
        self.gate.set()

    def run(self, items: Sequence[SpeechRequest]) -> list[Audio]:
        self.gate.wait(PATIENCE_S)
        if self.failing:
            self.failing -= 1
            raise RuntimeError("out of breath")
        at = np.arange(2 * self.rate_hz) / self.rate_hz
        return [Audio((0.3 * np.sin(2 * np.pi * 440 * at)).astype(np.float32), self.rate_hz) for _ in items]


class FakeClock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.time_s = 0.0

    def now_s(self) -> float:
        return self.time_s

    def wait(self, condition: threading.Condition, until_s: float) -> None:
        raise AssertionError("nobody waits on this clock")


class Wire:
    """A client of the application, message by message. Must be made inside a loop."""

    def __init__(
        self,
        app: FastAPI,
        headers: Mapping[str, str] | None = None,
        address: str = "127.0.0.1",
        extensions: Mapping[str, Any] = MappingProxyType({"websocket.http.response": {}}),
    ) -> None:
        self.reading = asyncio.Event()  # cleared: the client does not read, and the server's sending waits
        self.reading.set()
        self.gone = False  # True: sending to it fails, as uvicorn's does once the client's close was received
        self.closed_with: int | None = None
        self.denied_with: int | None = None  # a status of HTTP, in place of a connection
        self._sent_packets = 0
        self._position = 0
        self._to_server: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._to_client: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._to_server.put_nowait({"type": "websocket.connect"})
        scope = {
            "type": "websocket",
            "asgi": {"version": "3.0"},
            "path": PATH,
            "raw_path": PATH.encode(),
            "query_string": b"",
            "root_path": "",
            "scheme": "ws",
            "headers": [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()],
            "client": (address, 1),
            "server": ("127.0.0.1", 2),
            "subprotocols": [],
            "extensions": dict(extensions),
        }
        self.task = asyncio.create_task(self._serve(app, scope))

    async def _serve(self, app: FastAPI, scope: dict[str, Any]) -> None:
        async def send(message: Any) -> None:
            await self.reading.wait()
            if self.gone:
                raise OSError("the client has disconnected")
            self._to_client.put_nowait(message)

        await app(scope, self._to_server.get, send)

    async def start(self, **fields: Any) -> dict[str, Any]:
        self.say({"type": "start", "source": "en", **fields})
        return cast(dict[str, Any], await self.hear())

    async def resume(self, started: dict[str, Any], last_event: int) -> dict[str, Any]:
        fields = {"session": started["session"], "token": started["token"], "last_event": last_event}
        self.say({"type": "resume", **fields})
        return cast(dict[str, Any], await self.hear())

    def say(self, message: dict[str, Any] | str | bytes) -> None:
        if isinstance(message, bytes):
            self._to_server.put_nowait({"type": "websocket.receive", "bytes": message})
        else:
            found = message if isinstance(message, str) else json.dumps(message)
            self._to_server.put_nowait({"type": "websocket.receive", "text": found})

    def vanish(self, code: int = 1006) -> None:
        self._to_server.put_nowait({"type": "websocket.disconnect", "code": code})

    async def hear(self) -> dict[str, Any] | bytes | None:
        """The next message; None once the connection is closed."""
        message = await asyncio.wait_for(self._to_client.get(), PATIENCE_S)
        if message["type"] == "websocket.accept":
            return await self.hear()
        if message["type"] == "websocket.http.response.start":
            self.denied_with = message["status"]
            return await self.hear()
        if message["type"] == "websocket.http.response.body":
            with suppress(ValueError):  # what stands before the application says it in plain text
                self.denial = cast(dict[str, Any], json.loads(message["body"]))
            return None
        if message["type"] == "websocket.close":
            self.closed_with = message.get("code", 1000)
            return None
        if message.get("text") is not None:
            return cast(dict[str, Any], json.loads(message["text"]))
        return cast(bytes, message["bytes"])

    async def until(self, kind: str) -> list[dict[str, Any]]:
        """All JSON messages to the first of a kind."""
        found: list[dict[str, Any]] = []
        while not found or found[-1]["type"] != kind:
            message = await self.hear()
            assert message is not None, f"closed with {self.closed_with} before {kind}"
            if isinstance(message, dict):
                found.append(message)
        return found

    async def rest(self) -> list[dict[str, Any] | bytes]:
        """All messages to the close."""
        found = []
        while (message := await self.hear()) is not None:
            found.append(message)
        return found


def packets(sound: np.ndarray) -> list[bytes]:
    starts = range(0, len(sound), PACKET)
    return [Packet(n, at, to_pcm16(sound[at : at + PACKET])).pack() for n, at in enumerate(starts)]


def committed(messages: Sequence[Any]) -> str:
    return " ".join(m["text"] for m in messages if isinstance(m, dict) and m["type"] == "committed")


async def get(app: FastAPI, path: str) -> tuple[int, str]:
    """An HTTP request without a network: status and body."""
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "query_string": b"", "headers": [], "root_path": ""}
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(part.get("body", b"") for part in sent[1:]).decode()


class Rig:
    """A server over engines that a test can break."""

    def __init__(self, loud: Callable[[float], SileroVad]) -> None:
        self.reader, self.upper, self.beep = Reader(), Upper(), Beep()
        self.models = LiveModels(
            Engines(self.reader, translators=[self.upper], synthesizers=[self.beep], interactive=True)
        )
        self.models.vad = loud(LEVEL / 2)
        self.clock = FakeClock()

    def manager(self, clock: Any = None, **options: Any) -> SessionManager:
        manager = SessionManager(self.models, ServeOptions(**options), clock or self.clock)
        manager.unready = None
        return manager

    def app(self, clock: Any = None, **options: Any) -> tuple[FastAPI, SessionManager]:
        manager = self.manager(clock, **options)
        return create_app(manager), manager

    def close(self) -> None:
        self.reader.gate.set()
        self.upper.gate.set()
        self.beep.gate.set()
        self.models.close()
        self.models.engines.close()

    async def speak(self, session: ServedSession, wires: Sequence[Wire], sound: Sequence[bytes]) -> None:
        """Say half a second at a time, each worked off before the next, while the last of ``wires`` is connected."""
        for at in range(0, len(sound), 5):
            until = session.next_packet + len(sound[at : at + 5])
            for packet in sound[at : at + 5]:
                for wire in wires:
                    wire.say(packet)
            async with asyncio.timeout(PATIENCE_S):
                while not (wires[-1].task.done() or (session.next_packet == until and session._live.idle)):
                    await asyncio.sleep(0.001)

    # what tests need besides, without importing this file
    wire = Wire
    spell = staticmethod(spell)
    text = staticmethod(text)
    packets = staticmethod(packets)
    committed = staticmethod(committed)
    get = staticmethod(get)
    app_of = staticmethod(create_app)


@pytest.fixture
def rig(loud: Callable[[float], SileroVad]) -> Iterator[Rig]:
    made = Rig(loud)
    yield made
    made.close()


@pytest.fixture
def settle() -> Callable[[Callable[[], bool]], Any]:
    """Wait until something is so."""

    async def wait(condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.005)

    return wait
