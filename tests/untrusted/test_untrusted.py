"""Decoding in a process of its own: the same as in this one, with limits that hold."""

from __future__ import annotations

import io
import os
import re
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from threading import BoundedSemaphore, Thread
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image as Pillow

from mmpipe import untrusted
from mmpipe.audio import media, mux
from mmpipe.errors import ImageError, InputError, MediaError, OutputError
from mmpipe.untrusted import UntrustedImage, UntrustedMedia
from mmpipe.untrusted import image as image_module
from mmpipe.untrusted import media as media_module
from mmpipe.untrusted.channel import BrokenChannelError, Channel, facts
from mmpipe.untrusted.process import ProcessLimits, Request, requested
from mmpipe.vision import images

DATA = Path(__file__).parents[1] / "data"
TALK = DATA / "sense_and_sensibility.flac"
CAT = DATA / "pictures" / "cat.jpg"


def untrusted_talk() -> UntrustedMedia:
    return UntrustedMedia(TALK, "talk.flac")


def film(path: Path) -> Path:
    """A second of picture and sound."""
    with av.open(str(path), "w") as out:
        picture: Any = out.add_stream("mpeg4", rate=10)
        picture.width, picture.height, picture.pix_fmt = 32, 32, "yuv420p"
        sound: Any = out.add_stream("aac", rate=16_000, layout="mono")
        for n in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), n * 20, np.uint8), format="rgb24")
            out.mux(picture.encode(frame))
        heard = media.as_frame(media.load(TALK).slice(0, 1))
        heard.pts = 0
        for track, piece in ((picture, None), (sound, heard), (sound, None)):
            out.mux(track.encode(piece))
    return path


@contextmanager
def child(limits: ProcessLimits = media_module.LIMITS, block_s: float = 4.0) -> Iterator[Request]:
    """One that decodes a recording, and waits for its blocks to be taken."""
    arguments = {"name": "talk.flac", "rate_hz": 16_000, "start_s": 0.0, "block_s": block_s}
    with (
        TALK.open("rb") as file,
        requested("stream", arguments, [file.fileno()], limits, "talk.flac", BoundedSemaphore()) as request,
    ):
        yield request


def pid(request: Request) -> int:
    text = Path(f"/proc/self/fdinfo/{request._pidfd}").read_text()
    return int(re.search(r"Pid:\s+(\d+)", text)[1])  # type: ignore[index]


# --- the same as in this process ---


def test_sound_is_the_same() -> None:
    assert media.probe(untrusted_talk()) == media.probe(TALK)
    for options in ({}, {"rate_hz": 8_000, "start_s": 20.0, "block_s": 1.0}):
        ours, theirs = list(media.stream(TALK, **options)), list(media.stream(untrusted_talk(), **options))
        assert [block.rate_hz for block in theirs] == [block.rate_hz for block in ours]
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one.samples, other.samples)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000"])
def test_pictures_are_the_same(tmp_path: Path, kind: str) -> None:
    out = io.BytesIO()
    Pillow.open(CAT).resize((97, 60)).save(out, kind)
    path = tmp_path / "picture"
    path.write_bytes(out.getvalue())
    expected = images.load(path, max_px=2000)
    for content in (path, out.getvalue()):
        found = images.load(UntrustedImage(content, "picture"), max_px=2000)
        np.testing.assert_array_equal(found.pixels, expected.pixels)


def test_films_are_dubbed_the_same(tmp_path: Path) -> None:
    source = film(tmp_path / "film.mp4")
    media.save(media.load(TALK).slice(0, 1), tmp_path / "speech.wav")
    cues = [(n / 5000, (n + 1) / 5000, f"Olá, pela {n}ª vez, e mais uma vez ainda") for n in range(5000)]
    tracks = [mux.SubtitleTrack("pt", cues)]  # more than a socket holds
    for suffix in (".mp4", ".mkv"):
        ours, theirs = tmp_path / f"ours{suffix}", tmp_path / f"theirs{suffix}"
        mux.mux(source, tmp_path / "speech.wav", "pt", tracks, ours)
        UntrustedMedia(source, "film.mp4").dub(tmp_path / "speech.wav", "pt", tracks, theirs)
        assert packets(theirs) == packets(ours)
        assert {kind for kind, _, _ in packets(theirs)} == {"video", "audio", "subtitle"}


def packets(path: Path) -> list[tuple[str, Any, bytes]]:
    with av.open(str(path)) as container:
        return [(packet.stream.type, packet.pts, bytes(packet)) for packet in container.demux() if packet.size]


# --- what is refused ---


