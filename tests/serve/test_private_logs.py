"""What was said in a live session is written down nowhere, however its engines fail."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import connect

from mmpipe.audio.vad import SileroVad
from mmpipe.client import ClientOptions, LiveClient
from mmpipe.errors import LanguageError, StageError
from mmpipe.logs import private_logs
from mmpipe.pipelines.engines import Engines
from mmpipe.pipelines.live import EndedEvent, Event, LiveModels, WarningEvent
from mmpipe.serve import server as server_module
from mmpipe.serve.options import ServeOptions
from mmpipe.serve.server import Server, run
from mmpipe.serve.session_manager import SessionManager
from mmpipe.stage import Recognizer, Synthesizer, Translator
from mmpipe.types import Audio, Segment, Sentence, SpeechRequest

LEVEL = 0.005  # as sound is spelled in the fixture ``rig``
SAID = "quokka"  # begins every word that is recognized
SECRET = "xylotomy"  # what a client sends besides


def word(number: int) -> str:
    """In letters alone: the voice would write a number out."""
    return SAID + "".join("abcdefghij"[int(digit)] for digit in str(number))


def holds(text: str, number: int) -> bool:
    return word(number) in text.lower().replace(".", "").split()


def quoting(rig: Any, loud: Callable[[float], SileroVad]) -> LiveModels:
    """Engines that hear quokkas and fail on some, with what they were given in every message."""

    class Hearing(type(rig.reader)):  # type: ignore[misc]
        def read(self, audio: Audio) -> Segment:
            found = super().read(audio)
            words = tuple(
                replace(each, text=re.sub(r"w(\d+)", lambda match: word(int(match[1])), each.text))
                for each in found.words
            )
            text = " ".join(each.text for each in words)
            if holds(text, 40):
                raise RuntimeError(f"cannot hear {text!r}")
            if holds(text, 50):
                raise StageError(f"gave up on {text!r}")
            return replace(found, text=text, words=words)

    class Translating(type(rig.upper)):  # type: ignore[misc]
        def run(self, items: Sequence[Sentence]) -> list[str]:
            for item in items:
                if holds(item.text, 0):
                    raise RuntimeError(f"cannot translate {item.text!r}") from ValueError(item.text)
                if holds(item.text, 5):
                    raise StageError(f"failed on {item.text!r}")
                if holds(item.text, 10):
                    raise LanguageError(f"{item.text!r} is in no language")
            return [item.text.upper() for item in items]

    class Speaking(type(rig.beep)):  # type: ignore[misc]
        def run(self, items: Sequence[SpeechRequest]) -> list[Audio]:
            for item in items:
                if holds(item.text, 15):
                    raise RuntimeError(f"cannot say {item.text!r}")
                if holds(item.text, 20):
                    raise StageError(f"cannot be spoken: {item.text!r}")
            return [Audio(np.full(self.rate_hz // 10, 0.1, np.float32), self.rate_hz) for _ in items]

    recognizer: Recognizer = Hearing()
    translator: Translator = Translating()
    synthesizer: Synthesizer = Speaking()
    models = LiveModels(Engines(recognizer, translators=[translator], synthesizers=[synthesizer], interactive=True))
    models.vad = loud(LEVEL / 2)
    return models


@asynccontextmanager
async def serving(manager: SessionManager) -> AsyncIterator[str]:
    server = Server(manager, port=0)
    serve = asyncio.create_task(server.serve())
    while not (server.started and manager.unready is None):
        await asyncio.sleep(0.005)
    try:
        yield f"127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await asyncio.wait_for(serve, 20)


async def converse(address: str, sound: np.ndarray, api_key: str | None = None) -> list[Event]:
    """All events of a session that hears ``sound``."""
    wanted = ClientOptions(source="en", to="pt", speak=True, hotwords=(f"{SECRET}s",))
    async with asyncio.timeout(60), LiveClient(f"ws://{address}", wanted, api_key) as client:

        async def speak() -> None:
            with contextlib.suppress(Exception):  # a session that fails is over before everything was said
                await client.send(sound)
                await client.finish()

        speaking = asyncio.create_task(speak())
        events: list[Event] = []
        with contextlib.suppress(Exception):
            async for event in client:
                events.append(event)  # noqa: PERF401  those before an error are wanted
        speaking.cancel()
        await asyncio.gather(speaking, return_exceptions=True)
        return events


def sentences(*first: int) -> list[int]:
    return [n + k for n in first for k in range(5)]


def test_no_word_that_was_said_is_in_any_log_or_metric(
    written: Any, rig: Any, loud: Callable[[float], SileroVad], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = tmp_path / "audit.jsonl"

    async def run() -> tuple[list[Event], str]:
        with quoting(rig, loud) as models:
            manager = SessionManager(
                models, ServeOptions(max_ahead_s=1e6, transcripts=tmp_path / "kept", audit_log=audit)
            )
            async with serving(manager) as address:
                events: list[Event] = []
                for failing in (0, 5, 10, 15, 20, 40, 50):  # each stage, with a library's error and with our own
                    events += await converse(address, rig.spell(sentences(30, failing)))
                # what fails outside the engines
                with monkeypatch.context() as patch:
                    patch.setattr(models.translator, "translate", _raise)
                    events += await converse(address, rig.spell(sentences(30)))
                    patch.setattr("mmpipe.serve.session.ServedSession.hear", _raise)
                    events += await converse(address, rig.spell(sentences(30)))
                    patch.setattr("mmpipe.serve.session_manager.SessionManager._check", _raise)
                    events += await _refused(address, {"type": "start", "source": "en", "hotwords": [SECRET]})
                await _refused(address, {"type": "start", SECRET: SECRET})
                await _refused(address, {"type": "start", "voice": SECRET, "to": "pt", "speak": True})
                async with httpx.AsyncClient(base_url=f"http://{address}") as http:
                    pages = [(await http.get(path)).text for path in ("/metrics", "/ready", "/health")]
        return events, "\n".join(pages)

    with private_logs():
        events, pages = asyncio.run(run())
        found = written.text

    told = [event.text for event in events if isinstance(event, WarningEvent)]
    told += [event.reason for event in events if isinstance(event, EndedEvent)]
    for what in ("cannot translate", "failed on", "is in no language", "cannot say", "cannot be spoken"):
        assert [text for text in told if what in text and SAID in text.lower()], f"the speaker is told: {what}"
    assert [text for text in told if "cannot hear" in text and SAID in text]
    assert [text for text in told if "gave up on" in text and SAID in text]
    kept = "".join(path.read_text("utf-8") for path in (tmp_path / "kept").iterdir())
    assert word(31) in kept, "the transcript is where it is meant to be"

    for what in (
        "a sentence could not be translated",
        "a sentence could not be spoken",
        "a draft could not be translated",
        "ended by a failing stage",
        "ended by an internal error",
        "asked again after an error",
        ": internal error",
        "Exception in ASGI application",
        "RuntimeError",
    ):
        assert what in found, f"the log does say that {what!r}"
    noted = audit.read_text("utf-8")
    for what in ("session.started", "session.ended", "failed"):
        assert what in noted
    for secret in (SAID, SECRET):
        assert secret not in pages.lower()
        assert secret not in noted.lower()
        lines = [line for line in found.splitlines() if secret in line.lower()]
        assert not lines, "\n".join(lines)


def _raise(*arguments: Any, **_: Any) -> None:
    raise ValueError(f"{SAID} {SECRET} {arguments}")


async def _refused(address: str, opening: dict[str, Any]) -> list[Event]:
    """Begin with ``opening``, and leave with a word."""
    async with connect(f"ws://{address}/v1/live") as connection:
        await connection.send(json.dumps(opening))
        with contextlib.suppress(Exception):
            await connection.recv()
        await connection.close(1000, SECRET)
    return []


def test_the_server_runs_with_logs_without_text(written: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def __init__(self, *_: object) -> None:
            pass

        def run(self, sockets: object) -> None:
            try:
                raise ValueError(SECRET)
            except ValueError:
                logging.getLogger("uvicorn.error").exception("Exception in ASGI application\n")
            logging.getLogger("uvicorn.error").debug("< TEXT %s", SECRET)

    monkeypatch.setattr(server_module, "Server", Failing)
    monkeypatch.setattr(server_module, "SessionManager", Failing)
    run(port=0, models=Any)
    assert "ValueError" in written.text
    assert SECRET not in written.text


def test_a_client_writes_down_neither_its_key_nor_what_it_is_told(written: Any, rig: Any) -> None:
    async def run() -> list[Event]:
        manager = rig.manager(max_ahead_s=1e6, api_keys=(SECRET,))
        manager.unready = "warming up"
        async with serving(manager) as address:
            return await converse(address, rig.spell(range(5)), api_key=SECRET)

    logging.getLogger("uvicorn.error").setLevel(logging.INFO)  # the server's side of it
    try:
        events = asyncio.run(run())
    finally:
        logging.getLogger("uvicorn.error").setLevel(logging.NOTSET)
    assert "w3" in " ".join(event.text for event in events)
    assert SECRET not in written.text
    assert "w3" not in written.text
