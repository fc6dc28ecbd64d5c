"""The honest visitors of a soak: live sessions, recordings and questions, one after another for as long as it lasts."""

from __future__ import annotations

import asyncio
import json
import random
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpipe.evaluate.live_bench import long_recording
from mmpipe.evaluate.replay_log import measure
from mmpipe.evaluate.soak_faults import chance, loopback
from mmpipe.evaluate.soak_live import Heard, LiveVisitor, Plan, SessionRefusedError
from mmpipe.evaluate.soak_material import Material, clipped, wav_file
from mmpipe.evaluate.soak_page import API, PageError, PageFunction, Visitor, text_of
from mmpipe.evaluate.soak_result import Done, SessionResult, Soak
from mmpipe.files import writing
from mmpipe.types import Audio

if TYPE_CHECKING:
    import httpx

QUESTIONS = ("What is this?", "Is it an animal?", "What color is it?", "Is there a person?")
#: Questions of one conversation.
QUESTIONS_A_VISIT = 4
#: A session that would be shorter is not begun.
MIN_SESSION_S = 5.0
RECORDING_S = 10.0
_RETRY_S = 5.0
_PATIENCE_S = 120.0
_PAGE_ADDRESS = 100  # 127.0.1.100; live sessions come from 127.0.1.1 and on


@dataclass(frozen=True, slots=True)
class LoadPace:
    """How much the honest visitors do."""

    sessions: int
    voices: int  # of the sessions, those that also want the translation spoken
    session_s: float
    recording_every_s: float
    question_every_s: float