def test_what_is_wrong_with_a_file_is_said_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "3f2a").write_bytes(b"nothing to hear, nothing to see" * 20)
    for attempt in (
        lambda: media.probe(UntrustedMedia(tmp_path / "3f2a", "talk.wav")),
        lambda: media.load(UntrustedMedia(tmp_path / "3f2a", "talk.wav")),
    ):
        with pytest.raises(MediaError, match=r"'talk\.wav' cannot be read as sound"):
            attempt()
    with pytest.raises(ImageError, match=r"'cat\.jpg' is text") as caught:
        images.load(UntrustedImage(tmp_path / "3f2a", "cat.jpg"))
    assert "3f2a" not in str(caught.value)
    for missing in (
        UntrustedMedia(tmp_path / "gone", "talk.wav").probe,
        UntrustedImage(tmp_path / "gone", "cat.jpg").load,
    ):
        with pytest.raises(InputError, match="cannot be read: No such file"):
            missing()
    with pytest.raises(ImageError, match=r"'cat\.jpg' has 0 MB; up to 0 MB"):
        images.load(UntrustedImage(CAT, "cat.jpg", max_file_bytes=1000))


def test_a_list_of_other_files_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.m3u8"
    path.write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{TALK}\n#EXT-X-ENDLIST\n")
    with pytest.raises(MediaError, match="are not opened"):
        media.load(UntrustedMedia(path, "list.m3u8"))


def test_a_film_that_cannot_be_dubbed_is_refused(tmp_path: Path) -> None:
    media.save(media.load(TALK).slice(0, 1), tmp_path / "speech.wav")
    recording = untrusted_talk()
    with pytest.raises(InputError, match="must end in one of"):
        recording.dub(tmp_path / "speech.wav", "pt", [], tmp_path / "out.xyz")
    with pytest.raises(OutputError, match="make it first"):
        recording.dub(tmp_path / "speech.wav", "pt", [], tmp_path / "none" / "out.mp4")


def test_a_warning_does_not_name_a_strangers_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "talk.mp3"
    media.save(media.load(TALK).slice(0, 8), path)
    content = bytearray(path.read_bytes())
    for at in range(2000, len(content), 4000):
        content[at : at + 1500] = bytes(1500)
    path.write_bytes(content)
    list(media.stream(UntrustedMedia(path, "xylotomy.mp3")))
    assert "damaged" in caplog.text
    assert "xylotomy" not in caplog.text


# --- limits ---


def test_a_child_has_no_files_no_rights_and_no_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMPIPE_API_KEYS", "a secret")
    untrusted.close()  # the process that children are forked from was made before
    with child() as request:
        next(request.messages())
        proc = Path(f"/proc/{pid(request)}")
        limits = {line[:26].strip(): line[26:].split()[0] for line in (proc / "limits").read_text().splitlines()[1:]}
        assert limits["Max open files"] == "0"
        assert (proc / "oom_score_adj").read_text() == "1000\n"
        assert limits["Max core file size"] == "0"
        assert limits["Max cpu time"] == str(media_module.LIMITS.cpu_s)
        assert int(limits["Max address space"]) < media_module.LIMITS.memory_bytes + 2 * 2**30
        status = dict(line.split(":\t", 1) for line in (proc / "status").read_text().splitlines() if ":\t" in line)
        assert status["NoNewPrivs"] == "1"
        assert os.geteuid() or set(status["Uid"].split()) == {"65534"}
        assert b"a secret" not in environment(proc)
        held = {file.name: str(file.readlink()).partition(":")[0] for file in (proc / "fd").iterdir()}
        assert (held.pop("0"), held.pop("1"), bool(held.pop("2"))) == ("/dev/null", "/dev/null", True)
        assert sorted(held.values()) == [str(TALK), "socket"]


def environment(proc: Path) -> bytes:
    """That of a process; where it keeps it to itself, of the one that it was forked from."""
    try:
        return (proc / "environ").read_bytes()
    except PermissionError:
        parent = re.search(r"PPid:\s+(\d+)", (proc / "status").read_text())
        assert parent is not None
        return Path(f"/proc/{parent[1]}/environ").read_bytes()


@pytest.mark.parametrize("how", [signal.SIGSEGV, signal.SIGKILL, signal.SIGXCPU])
def test_a_decoder_that_crashes_is_one_failed_request(how: signal.Signals) -> None:
    with child() as request, pytest.raises(MediaError, match=r"'talk\.flac' could not be decoded.*crashes the decoder"):
        messages = request.messages()
        next(messages)
        signal.pidfd_send_signal(request._pidfd, how)
        list(messages)
    assert media.load(untrusted_talk()).duration_s > 28


