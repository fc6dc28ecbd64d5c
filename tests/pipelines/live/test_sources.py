"""Sound from files, web servers and pipes, on its way into a session."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from mmpipe.audio import media
from mmpipe.errors import MediaError
from mmpipe.evaluate.clips import Clip
from mmpipe.pipelines.live import LiveModels, LiveOptions, LiveSession, sources
from mmpipe.pipelines.live.session import WAIT_BEHIND_S
from mmpipe.pipelines.live.sources import BLOCK_S, pcm, recording
from mmpipe.types import Audio


async def gathered(sound: AsyncIterator[Audio]) -> np.ndarray:
    return np.concatenate([block.samples async for block in sound])


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def website(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address at which a web server on this machine offers it."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_url_is_heard_as_the_file_is(website: tuple[Path, str], librivox: list[Clip]) -> None:
    folder, address = website
    (folder / "talk.wav").write_bytes(librivox[1].path.read_bytes())
    heard = asyncio.run(gathered(recording(f"{address}/talk.wav", realtime=False)))
    assert np.array_equal(heard, media.load(librivox[1].path).samples)


def test_a_stream_in_segments_is_heard_whole_and_in_order(website: tuple[Path, str], librivox: list[Clip]) -> None:
    """HLS: a playlist that names pieces of a second each."""
    folder, address = website
    said = media.load(librivox[0].path, 48_000)
    with av.open(str(folder / "live.m3u8"), "w", format="hls", options={"hls_time": "1", "hls_list_size": "0"}) as out:
        track: Any = out.add_stream("aac", rate=48_000, layout="mono")
        for at in range(0, len(said.samples), 48_000):
            frame = media.as_frame(Audio(said.samples[at : at + 48_000], 48_000))
            frame.pts = at
            out.mux(track.encode(frame))
        out.mux(track.encode(None))
    assert len(list(folder.glob("*.ts"))) > 4
    heard = asyncio.run(gathered(recording(f"{address}/live.m3u8", realtime=False)))
    assert len(heard) / 16_000 == pytest.approx(said.duration_s, abs=0.1)

    def loudness(samples: np.ndarray) -> np.ndarray:
        frames = samples[: len(samples) // 1600 * 1600].reshape(-1, 1600)
        return np.asarray(np.sqrt((frames**2).mean(axis=1)))[: int(said.duration_s * 10) - 2]

    assert np.corrcoef(loudness(heard), loudness(media.load(librivox[0].path).samples))[0, 1] > 0.9


@pytest.mark.parametrize("path", ["missing.wav", "page.html"])
def test_a_url_that_gives_no_sound_is_refused(website: tuple[Path, str], path: str) -> None:
    folder, address = website
    (folder / "page.html").write_text("<p>Nothing to hear")
    with pytest.raises(MediaError, match=path):
        asyncio.run(gathered(recording(f"{address}/{path}", realtime=False)))


class SteppingClock:
    """Time passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.time_s = 100.0

    def now_s(self) -> float:
        return self.time_s

    async def sleep(self, duration_s: float) -> None:
        self.time_s += duration_s

    def wait(self, condition: threading.Condition, until_s: float) -> None:
        raise AssertionError


def test_at_real_pace_no_block_comes_before_a_microphone_would_have_given_it(
    librivox: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SteppingClock()
    # for this module alone: a loop that runs elsewhere would spin, and turn this clock
    monkeypatch.setattr(sources, "asyncio", SimpleNamespace(**vars(asyncio) | {"sleep": clock.sleep}))

    async def listen() -> list[float]:
        return [clock.time_s async for _ in recording(librivox[1].path, realtime=True, clock=clock)]

    times_s = asyncio.run(listen())
    assert times_s[:-1] == pytest.approx([100 + (n + 1) * BLOCK_S for n in range(len(times_s) - 1)])


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100])
def test_samples_from_a_pipe_are_heard_at_any_rate(rate_hz: int) -> None:
    at = np.arange(rate_hz) / rate_hz
    tone = (0.5 * np.sin(2 * np.pi * 440 * at) * 32767).astype("<i2")
    heard = asyncio.run(gathered(pcm(io.BytesIO(tone.tobytes() + b"\0"), rate_hz)))  # and half a sample
    assert len(heard) == pytest.approx(16_000, abs=40)
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(heard)) / 16_000)
    delay = np.abs(np.fft.rfft(heard)).argmax() * 16_000 / len(heard)
    assert delay == pytest.approx(440, abs=1)
    # in one piece: no click where blocks meet
    assert np.abs(np.diff(heard[200:-200])).max() < 1.1 * np.abs(np.diff(expected)).max()


