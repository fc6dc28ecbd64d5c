"""What several tests need: the real recordings, and engines that are loaded once."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from mmpipe.audio.recognition.whisper import Whisper
from mmpipe.audio.vad import SileroVad
from mmpipe.evaluate.clips import Clip, load_clips

# A runner started in the background of a shell inherits Ctrl-C as ignored, and so would every process that tests start
# and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

DATA = Path(__file__).parent / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What a browser does comes last: Playwright keeps an event loop running in this thread from then on, beside which
    no other can be started."""
    items.sort(key=lambda item: "browser" in getattr(item, "fixturenames", ()))


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


@pytest.fixture(scope="session")
def whisper() -> Whisper:
    return Whisper("whisper-base")
