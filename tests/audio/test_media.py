from __future__ import annotations

import io
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mmpipe.audio import media
from mmpipe.errors import InputError, MediaError, OutputError
from mmpipe.types import Audio


def tone(duration_s: float = 1.0, rate_hz: int = 16_000, hz: float = 440.0) -> Audio:
    at = np.arange(round(duration_s * rate_hz)) / rate_hz
    return Audio((0.5 * np.sin(2 * np.pi * hz * at)).astype(np.float32), rate_hz)


def write(path: Path, codec: str, rate_hz: int, layout: str, hz: float = 440.0, duration_s: float = 1.0) -> Path:
    """A tone in every channel, in the given coding."""
    samples = tone(duration_s, rate_hz, hz).samples
    channels = av.AudioLayout(layout).nb_channels
    interleaved = np.repeat(samples[:, None], channels, axis=1).reshape(1, -1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(interleaved), format="flt", layout=layout)
        frame.sample_rate = rate_hz
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def pitch_hz(audio: Audio) -> float:
    spectrum = np.abs(np.fft.rfft(audio.samples * np.hanning(len(audio.samples))))
    return float(np.argmax(spectrum) * audio.rate_hz / len(audio.samples))


@pytest.mark.parametrize(
    ("name", "codec", "rate_hz", "layout"),
    [
        ("a.wav", "pcm_s16le", 8_000, "mono"),
        ("a.wav", "pcm_s24le", 44_100, "stereo"),
        ("a.wav", "pcm_s32le", 48_000, "stereo"),
        ("a.wav", "pcm_f32le", 192_000, "mono"),
        ("a.wav", "pcm_u8", 16_000, "mono"),
        ("a.wav", "pcm_s16le", 96_000, "5.1"),
        ("a.mp3", "libmp3lame", 44_100, "stereo"),
        ("a.flac", "flac", 96_000, "stereo"),
        ("a.m4a", "aac", 48_000, "stereo"),
        ("a.ogg", "libopus", 48_000, "mono"),
        ("a.webm", "libopus", 48_000, "stereo"),
        ("a.mka", "ac3", 48_000, "5.1"),
    ],
)
def test_any_coding_becomes_the_same_mono_sound(
    tmp_path: Path, name: str, codec: str, rate_hz: int, layout: str
) -> None:
    audio = media.load(write(tmp_path / name, codec, rate_hz, layout))
    assert audio.rate_hz == 16_000
    assert audio.samples.dtype == np.float32
    assert audio.duration_s == pytest.approx(1.0, abs=0.08)  # lossy coders add a little at the ends
    assert pitch_hz(audio) == pytest.approx(440, abs=3)
    assert 0.4 < np.abs(audio.samples[4000:12_000]).max() < 0.6  # channels are averaged, not summed


def test_sound_of_a_video_that_begins_late_keeps_its_place(tmp_path: Path) -> None:
    path = tmp_path / "late.mkv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        for _ in range(30):
            picture = av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")
            container.mux(video.encode(picture))
        container.mux(video.encode(None))
        frame = media.as_frame(tone(1.0))
        frame.pts = 16_000  # after one second
        container.mux(audio.encode(frame))
        container.mux(audio.encode(None))
    assert media.probe(path).has_video
    audio_read = media.load(path)
    assert audio_read.duration_s == pytest.approx(2.0, abs=0.01)
    assert np.abs(audio_read.samples[:15_900]).max() == 0
    assert np.abs(audio_read.samples[16_500:]).max() > 0.4


def write_with_hole(path: Path, codec: str, *, hole_s: float, began_s: float = 0.0, rate_hz: int = 48_000) -> Path:
    """A beep at 1 s and another at 3 s, but after the packets of the first 2 s ``hole_s`` are missing."""
    at_s = np.arange(4 * rate_hz) / rate_hz
    beeps = np.where(at_s % 2 >= 1, 0.5 * np.sin(2 * np.pi * 440 * at_s), 0).astype(np.float32)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate_hz, layout="mono")
        packets = []
        for at in range(0, len(beeps), 1000):  # a packet of uncompressed sound is a frame
            frame = media.as_frame(Audio(beeps[at : at + 1000], rate_hz))
            frame.pts = at
            packets += stream.encode(frame)
        for packet in [*packets, *stream.encode(None)]:
            late_s = began_s + (hole_s if packet.pts * packet.time_base >= 2 else 0)
            packet.pts += round(late_s / packet.time_base)
            packet.dts = packet.pts
            container.mux(packet)
    return path


