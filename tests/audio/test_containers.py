"""What is opened, and what a file cannot make the program open."""

from __future__ import annotations

import io
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from mmpipe.audio import containers, media
from mmpipe.errors import MediaError
from mmpipe.types import Audio


def tone(duration_s: float, rate_hz: int = 48_000) -> Audio:
    t = np.arange(round(duration_s * rate_hz)) / rate_hz
    return Audio((0.3 * np.sin(2 * np.pi * 440 * t)).astype(np.float32), rate_hz)


def written(path: Path, codec: str, muxer: str, sound: Audio) -> Path:
    with av.open(str(path), "w", format=muxer) as out:
        track: Any = out.add_stream(codec, rate=sound.rate_hz, layout="mono")
        frame = media.as_frame(sound)
        frame.pts = 0
        for piece in (frame, None):
            out.mux(track.encode(piece))
    return path


#: (suffix, codec, libav's name of the muxer)
REAL = [
    ("wav", "pcm_s16le", "wav"), ("w64", "pcm_s16le", "w64"), ("aiff", "pcm_s16be", "aiff"), ("au", "pcm_s16be", "au"),
    ("caf", "pcm_s16le", "caf"), ("flac", "flac", "flac"), ("mp3", "libmp3lame", "mp3"), ("ogg", "flac", "ogg"),
    ("opus", "libopus", "opus"), ("m4a", "aac", "ipod"), ("mp4", "aac", "mp4"), ("mov", "alac", "mov"),
    ("3gp", "aac", "3gp"), ("mkv", "flac", "matroska"), ("webm", "libopus", "webm"), ("avi", "libmp3lame", "avi"),
    ("ts", "aac", "mpegts"), ("mpg", "mp2", "mpeg"), ("flv", "libmp3lame", "flv"), ("aac", "aac", "adts"),
    ("ac3", "ac3", "ac3"), ("wma", "libmp3lame", "asf"), ("wv", "wavpack", "wv"), ("tta", "tta", "tta"),
    ("nut", "flac", "nut"), ("voc", "pcm_s16le", "voc"), ("mp2", "mp2", "mp2"), ("eac3", "eac3", "eac3"),
]  # fmt: skip


@pytest.mark.parametrize(("suffix", "codec", "muxer"), REAL, ids=[suffix for suffix, _, _ in REAL])
def test_what_people_record_in_is_read(tmp_path: Path, suffix: str, codec: str, muxer: str) -> None:
    path = written(tmp_path / f"talk.{suffix}", codec, muxer, tone(1.0))
    assert media.load(path).duration_s == pytest.approx(1.0, abs=0.15)
    with path.open("rb") as file:
        assert media.load(file).duration_s == pytest.approx(1.0, abs=0.15)


def lists(secret: Path) -> dict[str, bytes]:
    """Files that name another one."""
    return {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{secret}\n#EXT-X-ENDLIST\n".encode(),
        "list.ffconcat": f"ffconcat version 1.0\nfile {secret}\n".encode(),
        "list.sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        "list.mpd": f"<?xml version='1.0'?><MPD><BaseURL>{secret}</BaseURL></MPD>".encode(),
    }


@pytest.mark.parametrize("name", list(lists(Path())))
def test_a_list_opens_nothing_of_what_it_names(tmp_path: Path, name: str) -> None:
    secret = written(tmp_path / "secret.wav", "pcm_s16le", "wav", tone(1.0))
    content = lists(secret)[name]
    (tmp_path / name).write_bytes(content)
    named = io.BytesIO(content)
    named.name = name  # libav goes by the name, too
    for source in (tmp_path / name, str(tmp_path / name), named):
        with pytest.raises(MediaError, match="list of other files, which are not opened"):
            media.load(source)