def test_an_empty_pipe_is_refused() -> None:
    with pytest.raises(MediaError, match="standard input"):
        asyncio.run(gathered(pcm(io.BytesIO())))


def test_a_source_that_can_wait_waits_for_recognition(live: Any, reading: Callable[..., LiveModels]) -> None:
    sound = live.spell([n for _ in range(20) for n in (1, 2, 3)])
    gate = threading.Event()

    async def talk() -> None:
        given = 0

        async def blocks() -> AsyncIterator[Audio]:
            nonlocal given
            for at in range(0, len(sound), 1_600):
                given += 1
                yield Audio(sound[at : at + 1_600])

        with reading() as models:
            read = models.recognizer.run
            models.recognizer.run = lambda items: gate.wait(20) and read(items)  # type: ignore[method-assign]
            session = LiveSession(models, LiveOptions(source="en"))
            listening = asyncio.create_task(session.listen(blocks()))
            async with asyncio.timeout(20):
                while session.lag_s <= WAIT_BEHIND_S:
                    await asyncio.sleep(0.001)
            for _ in range(20):
                await asyncio.sleep(0.001)
            assert given * BLOCK_S == pytest.approx(WAIT_BEHIND_S, abs=0.3)
            gate.set()
            events = [event async for event in session.events()]
            await listening
            assert given == 300
            assert " ".join(event.text for event in events if event.type == "committed").count("w1") == 20

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_source_that_fails_ends_the_session_and_says_why(
    live: Any, reading: Callable[..., LiveModels], tmp_path: Path
) -> None:
    async def talk() -> None:
        with reading() as models:
            session = LiveSession(models, LiveOptions(source="en"))
            async with aclosing(recording(tmp_path / "missing.wav", realtime=False)) as sound:
                listening = asyncio.create_task(session.listen(sound))
                events = [event async for event in session.events()]
                assert [event.type for event in events] == ["ended"]
                with pytest.raises(MediaError, match="There is no file"):
                    await listening

    asyncio.run(asyncio.wait_for(talk(), 60))


async def at_once(sound: np.ndarray, block_s: float = BLOCK_S) -> AsyncIterator[Audio]:
    """A source that gives up the event loop for nobody."""
    size = round(block_s * 16_000)
    for at in range(0, len(sound), size):
        yield Audio(sound[at : at + size])


@pytest.mark.parametrize("block_s", [BLOCK_S, WAIT_BEHIND_S + 1])
def test_silence_is_nothing_to_wait_for(live: Any, reading: Callable[..., LiveModels], block_s: float) -> None:
    sound = np.concatenate([np.zeros(12 * 16_000, np.float32), live.spell([1, 2, 3]), np.zeros(16_000, np.float32)])

    async def talk() -> None:
        with reading() as models:
            session = LiveSession(models, LiveOptions(source="en"))
            listening = asyncio.create_task(session.listen(at_once(sound, block_s)))
            events = [event async for event in session.events()]
            await listening
        assert " ".join(event.text for event in events if event.type == "committed") == "w1 w2 w3"

    asyncio.run(asyncio.wait_for(talk(), 20))


def test_listening_ends_with_a_session_that_fails_while_its_source_is_silent(
    live: Any, reading: Callable[..., LiveModels]
) -> None:
    async def speak_and_wait() -> AsyncIterator[Audio]:
        async for block in at_once(live.spell([1, 2, 3])):
            yield block
        await asyncio.Event().wait()  # a microphone that nobody speaks into

    def fail(items: Any) -> Any:
        raise RuntimeError("out of order")

    async def talk() -> None:
        with reading() as models:
            models.recognizer.run = fail  # type: ignore[method-assign]
            session = LiveSession(models, LiveOptions(source="en"))
            await session.listen(speak_and_wait())
            session.push(live.spell([4]))  # nobody hears it
            events = [event async for event in session.events()]
        assert [event.type for event in events] == ["ended"]
        assert events[0].end_s == pytest.approx(1.5)

    asyncio.run(asyncio.wait_for(talk(), 20))
