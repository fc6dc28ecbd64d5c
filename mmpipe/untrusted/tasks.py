"""What a decoder's process can do. Runs in the child: the only code that touches a stranger's bytes."""

from __future__ import annotations

import codecs
import io
import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
import numpy as np

from mmpipe.audio import media, mux
from mmpipe.audio.containers import open_container
from mmpipe.errors import MmpipeError
from mmpipe.files import writing
from mmpipe.types import Audio
from mmpipe.untrusted.channel import BrokenChannelError, Channel, Kind
from mmpipe.vision import images

#: Of the texts in headers.
_ENCODINGS = (
    "ascii", "cp1252", "cp437", "idna", "iso8859-15", "latin-1", "mac-roman", "shift_jis", "utf-16", "utf-16-be",
    "utf-16-le", "utf-32", "utf-8", "utf-8-sig",
)  # fmt: skip


class SharedFile(io.RawIOBase):
    """A file that was opened by another process, read from a place of one's own: several may read it at once."""

    def __init__(self, descriptor: int, name: str) -> None:
        self.name = name
        self._descriptor, self._at = descriptor, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: os.fstat(self._descriptor).st_size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        if size is None or size < 0:
            size = max(0, os.fstat(self._descriptor).st_size - self._at)
        found = os.pread(self._descriptor, size, self._at)
        self._at += len(found)
        return found


def _shared(descriptor: int, name: str) -> BinaryIO:
    return cast("BinaryIO", SharedFile(descriptor, name))


def probe(channel: Channel, files: Sequence[int], *, name: str) -> None:
    channel.send(Kind.FACTS, asdict(media.probe(_shared(files[0], name))))


def stream(channel: Channel, files: Sequence[int], *, name: str, rate_hz: int, start_s: float, block_s: float) -> None:
    """Blocks of float32, as bytes."""
    for block in media.stream(_shared(files[0], name), rate_hz, start_s=start_s, block_s=block_s):
        channel.send(Kind.DATA, block.samples.tobytes())


def load_image(channel: Channel, files: Sequence[int], *, name: str, max_px: int) -> None:
    """Its height and width, then its pixels."""
    image = images.load(_shared(files[0], name), max_px=max_px)
    channel.send(Kind.FACTS, {"height_px": image.height_px, "width_px": image.width_px})
    channel.send(Kind.DATA, image.pixels.tobytes())


def dub(channel: Channel, files: Sequence[int], *, name: str, language: str, out: str) -> None:
    """:func:`mmpipe.audio.mux.mux` of a film, speech and a file to write into; the subtitles come as a message."""
    film, speech, target = files
    path = Path(out)
    subtitles = json.loads(channel.receive()[1])
    tracks = [mux.SubtitleTrack(of, [(cue[0], cue[1], cue[2]) for cue in cues]) for of, cues in subtitles]
    with (
        writing(path),
        mux.told(name, path),
        open_container(_shared(speech, "the speech")) as spoken,
        os.fdopen(target, "r+b", closefd=False) as written,
        av.open(written, "w", format=mux.MUXERS[path.suffix.lower()]) as container,
    ):
        codecs = mux.CONTAINERS[path.suffix.lower()]
        mux.fill(lambda: open_container(_shared(film, name)), spoken, container, language, tracks, codecs)


def opus(channel: Channel, files: Sequence[int], *, name: str) -> None:
    """Packets of one stream come in, float32 at 48 kHz or a word that they are damaged go out, until nobody asks."""
    codec: Any = av.AudioCodecContext.create("libopus", "r")
    codec.sample_rate = 48_000
    codec.layout = "mono"
    while True:
        try:
            _, payload = channel.receive()
        except BrokenChannelError:
            return
        try:
            decoded = [
                frame.to_ndarray().reshape(-1).astype(np.float32) / 32768 for frame in codec.decode(av.Packet(payload))
            ]
        except (av.error.FFmpegError, EOFError):
            codec.flush_buffers()
            channel.send(Kind.FACTS, b"")
        else:
            channel.send(Kind.DATA, np.concatenate([np.zeros(0, np.float32), *decoded]).tobytes())


TASKS: dict[str, Callable[..., None]] = {
    "probe": probe,
    "stream": stream,
    "load_image": load_image,
    "dub": dub,
    "opus": opus,
}


def warmup() -> None:
    """Load what is only loaded when it is first used: a child cannot open a file."""
    for encoding in _ENCODINGS:
        codecs.lookup(encoding)
    sound = io.BytesIO()
    with av.open(sound, "w", format="wav") as container:
        track: Any = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        frame = media.as_frame(Audio(np.zeros(1600, np.float32), 8000))
        container.mux(track.encode(frame))

    def opened() -> Any:
        return open_container(io.BytesIO(sound.getvalue()))

    media.load(io.BytesIO(sound.getvalue()))
    subtitles = [mux.SubtitleTrack("en", [(0.0, 0.1, "x")])]
    with opened() as spoken, av.open(io.BytesIO(), "w", format="matroska") as container:
        mux.fill(opened, spoken, container, "en", subtitles, mux.CONTAINERS[".mkv"])
    if find_spec("PIL") is None:
        return
    from PIL import Image as Pillow

    Pillow.init()
    for kind in images.FORMATS:
        for mode in ("RGB", "RGBA", "P", "L"):
            picture = io.BytesIO()
            with suppress(OSError, KeyError, MmpipeError):  # it cannot be written, or not in this mode
                Pillow.new(mode, (8, 8)).save(picture, kind)
                images.load(picture.getvalue(), max_px=16)