def test_a_picture_that_wants_more_memory_than_there_is_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    Pillow.new("RGB", (4000, 4000)).save(out, "PNG")
    with monkeypatch.context() as patched:
        patched.setattr(image_module, "LIMITS", replace(image_module.LIMITS, memory_bytes=32 * 2**20))
        with pytest.raises(ImageError, match=r"wall\.png"):
            images.load(UntrustedImage(out.getvalue(), "wall.png"))
    assert images.load(UntrustedImage(CAT, "cat.jpg"), max_px=1000).width_px > 10


def test_a_decoder_that_takes_too_long_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that computes and computes, by the kernel; one that does nothing, by who waits for it."""
    out = io.BytesIO()
    Pillow.effect_noise((1200, 1200), 90).convert("RGB").save(out, "JPEG2000")  # seconds
    content = out.getvalue()
    for limits in (replace(image_module.LIMITS, cpu_s=1), replace(image_module.LIMITS, stall_s=0.3)):
        monkeypatch.setattr(image_module, "LIMITS", limits)
        with pytest.raises(ImageError, match=r"noise\.jp2.*(too much memory or time|takes too long)"):
            images.load(UntrustedImage(content, "noise.jp2"))


def test_who_loses_interest_ends_the_child() -> None:
    blocks = media.stream(untrusted_talk(), block_s=0.1)
    next(blocks)
    with child(block_s=0.1) as request:
        next(request.messages())
        number = pid(request)
        assert Path(f"/proc/{number}").exists()
        descriptor = os.dup(request._pidfd)
    assert ended(descriptor)
    blocks.close()  # type: ignore[attr-defined]


def test_the_process_that_children_come_from_may_be_killed() -> None:
    assert media.probe(untrusted_talk()).rate_hz == 16_000
    server = untrusted.process._SERVER
    assert server._process is not None
    server._process.kill()
    server._process.wait()
    assert media.probe(untrusted_talk()).rate_hz == 16_000


def test_children_do_not_outlive_the_program() -> None:
    script = f"""if True:
        import os, re, signal
        from pathlib import Path
        from mmpipe.audio import media
        from mmpipe.untrusted import UntrustedMedia, process
        blocks = media.stream(UntrustedMedia(Path({str(TALK)!r}), "talk.flac"), block_s=0.1)
        next(blocks)
        server = process._SERVER._process.pid
        print(server, *Path(f"/proc/{{server}}/task/{{server}}/children").read_text().split(), flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    out = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=False).stdout
    descendants = [int(number) for number in out.split()]
    assert len(descendants) == 2
    for number in descendants:
        with suppress(ProcessLookupError):
            assert ended(os.pidfd_open(number)), "it is still there"


def ended(pidfd: int) -> bool:
    """Whether a process is over, or soon is."""
    poll = select.poll()
    poll.register(pidfd)
    found = poll.poll(5000)
    os.close(pidfd)
    return bool(found)


def test_what_lies_in_the_folder_of_the_server_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "numpy.py").write_text("raise SystemExit('this is not numpy')")
    monkeypatch.chdir(tmp_path)
    untrusted.close()
    assert media.probe(untrusted_talk()).rate_hz == 16_000


