"""What several tests need: the real recordings, and engines that are loaded once."""

from __future__ import annotations

import gc
import logging
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest

from mmpipe.audio.recognition.whisper import Whisper
from mmpipe.audio.vad import FRAME, SileroVad
from mmpipe.evaluate.clips import Clip, load_clips

# A runner started in the background of a shell inherits Ctrl-C as ignored, and so would every process that tests start
# and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

DATA = Path(__file__).parent / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What drives a browser is marked so, and comes last: Playwright keeps an event loop running in this thread from
    then on, beside which no other can be started."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker("browser")
    items.sort(key=lambda item: item.get_closest_marker("browser") is not None)


@pytest.fixture(autouse=True)
def _ordinary_priority() -> Iterator[None]:
    """What one test raises, every test after it and every process they start would inherit."""
    yield
    assert os.sched_getscheduler(0) == os.SCHED_OTHER, "a library made this thread a real-time one"


@pytest.fixture(scope="session")
def data() -> Path:
    return DATA


@pytest.fixture(scope="session")
def librivox() -> list[Clip]:
    """Five sentences of an English audio book."""
    return [clip for clip in load_clips(DATA, "en") if clip.path.parent.name == "librivox"]


@pytest.fixture(scope="session")
def prompts() -> list[Clip]:
    """24 English telephone prompts."""
    return [clip for clip in load_clips(DATA, "en") if clip.path.parent.name == "en"]


@pytest.fixture(scope="session")
def vad() -> SileroVad:
    return SileroVad()


class Loud:
    """In the place of :class:`SileroVad`: a frame is speech when anything in it is above ``level``."""

    def __init__(self, level: float) -> None:
        self._level, self._rest = level, np.zeros(0, np.float32)

    def stream(self) -> Loud:
        return Loud(self._level)

    def feed(self, samples: np.ndarray) -> np.ndarray:
        joined = np.concatenate([self._rest, samples])
        count = len(joined) // FRAME
        self._rest = joined[count * FRAME :]
        loudest = np.abs(joined[: count * FRAME]).reshape(count, FRAME).max(axis=1)
        return (loudest > self._level).astype(np.float32)


@pytest.fixture(scope="session")
def loud() -> Callable[[float], SileroVad]:
    """Makes a detector for sound of known levels."""
    return lambda level: cast(SileroVad, Loud(level))


@pytest.fixture(scope="session")
def whisper() -> Whisper:
    return Whisper("whisper-base")


class Written:
    """What was written down since it was made: log records of all levels, with their tracebacks; warnings; the
    standard streams."""

    def __init__(self, streams: pytest.CaptureFixture[str]) -> None:
        self._streams, self._lines = streams, list[str]()
        self.handler = logging.Handler()
        self.handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
        self.handler.emit = self._note  # type: ignore[method-assign]

    def _note(self, record: logging.LogRecord) -> None:
        self._lines.append(self.handler.format(record))

    @property
    def text(self) -> str:
        gc.collect()  # a task that failed unnoticed is told of when it is gone
        self._lines += self._streams.readouterr()
        return "\n".join(self._lines)


@pytest.fixture
def written(capfd: pytest.CaptureFixture[str]) -> Iterator[Written]:
    """Everything that is written down in a test, at debug level."""
    found, root = Written(capfd), logging.getLogger()
    level = root.level
    root.addHandler(found.handler)
    root.setLevel(logging.DEBUG)
    logging.captureWarnings(True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            yield found
    finally:
        logging.captureWarnings(False)
        root.setLevel(level)
        root.removeHandler(found.handler)
