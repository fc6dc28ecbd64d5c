"""The demo as a person runs it, with devices that are fed from a recording."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import mmpipe
from mmpipe.audio import media
from mmpipe.evaluate.clips import Clip
from mmpipe.evaluate.metrics import word_error_rate
from mmpipe.types import Segment, SpeechWindow

DEMO = Path(__file__).parents[2] / "demos" / "mic_translate.py"


@pytest.fixture
def demo() -> ModuleType:
    spec = importlib.util.spec_from_file_location("mic_translate", DEMO)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class FakeDevices(ModuleType):
    """In the place of ``sounddevice``: a microphone that hears a recording, a loudspeaker that keeps what it plays."""

    class PortAudioError(Exception):
        pass

    def __init__(self, sound: np.ndarray) -> None:
        super().__init__("sounddevice")
        self.sound = sound
        self.played: list[np.ndarray] = []
        self.names = ["Built-in Microphone", "Speakers"]
        self.InputStream = lambda **how: Input(self, **how)
        self.OutputStream = lambda **how: Output(self, **how)

    def query_devices(self) -> list[dict[str, Any]]:
        return [
            {"name": name, "max_input_channels": 1 - n, "max_output_channels": 2 * n}
            for n, name in enumerate(self.names)
        ]


class Stream:
    def __init__(self, devices: FakeDevices, *, samplerate: int, channels: int, callback: Any, **how: Any) -> None:
        if not devices.names:
            raise devices.PortAudioError("Error querying device -1")
        assert channels == 1
        self.devices, self.rate_hz, self.callback, self.how = devices, samplerate, callback, how
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.work)

    def start(self) -> None:
        self.thread.start()

    def stop(self) -> None:
        self.stopping.set()
        if self.thread.ident:
            self.thread.join()

    def close(self) -> None: ...

    def work(self) -> None: ...


class Input(Stream):
    """Ten blocks at a time, then a rest: several times as fast as a person speaks, and no faster than is understood."""

    def work(self) -> None:
        size = self.how["blocksize"]
        for n, at in enumerate(range(0, len(self.devices.sound), size)):
            if self.stopping.wait(0.15 if n % 10 == 9 else 0):
                return
            block = self.devices.sound[at : at + size]
            self.callback(np.pad(block, (0, size - len(block)))[:, None], size, None, None)


class Output(Stream):
    def work(self) -> None:
        while not self.stopping.wait(0.001):
            out = np.empty((480, 1), np.float32)
            self.callback(out, len(out), None, None)
            self.devices.played.append(out[:, 0])


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch, librivox: list[Clip]) -> Iterator[FakeDevices]:
    found = FakeDevices(np.concatenate([media.load(librivox[1].path).samples, np.zeros(32_000, np.float32)]))
    monkeypatch.setitem(sys.modules, "sounddevice", found)
    yield found


def test_the_microphone_is_captioned_in_both_languages_and_the_translation_is_played(
    demo: ModuleType,
    devices: FakeDevices,
    librivox: list[Clip],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It listens for ever: the test stops it, as Ctrl-C would, when it has heard the voice."""
    show = demo.show

    def stop_after_the_voice(event: Any, loudspeaker: Any) -> None:
        show(event, loudspeaker)
        if event.type == "spoken":
            while loudspeaker.playing:
                threading.Event().wait(0.005)
            raise KeyboardInterrupt

    monkeypatch.setattr(demo, "show", stop_after_the_voice)
    demo.main(["--to", "pt", "--from", "en"])
    shown = capsys.readouterr().out.replace(demo.CLEAR_LINE, "\n")
    assert demo.DIM in shown  # what might have changed
    lines = [line for line in shown.splitlines() if line and demo.DIM not in line and not line.startswith("Speak")]
    said = " ".join(line for line in lines if demo.BOLD not in line)
    assert word_error_rate([librivox[1].text], [said], "en") <= 0.15
    translated = " ".join(line for line in lines if demo.BOLD in line)
    assert "jovem" in translated  # a young man
    played = np.concatenate(devices.played)
    assert np.abs(played).max() > 0.1
    assert np.count_nonzero(np.abs(played) > 0.01) > 24_000 * 0.5


def test_a_recognizer_that_fails_for_good_ends_it_although_the_microphone_is_open(
    demo: ModuleType, devices: FakeDevices, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(mmpipe.Recognizer):
        def run(self, items: Sequence[SpeechWindow]) -> list[Segment]:
            raise RuntimeError("the device is lost")

    class Models(mmpipe.LiveModels):
        def __init__(self) -> None:
            super().__init__(mmpipe.Engines(Failing()))

        async def warmup(self, pairs: object = (), speak: object = ()) -> None: ...

    monkeypatch.setattr(mmpipe, "LiveModels", Models)
    given = demo.parsed(["--to", "pt", "--from", "en"])
    with pytest.raises(mmpipe.MmpipeError, match=r"The session ended: .*the device is lost"):
        asyncio.run(asyncio.wait_for(demo.translate(given), 20))


def test_devices_are_listed(demo: ModuleType, devices: FakeDevices, capsys: pytest.CaptureFixture[str]) -> None:
    demo.main(["--list-devices"])
    assert capsys.readouterr().out.splitlines() == [
        "  0  Built-in Microphone  (1 in, 0 out)",
        "  1  Speakers  (0 in, 2 out)",
    ]


@pytest.mark.parametrize("arguments", [["--list-devices"], ["--to", "pt"]])
def test_without_a_device_it_says_what_to_do(
    demo: ModuleType, devices: FakeDevices, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    devices.names = []
    with pytest.raises(SystemExit) as caught:
        demo.main(arguments)
    assert "--input" in str(caught.value)


def test_without_portaudio_it_says_what_to_install(demo: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(SystemExit) as caught:
        demo.main(["--list-devices"])
    assert "pip install 'mmpipe[mic]'" in str(caught.value)


def test_without_a_language_it_says_which_are_wanted(demo: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        demo.main([])
    assert "--to pt" in capsys.readouterr().err
