from __future__ import annotations

import shutil
from pathlib import Path

import av
import numpy as np
import pytest

from mmpipe.audio import media
from mmpipe.audio.mux import CONTAINERS, SubtitleTrack, mux
from mmpipe.errors import InputError, MediaError, OutputError
from mmpipe.evaluate.clips import Clip
from mmpipe.types import Audio

TRACKS = [
    SubtitleTrack("pt", [(0.1, 1.2, "Olá,\nmundo"), (1.5, 2.5, "{outra} vez")]),
    SubtitleTrack("en", [(0.1, 1.2, "Hello,\nworld"), (1.5, 2.5, "again")]),
]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "in.mp4"
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=10)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        for n in range(40):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), n * 6, np.uint8), format="rgb24")
            container.mux(picture.encode(frame))
        container.mux(picture.encode(None))
        container.mux(sound.encode(media.as_frame(Audio(np.zeros(64_000, np.float32)))))
        container.mux(sound.encode(None))
    return path


def subtitles(container: av.container.InputContainer) -> list[list[tuple[int, int, str]]]:
    found = []
    for stream in container.streams.subtitles:
        cues = []
        for packet in container.demux(stream):
            for subtitle in packet.decode() if packet.size else []:
                text = subtitle.ass.decode().split(",", 8)[-1]
                ms = float(stream.time_base) * 1000
                cues.append((round(packet.pts * ms), round(packet.duration * ms), text))
        found.append(cues)
        container.seek(0)
    return found


@pytest.mark.parametrize("name", ["out.mp4", "out.mkv", "out.mov"])
def test_picture_speech_and_subtitles_end_up_in_one_file(
    tmp_path: Path, video: Path, librivox: list[Clip], name: str
) -> None:
    mux(video, librivox[1].path, "pt", TRACKS, tmp_path / name)
    with av.open(str(tmp_path / name)) as container:
        kinds = [stream.type for stream in container.streams]
        assert kinds == ["video", "audio", "audio", "subtitle", "subtitle"]
        assert [stream.metadata["language"] for stream in container.streams.subtitles] == ["por", "eng"]
        assert container.streams.audio[0].metadata["language"] == "por"
        assert av.stream.Disposition.default in container.streams.audio[0].disposition
        assert sum(1 for _ in container.decode(video=0)) == 40
        container.seek(0)
        portuguese, english = subtitles(container)
    assert portuguese == [(100, 1100, "Olá,\\Nmundo"), (1500, 1000, "(outra) vez")]
    assert english == [(100, 1100, "Hello,\\Nworld"), (1500, 1000, "again")]
    spoken, expected = media.load(tmp_path / name), media.load(librivox[1].path)
    assert spoken.duration_s == pytest.approx(expected.duration_s, abs=0.15)
    assert np.abs(spoken.samples).max() > 0.5 * np.abs(expected.samples).max()


def test_a_recording_without_picture_becomes_sound_with_subtitles(tmp_path: Path, librivox: list[Clip]) -> None:
    mux(librivox[0].path, librivox[1].path, "pt", TRACKS, tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as container:
        assert [stream.type for stream in container.streams] == ["audio", "audio", "subtitle", "subtitle"]


def test_names_may_hold_colons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, video: Path, librivox: list[Clip]
) -> None:
    monkeypatch.chdir(tmp_path)
    source = video.rename("10:30.mp4")
    speech = shutil.copy(librivox[0].path, "spoken:pt.wav")
    mux(Path(source.name), Path(speech), "pt", TRACKS, Path("10:30 pt.mp4"))
    with av.open(str(tmp_path / "10:30 pt.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 40


def test_a_container_that_cannot_hold_this_is_refused(tmp_path: Path, video: Path) -> None:
    with pytest.raises(InputError, match=r"\.mp4"):
        mux(video, video, "pt", TRACKS, tmp_path / "out.avi")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, which always has no space left")
@pytest.mark.parametrize("suffix", sorted(CONTAINERS))
def test_full_disk_is_named(tmp_path: Path, video: Path, librivox: list[Clip], suffix: str) -> None:
    full = tmp_path / f"out{suffix}"
    full.symlink_to("/dev/full")
    with pytest.raises(OutputError, match="No space left"):
        mux(video, librivox[0].path, "pt", TRACKS, full)


@pytest.mark.parametrize("suffix", sorted(CONTAINERS))
def test_a_missing_folder_is_named(tmp_path: Path, video: Path, librivox: list[Clip], suffix: str) -> None:
    with pytest.raises(OutputError, match="does not exist: make it first"):
        mux(video, librivox[0].path, "pt", TRACKS, tmp_path / "none" / f"out{suffix}")


def test_a_picture_that_does_not_suit_the_container_is_refused(tmp_path: Path, librivox: list[Clip]) -> None:
    webm = tmp_path / "in.webm"
    with av.open(str(webm), "w") as container:
        picture = container.add_stream("libvpx", rate=10)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        container.mux(picture.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(picture.encode(None))
    with pytest.raises(MediaError, match=r"'out.mp4' cannot hold .* 'in.webm' .*\.mkv"):
        mux(webm, librivox[0].path, "pt", TRACKS, tmp_path / "out.mp4")
    mux(webm, librivox[0].path, "pt", TRACKS, tmp_path / "out.mkv")