class Load:
    """Everything that honest visitors do until :meth:`stop`.

    Args:
        port: of the server.
        functions: of the page.
        material: what is said and asked.
        pace: how much.
        length_s: how long in all.
        soak: what is measured goes in there.
        folder: keeps the events of each session.
        seed: of everything that is left to chance.
    """

    def __init__(
        self,
        port: int,
        functions: Mapping[str, PageFunction],
        material: Material,
        pace: LoadPace,
        length_s: float,
        soak: Soak,
        folder: Path,
        seed: int,
    ) -> None:
        self._port, self._functions, self._material, self._pace = port, functions, material, pace
        self._length_s, self._soak, self._folder, self._seed = length_s, soak, folder, seed
        self._loop = asyncio.get_running_loop()
        self._began_s = self._loop.time()
        self._stopping = asyncio.Event()
        self._live: set[LiveVisitor] = set()

    @property
    def at_s(self) -> float:
        return self._loop.time() - self._began_s

    @property
    def live(self) -> int:
        """Sessions that are going on."""
        return len(self._live)

    def stop(self) -> None:
        """Begin nothing more, and let what is being said come to its end."""
        self._stopping.set()
        for visitor in self._live:
            visitor.finish_early()

    async def run(self) -> None:
        """Until all visitors have finished, after :meth:`stop` or after the length of the load."""
        async with asyncio.TaskGroup() as group:
            for n in range(self._pace.sessions):
                group.create_task(self._sessions(n))
            if self._pace.recording_every_s:
                group.create_task(self._recordings())
            if self._pace.question_every_s:
                group.create_task(self._questions())

    async def _pause(self, seconds: float) -> None:
        """So long, or until there is to be no more."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._stopping.wait()
        except TimeoutError:
            pass

    # --- live sessions ---

    async def _sessions(self, n: int) -> None:
        rng = chance(f"{self._seed} session {n}")
        voice = n < self._pace.voices
        # not in step: neither in their sentences nor in when they begin and end
        await self._pause(min(3.0 * n, 0.05 * self._length_s * n / self._pace.sessions))
        count = 0
        while not self._stopping.is_set():
            left_s = self._length_s - self.at_s
            length_s = self._pace.session_s * rng.uniform(0.6, 1.4)
            if left_s - length_s < self._pace.session_s / 4:
                length_s = left_s
            if length_s < MIN_SESSION_S:
                return
            plan = await asyncio.to_thread(self._plan, length_s, voice, (n + count) % 2 == 1, rng)
            visitor = LiveVisitor(f"ws://127.0.0.1:{self._port}", plan, loopback(f"127.0.1.{1 + n}"), rng)
            self._live.add(visitor)
            try:
                heard = await visitor.run()
            except SessionRefusedError:
                self._soak.refused += 1
                await self._pause(_RETRY_S)
                continue
            finally:
                self._live.discard(visitor)
            began_at_s = heard.began_s - self._began_s
            result = await asyncio.to_thread(session_result, plan, heard, visitor.said_s, began_at_s)
            self._soak.sessions.append(result)
            await asyncio.to_thread(self._keep, heard, len(self._soak.sessions))
            count += 1
            await self._pause(rng.uniform(0.5, 3.0))

    def _plan(self, length_s: float, voice: bool, audits: bool, rng: random.Random) -> Plan:
        seed = rng.randrange(2**32)
        audio, spoken = long_recording(self._material.spoken, length_s, seed)
        _, offline = long_recording(self._material.offline, length_s, seed)
        options = {"source": "en", "to": "pt", "speak": voice, "headphones": True}
        cuts = sorted(rng.uniform(0.2, 0.9) * length_s for _ in range(rng.choice((0, 1, 1, 2))))
        return Plan(audio, spoken, offline, options, tuple(cuts), audits=audits and not voice)

    def _keep(self, heard: Heard, number: int) -> None:
        """The events go into a file: an hour of them is much."""
        with writing(self._folder):
            path = self._folder / f"session-{number:03}.jsonl"
            path.write_text("".join(json.dumps(event, ensure_ascii=False) + "\n" for event in heard.events), "utf-8")
        heard.events.clear()

    # --- the page ---

    @asynccontextmanager
    async def _visitor(self, *, beats: bool = True) -> AsyncIterator[tuple[Visitor, httpx.AsyncClient]]:
        import httpx

        transport = httpx.AsyncHTTPTransport(local_address=loopback(f"127.0.1.{_PAGE_ADDRESS}"))
        url = f"http://127.0.0.1:{self._port}"
        async with (
            httpx.AsyncClient(base_url=url, transport=transport, timeout=_PATIENCE_S) as http,
            Visitor(http, self._functions).open(beats=beats) as visitor,
        ):
            yield visitor, http

    async def _recordings(self) -> None:
        rng = chance(f"{self._seed} recordings")
        while not self._stopping.is_set() and self.at_s < self._length_s - RECORDING_S / 2:
            began_s = self._loop.time()
            audio, _ = long_recording(self._material.spoken, RECORDING_S, rng.randrange(2**32))
            await self._count(self._soak.recordings, self.recording(audio, speak=rng.random() < 0.5))
            await self._pause(self._pace.recording_every_s - (self._loop.time() - began_s))

    async def recording(self, audio: Audio, *, speak: bool, beats: bool = True) -> None:
        """Upload a recording, have it translated, and listen to it.

        Raises:
            PageError, httpx.HTTPError: the server did not do it.
        """
        async with self._visitor(beats=beats) as (visitor, http):
            upload = await visitor.upload(wav_file(audio), "talk.wav")
            taken = await visitor.call("take recording", [upload])
            if not taken[0]:
                raise PageError(_plain(text_of(taken[1])))
            shown = await visitor.call("translate", [taken[0], "en", "pt", speak])
            if "rec-finished" not in text_of(shown[0]):
                raise PageError(_plain(text_of(shown[0])))
            player = shown[1] if isinstance(shown[1], dict) else {}
            if listen := player.get("listen"):
                (await http.get(f"{API}/file={listen}")).raise_for_status()

    async def _questions(self) -> None:
        rng = chance(f"{self._seed} questions")
        while not self._stopping.is_set() and self.at_s < self._length_s:
            async with self._visitor() as (visitor, _):
                picture = rng.choice(self._material.pictures)
                for _ in range(QUESTIONS_A_VISIT):
                    if self._stopping.is_set() or self.at_s >= self._length_s:
                        break
                    began_s = self._loop.time()
                    await self._count(self._soak.questions, self._ask(visitor, picture, rng.choice(QUESTIONS)))
                    await self._pause(self._pace.question_every_s - (self._loop.time() - began_s))

    async def question(self) -> None:
        """One question of a visitor who then goes.

        Raises:
            PageError, httpx.HTTPError: it was not answered.
        """
        async with self._visitor(beats=False) as (visitor, _):
            await self._ask(visitor, self._material.pictures[0], QUESTIONS[0])

    async def _ask(self, visitor: Visitor, picture: bytes, question: str) -> None:
        upload = await visitor.upload(picture, "picture.jpg")
        taken = await visitor.call("take pictures", [[upload]])
        if not taken[0]:
            raise PageError(_plain(text_of(taken[1])))
        shown = await visitor.call("ask", [{"text": question}, taken[0], "", False])
        turn = text_of(shown[0]).split('<div class="pic-turn">')[-1]
        if "mm-problem" in turn or "pic-text" not in turn:
            raise PageError(_plain(turn))

    async def _count(self, done: Done, work: Any) -> None:
        import httpx

        began_s = self._loop.time()
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await work
        except (PageError, OSError, httpx.HTTPError) as error:  # TimeoutError is an OSError
            done.failures.append(f"at {self.at_s:.0f} s: {str(error) or type(error).__name__}")
        else:
            done.took_s.append(self._loop.time() - began_s)


def session_result(plan: Plan, heard: Heard, said_s: float, began_at_s: float) -> SessionResult:
    """What a session came to, measured with the references of as much as was said."""
    voice = bool(plan.options.get("speak"))
    found: dict[str, Any] = {}
    if heard.events and not heard.failure:
        spoken, offline = clipped(plan.spoken, said_s), clipped(plan.offline, said_s)
        found = {
            "sentences": len(offline.segments),
            "report": measure(heard.events, spoken),
            "offline": measure(heard.events, offline),
        }
    return SessionResult(began_at_s, said_s, voice, plan.audits, heard, **found)


def _plain(html: str) -> str:
    """What HTML says."""
    return " ".join(re.sub(r"<[^>]*>", " ", html).split())[:200] or "nothing was shown"