@pytest.fixture
def website(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    class Handler(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_a_list_at_an_address_reaches_no_file_of_this_machine(website: tuple[Path, str]) -> None:
    folder, address = website
    secret = written(folder / "secret.wav", "pcm_s16le", "wav", tone(1.0))
    for path in (str(secret), f"file://{secret}"):
        (folder / "list.m3u8").write_text(f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{path}\n#EXT-X-ENDLIST\n")
        with pytest.raises(MediaError):
            media.load(f"{address}/list.m3u8")


@pytest.mark.parametrize(
    "address", ["rtsp://127.0.0.1/x", "udp://127.0.0.1:1", "concat:http://127.0.0.1/a|b", "data://text,x", "lavfi://x"]
)
def test_addresses_are_http_or_https(address: str) -> None:
    with pytest.raises(MediaError, match="http or https"):
        media.probe(address)


@contextmanager
def host(content: bytes = b"") -> Iterator[str]:
    """The address of a host that takes a connection, and sends ``content`` byte by byte, if anything."""
    held = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                held.append(listening.accept()[0])
                for at in range(len(content)):
                    held[-1].send(content[at : at + 1])
                    time.sleep(0.02)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/talk.wav"
        listening.shutdown(socket.SHUT_RDWR)
        for connection in held:
            connection.close()
        thread.join()


def test_a_host_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "OPEN_TIMEOUT_S", 0.3)
    with host() as address, pytest.raises(MediaError, match="did not answer within"):
        media.load(address)


def test_a_host_that_says_a_byte_now_and_then_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(containers, "OPEN_TIMEOUT_S", 0.5)
    answer = b"HTTP/1.1 200 OK\r\nContent-Type: audio/wav\r\n\r\n" + b"RIFF" * 100
    with host(answer) as address, pytest.raises(MediaError, match="did not answer within"):
        media.load(address)


def test_ctrl_c_is_heard_while_a_host_is_silent() -> None:
    with host() as address:
        script = f"from mmpipe.audio import media\nprint('ready', flush=True)\nmedia.load({address!r})"
        command = [sys.executable, "-c", script]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(10) != 0  # long before the host is given up


def wav_header(rate_hz: int, channels: int, tag: int = 1) -> bytes:
    samples = bytes(4000)
    form = struct.pack(
        "<HHIIHH", tag, channels, rate_hz, min(rate_hz * channels * 2, 2**32 - 1), channels * 2 % 65536, 16
    )
    chunks = (
        b"WAVE" + b"fmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(samples)) + samples
    )
    return b"RIFF" + struct.pack("<I", len(chunks)) + chunks


@pytest.mark.parametrize(
    ("rate_hz", "channels"), [(2_000_000_000, 1), (1_000_000, 2), (1, 1), (48_000, 65), (48_000, 9000)]
)
def test_rates_and_channels_that_nobody_records_are_refused(rate_hz: int, channels: int) -> None:
    with pytest.raises(MediaError, match=r"samples a second|cannot be read"):
        media.load(io.BytesIO(wav_header(rate_hz, channels)))


def test_sound_in_an_unknown_coding_is_one_error() -> None:
    with pytest.raises(MediaError):
        media.load(io.BytesIO(wav_header(16_000, 1, tag=0x1234)))


def gap_bomb(path: Path, jumps: int, by_s: int) -> Path:
    """A file of few kilobytes whose clock jumps again and again."""
    with av.open(str(path), "w") as out:
        track: Any = out.add_stream("libopus", rate=48_000, layout="mono")
        frame = media.as_frame(tone(0.1))
        frame.pts = 0
        packets = [packet for piece in (frame, None) for packet in track.encode(piece)]
        for jump in range(jumps):
            packet = packets[0]
            packet.pts = packet.dts = round(jump * by_s / packet.time_base)
            out.mux(packet)
    return path


def test_a_clock_that_leaps_again_and_again_is_no_reason_for_days_of_silence(tmp_path: Path) -> None:
    path = gap_bomb(tmp_path / "bomb.webm", jumps=40, by_s=3000)  # 33 hours
    assert path.stat().st_size < 20_000
    length_s = sum(block.duration_s for block in media.stream(path))
    assert length_s < media.MAX_SILENCE_S + 60
    with pytest.raises(MediaError, match="longer than the 120 s"):
        media.load(path, max_duration_s=120)