def beeps_s(audio: Audio) -> list[float]:
    """When the beeps begin."""
    (loud,) = np.nonzero(np.abs(audio.samples) > 0.2)
    return [float(at) / audio.rate_hz for at in loud[np.diff(loud, prepend=-audio.rate_hz) > audio.rate_hz // 2]]


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.webm", "libopus"), ("a.mkv", "aac"), ("a.mp4", "aac"), ("a.ts", "aac"), ("a.mka", "pcm_s16le")],
)
def test_what_comes_after_missing_sound_keeps_its_place(tmp_path: Path, name: str, codec: str) -> None:
    path = write_with_hole(tmp_path / name, codec, hole_s=10)
    assert beeps_s(media.load(path)) == pytest.approx([1, 13], abs=0.05)
    (later,) = beeps_s(media.concatenate(media.stream(path, start_s=12), 16_000))
    assert later == pytest.approx(1, abs=0.05)


def test_an_hour_of_missing_sound_takes_no_memory(tmp_path: Path) -> None:
    path = write_with_hole(tmp_path / "a.mka", "pcm_s16le", hole_s=3500, rate_hz=8_000)
    tracemalloc.start()
    duration_s = sum(block.duration_s for block in media.stream(path, 8_000))
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert duration_s == pytest.approx(3504, abs=0.01)
    assert peak_bytes < 5_000_000  # the silence itself would be 112 MB


def test_a_clock_that_is_set_anew_is_no_hole(tmp_path: Path) -> None:
    first = write_with_hole(tmp_path / "first.ts", "aac", hole_s=0, began_s=100)
    second = write_with_hole(tmp_path / "second.ts", "aac", hole_s=1)
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    assert beeps_s(media.load(joined)) == pytest.approx([1, 3, 5, 8], abs=0.1)


def test_frames_without_a_time_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def timeless(*arguments: Any) -> Iterator[av.AudioFrame]:
        for frame in frames(*arguments):
            frame.pts = None
            yield frame

    frames = media._frames
    path = write_with_hole(tmp_path / "a.mka", "pcm_s16le", hole_s=0)
    expected = media.load(path)
    monkeypatch.setattr(media, "_frames", timeless)
    np.testing.assert_array_equal(media.load(path).samples, expected.samples)


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.wav", "pcm_s16le"),
        ("a.flac", "flac"),
        ("a.mp3", "libmp3lame"),
        ("a.ogg", "libopus"),
        ("a.m4a", "aac"),
        ("a.aac", "aac"),
        ("a.webm", "libopus"),
        ("a.mkv", "aac"),
        ("a.ts", "aac"),
        ("a.flv", "libmp3lame"),
        ("a.avi", "libmp3lame"),
    ],
)
def test_sound_without_holes_keeps_every_sample(tmp_path: Path, data: Path, name: str, codec: str) -> None:
    recording = media.load(data / "librivox" / "sense_and_sensibility_0870.wav", 48_000)
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        container.mux(stream.encode(media.as_frame(recording)))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        count = sum(frame.samples for frame in container.decode(audio=0))
    assert len(media.load(path, 48_000).samples) == count


def test_stream_gives_blocks_that_join_to_the_whole(data: Path) -> None:
    path = data / "librivox" / "sense_and_sensibility_0870.wav"
    whole = media.load(path)
    blocks = list(media.stream(path, block_s=0.5))
    assert {len(block.samples) for block in blocks[:-1]} == {8_000}
    np.testing.assert_array_equal(np.concatenate([block.samples for block in blocks]), whole.samples)


def test_stream_can_start_later(data: Path) -> None:
    path = data / "librivox" / "sense_and_sensibility_0870.wav"
    rest = media.concatenate(media.stream(path, start_s=2.5), 16_000)
    np.testing.assert_array_equal(rest.samples, media.load(path).samples[40_000:])


def test_open_files_are_read_too(data: Path) -> None:
    raw = (data / "prompts" / "en" / "transfer.wav").read_bytes()
    assert media.load(io.BytesIO(raw)).duration_s == pytest.approx(2.39, abs=0.01)


