from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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


@contextmanager
def not_in_real_time() -> Iterator[None]:
    """SVT-AV1, run by root, gives the thread that opens it, and what that starts later, the highest priority there is:
    a browser that waits actively then lets nothing else run."""
    policy = os.sched_getscheduler(0)
    yield
    os.sched_setscheduler(0, policy, os.sched_param(0))


def write(path: Path, *, began_s: float = 0.0, pictures: int = 40, codec: str = "libx264") -> Path:
    """Ten pictures a second, each brighter than the one before, coded out of order; and silence."""
    with not_in_real_time(), av.open(str(path), "w") as container:
        out_of_order = {"bf": "2", "b_strategy": "0"} if codec == "libx264" else {}
        picture = container.add_stream(codec, rate=10, options=out_of_order)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", rate=16_000, layout="mono")
        packets = []
        for n in range(pictures):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), n * 6, np.uint8), format="rgb24")
            packets += picture.encode(frame)
        packets += picture.encode(None)
        silence = media.as_frame(Audio(np.zeros(1600 * pictures, np.float32)))
        silence.pts = 0
        packets += [*sound.encode(silence), *sound.encode(None)]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            packet.pts += round(began_s / packet.time_base)
            packet.dts += round(began_s / packet.time_base)
            container.mux(packet)
    return path


def shown(path: Path) -> list[tuple[float, float]]:
    """When each picture is shown, seconds from the start, and how bright it is."""
    with av.open(str(path)) as container:
        began_s = (container.start_time or 0) / av.time_base
        return [(frame.time - began_s, frame.to_ndarray(format="gray").mean()) for frame in container.decode(video=0)]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write(tmp_path / "in.mp4")


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
        first, *others = [frame.time for frame in container.decode(video=0)]
        assert len(others) == 39
        container.seek(0)
        portuguese, english = subtitles(container)
    began_ms = round(first * 1000)  # all of a Matroska file moves so that no time in it is negative
    assert portuguese == [(100 + began_ms, 1100, "Olá,\\Nmundo"), (1500 + began_ms, 1000, "(outra) vez")]
    assert english == [(100 + began_ms, 1100, "Hello,\\Nworld"), (1500 + began_ms, 1000, "again")]
    spoken, expected = media.load(tmp_path / name), media.load(librivox[1].path)
    assert spoken.duration_s == pytest.approx(expected.duration_s, abs=0.15)
    assert np.abs(spoken.samples).max() > 0.5 * np.abs(expected.samples).max()


@pytest.mark.parametrize("out", ["out.mkv", "out.mp4"])
@pytest.mark.parametrize("pictures", [1, 3, 40])
def test_every_picture_of_a_matroska_film_is_kept(
    tmp_path: Path, librivox: list[Clip], pictures: int, out: str
) -> None:
    film = write(tmp_path / "in.mkv", pictures=pictures)
    with av.open(str(film)) as container:
        assert next(container.demux(video=0)).dts is None  # what this is about
    mux(film, librivox[0].path, "pt", TRACKS, tmp_path / out)
    times_s, brightness = zip(*shown(tmp_path / out), strict=True)
    assert times_s == pytest.approx([n / 10 for n in range(pictures)], abs=0.002)
    assert brightness == pytest.approx([n * 6 for n in range(pictures)], abs=3)


@pytest.mark.parametrize("film", ["in.mkv", "in.mp4", "in.ts"])
@pytest.mark.parametrize("out", ["out.mkv", "out.mp4"])
def test_the_voice_is_heard_when_it_speaks(tmp_path: Path, film: str, out: str) -> None:
    speech = np.zeros(32_000, np.float32)
    speech[16_000:] = 0.5 * np.sin(np.arange(16_000))
    media.save(Audio(speech), tmp_path / "speech.wav")
    source = write(tmp_path / film)
    mux(source, tmp_path / "speech.wav", "pt", TRACKS, tmp_path / out)
    heard_s = np.flatnonzero(np.abs(media.load(tmp_path / out).samples) > 0.2)[0] / 16_000
    picture_s = shown(tmp_path / out)[0][0] - shown(source)[0][0]  # how far the whole file was moved
    assert heard_s - picture_s == pytest.approx(1, abs=0.005)


@pytest.mark.parametrize("out", ["out.mkv", "out.mp4"])
def test_a_film_whose_clock_does_not_start_at_0_stays_with_voice_and_subtitles(
    tmp_path: Path, librivox: list[Clip], out: str
) -> None:
    film = write(tmp_path / "in.ts", began_s=100)
    mux(film, librivox[1].path, "pt", TRACKS, tmp_path / out)
    np.testing.assert_allclose(shown(tmp_path / out), shown(film), atol=0.002)
    with av.open(str(tmp_path / out)) as container:
        assert container.start_time == 0
        assert next(container.decode(audio=0)).time < 0.1
        assert subtitles(container)[0][0] == (100, 1100, "Olá,\\Nmundo")


def test_films_that_were_joined_play_one_after_the_other(tmp_path: Path, librivox: list[Clip]) -> None:
    """The clock of the second goes back; libav takes that for its overflow, after a day."""
    film = tmp_path / "joined.ts"
    film.write_bytes(
        write(tmp_path / "a.ts", began_s=100).read_bytes() + write(tmp_path / "b.ts", began_s=1).read_bytes()
    )
    mux(film, librivox[0].path, "pt", TRACKS, tmp_path / "out.mp4")
    times_s = [at_s for at_s, _ in shown(tmp_path / "out.mp4")]
    assert len(times_s) == 80
    assert np.diff(times_s) == pytest.approx(0.1, abs=0.07)


def test_pictures_at_one_time_follow_one_another(tmp_path: Path, librivox: list[Clip]) -> None:
    film = tmp_path / "in.mkv"
    with av.open(str(film), "w") as container:
        picture = container.add_stream("mjpeg", rate=10)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuvj420p"
        for n in range(8):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), n * 6, np.uint8), format="rgb24")
            (packet,) = picture.encode(frame)
            packet.pts = packet.dts = n // 2
            container.mux(packet)
    mux(film, librivox[0].path, "pt", TRACKS, tmp_path / "out.mp4")
    times_s = [at_s for at_s, _ in shown(tmp_path / "out.mp4")]
    assert times_s == pytest.approx([0, 0, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3], abs=0.002)


@pytest.mark.parametrize("codec", ["libx265", "libvpx-vp9", "libsvtav1", "mpeg4"])
def test_pictures_of_any_coding_are_copied(tmp_path: Path, librivox: list[Clip], codec: str) -> None:
    film = write(tmp_path / "in.mkv", codec=codec, pictures=10)
    mux(film, librivox[0].path, "pt", TRACKS, tmp_path / "out.mkv")
    mux(film, librivox[0].path, "pt", TRACKS, tmp_path / "out.mp4")
    for out in ("out.mkv", "out.mp4"):
        np.testing.assert_allclose(shown(tmp_path / out), shown(film), atol=0.002)


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