def test_many_at_once_share_the_places() -> None:
    found: list[float] = []

    def load() -> None:
        found.append(media.load(untrusted_talk()).duration_s)
        images.load(UntrustedImage(CAT, "cat.jpg"))

    threads = [Thread(target=load) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [pytest.approx(28.23)] * 12


def wide(value: float) -> Pillow.Image:
    return Pillow.fromarray(np.full((6000, 6000), value, np.float32))


BOMBS: dict[str, Callable[[Any], None]] = {
    "float TIFF": lambda out: wide(0.5).save(out, "TIFF", compression="tiff_lzw"),
    "WebP": lambda out: Pillow.new("RGB", (5500, 5500)).save(out, "WEBP", lossless=True, method=0),
    "JPEG 2000": lambda out: Pillow.new("L", (3000, 3000)).save(out, "JPEG2000", num_resolutions=2),
}


def test_what_pictures_take_is_not_taken_from_the_server(tmp_path: Path) -> None:
    """In a process of its own, whose peak tells: each takes hundreds of megabytes where it is decoded."""
    for name, write in BOMBS.items():
        with (tmp_path / name).open("wb") as out:
            write(out)
    script = """if True:
        import re, sys
        from pathlib import Path
        from mmpipe.untrusted import UntrustedImage
        from mmpipe.vision import images
        def peak_kb():
            return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
        before_kb = peak_kb()
        for path in sys.argv[1:]:
            images.load(UntrustedImage(Path(path), path), max_px=1_000_000)
        print(peak_kb() - before_kb)
    """
    command = [sys.executable, "-c", script, *(tmp_path / name for name in BOMBS)]
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    assert int(out) < 60_000


# --- what a child that was taken over may say ---


def talking(messages: list[tuple[bytes, bytes]]) -> Channel:
    """A channel on which somebody has said ``messages`` (kind, content as it travels)."""
    ours, theirs = socket.socketpair()
    ours.settimeout(1)
    for kind, content in messages:
        theirs.sendall(kind + content)
    theirs.close()
    return Channel(ours)


@pytest.mark.parametrize(
    "message",
    [
        (b"?", b"\0\0\0\0"),
        (b"D", (2**32 - 1).to_bytes(4, "little")),
        (b"F", (2**24).to_bytes(4, "little")),
        (b"D", b"\x10\0\0\0half"),
        (b"D", b"\x10"),
    ],
    ids=["a kind that is none", "four gigabytes", "long JSON", "half a message", "half a header"],
)
def test_a_message_that_is_none_ends_it(message: tuple[bytes, bytes]) -> None:
    with closing(talking([message])) as channel, pytest.raises(BrokenChannelError):
        channel.receive()


@pytest.mark.parametrize("content", [b"[1]", b"{", b"\xff", b"[" * 100_000, b"7"])
def test_json_that_is_no_object_ends_it(content: bytes) -> None:
    with pytest.raises(BrokenChannelError):
        facts(content)


def saying(monkeypatch: pytest.MonkeyPatch, *messages: tuple[bytes, bytes]) -> None:
    """Have every child say ``messages`` (kind, content)."""
    said = [(kind, len(content).to_bytes(4, "little") + content) for kind, content in (*messages, (b"Z", b""))]

    class Fake(Request):
        def __init__(self) -> None:
            self.channel, self.name = talking(said), "the upload"

    @contextmanager
    def fake(*_: Any) -> Iterator[Fake]:
        request = Fake()
        try:
            yield request
        finally:
            request.channel.close()

    monkeypatch.setattr(media_module, "requested", fake)
    monkeypatch.setattr(image_module, "requested", fake)


@pytest.mark.parametrize(
    "told",
    [
        b"{}",
        b'{"duration_s": "x", "rate_hz": 1, "channels": 1, "codec": "a", "has_video": false}',
        b'{"duration_s": 1e999, "rate_hz": 1, "channels": 1, "codec": "a", "has_video": false}',
        b'{"duration_s": 1, "rate_hz": [], "channels": 1, "codec": "a", "has_video": false}',
        b'{"duration_s": 1, "rate_hz": 1, "channels": 1, "codec": 7, "has_video": false}',
    ],
)
def test_what_a_recording_is_said_to_be_is_checked(monkeypatch: pytest.MonkeyPatch, told: bytes) -> None:
    saying(monkeypatch, (b"F", told))
    with pytest.raises(MediaError, match="nonsense"):
        media.probe(untrusted_talk())


def test_sound_is_numbers_of_a_known_count(monkeypatch: pytest.MonkeyPatch) -> None:
    saying(monkeypatch, (b"D", np.array([1, np.nan, np.inf], "<f4").tobytes()))
    (block,) = media.stream(untrusted_talk())
    assert np.isfinite(block.samples).all()
    for content in (b"", b"abc", bytes(4 * 1_700)):
        saying(monkeypatch, (b"D", content))
        with pytest.raises(MediaError, match="nonsense"):
            list(media.stream(untrusted_talk(), block_s=0.1))


@pytest.mark.parametrize(
    ("shape", "pixels"),
    [
        (b"{}", b""),
        (b'{"height_px": 2, "width_px": 2}', bytes(11)),
        (b'{"height_px": -2, "width_px": -2}', bytes(12)),
        (b'{"height_px": "2", "width_px": 2}', bytes(12)),
        (b'{"height_px": 100000, "width_px": 100000}', bytes(12)),
        (b'{"height_px": 0, "width_px": 0}', b""),
    ],
)
def test_a_picture_has_as_many_pixels_as_it_says(monkeypatch: pytest.MonkeyPatch, shape: bytes, pixels: bytes) -> None:
    saying(monkeypatch, (b"F", shape), (b"D", pixels))
    with pytest.raises(ImageError, match="nonsense"):
        images.load(UntrustedImage(CAT, "cat.jpg"))