@pytest.mark.parametrize("name", ["2024-01-01T10:30:00.wav", "Interview: John.mp3", "file:a.m4a"])
def test_names_may_hold_colons(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    media.save(tone(), name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert media.load(name).duration_s == pytest.approx(1.0, abs=0.08)
    assert media.load(Path(name)).duration_s == pytest.approx(1.0, abs=0.08)


@pytest.mark.parametrize("suffix", sorted(media.ENCODERS))
def test_what_is_saved_can_be_loaded(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"tone{suffix}"
    media.save(tone(rate_hz=24_000), path)
    audio = media.load(path, 24_000)
    assert audio.duration_s == pytest.approx(1.0, abs=0.06)
    assert pitch_hz(audio) == pytest.approx(440, abs=3)


def test_pieces_written_one_by_one_make_one_file(tmp_path: Path) -> None:
    with media.AudioWriter(tmp_path / "out.wav", 24_000) as writer:
        for _ in range(3):
            writer.write(tone(0.5, 24_000))
        writer.write(tone(0.5, 16_000))  # another rate is converted
        writer.close()  # a second time at the end of the block does no harm
    assert media.load(tmp_path / "out.wav", 24_000).duration_s == pytest.approx(2.0, abs=0.001)


def test_resampling_keeps_pitch_and_length() -> None:
    audio = media.resample(tone(2.0, 24_000), 16_000)
    assert audio.rate_hz == 16_000
    assert audio.duration_s == pytest.approx(2.0, abs=0.01)
    assert pitch_hz(audio) == pytest.approx(440, abs=2)


def png() -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format="image2pipe") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "rgb24"
        frame = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (np.random.default_rng(0).bytes(5000), "cannot be read as sound or video"),
        (b"just some text\n" * 50, "cannot be read as sound or video"),
        (b"RIFF\x24\x00\x00\x00WAVEfmt ", "cannot be read|no sound"),
        (png(), "holds a picture"),
    ],
    ids=["zero bytes", "random bytes", "text", "only a header", "png"],
)
def test_what_is_no_recording_is_refused_with_its_name(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(content)
    with pytest.raises(MediaError, match=message) as caught:
        media.load(path)
    assert "talk.wav" in str(caught.value)


def test_missing_file_and_directory_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no file"):
        media.load(tmp_path / "missing.wav")
    with pytest.raises(MediaError, match="is a directory"):
        media.load(tmp_path)


def test_truncated_file_gives_what_it_has(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = tmp_path / "whole.mp3"
    media.save(tone(4.0), whole)
    cut = tmp_path / "cut.mp3"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert media.load(cut).duration_s == pytest.approx(2.0, abs=0.2)


def test_damage_in_the_middle_is_skipped_and_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "damaged.flac"
    media.save(tone(10.0), path)
    raw = bytearray(path.read_bytes())
    middle = len(raw) // 2
    raw[middle : middle + 2000] = np.random.default_rng(1).bytes(2000)
    path.write_bytes(raw)
    assert 5.0 < media.load(path).duration_s < 10.5


def test_unknown_format_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.wav"):
        media.AudioWriter(tmp_path / "out.xyz", 16_000)


def test_unwritable_place_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist: make it first"):
        media.AudioWriter(tmp_path / "no" / "such" / "folder" / "out.wav", 16_000)


needs_dev_full = pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full never has space left")


@needs_dev_full
@pytest.mark.parametrize("seconds", [1, 40], ids=["when it is closed", "on the way"])
@pytest.mark.parametrize("suffix", sorted(media.ENCODERS))
def test_full_disk_is_named(tmp_path: Path, suffix: str, seconds: int) -> None:
    full = tmp_path / f"out{suffix}"
    full.symlink_to("/dev/full")
    noise = Audio(np.random.default_rng(0).normal(0, 0.3, 24_000).astype(np.float32), 24_000)
    with pytest.raises(OutputError, match="No space left"), media.AudioWriter(full, 24_000) as writer:
        for _ in range(seconds):
            writer.write(noise)


@needs_dev_full
def test_a_file_that_broke_off_takes_nothing_more(tmp_path: Path) -> None:
    full = tmp_path / "out.m4a"
    full.symlink_to("/dev/full")
    writer = media.AudioWriter(full, 24_000)
    with pytest.raises(OutputError, match="No space left"):
        writer.write(tone(1.0, 24_000))
    with pytest.raises(OutputError, match="broke off"):
        writer.write(tone(1.0, 24_000))
    writer.close()


def test_audio_refuses_what_is_not_mono_float32() -> None:
    with pytest.raises(ValueError, match="float32 of shape"):
        Audio(np.zeros((2, 10), np.float32))
    with pytest.raises(ValueError, match="float32 of shape"):
        Audio(np.zeros(10, np.int16))  # type: ignore[arg-type]
