"""Recordings and films from strangers."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

import numpy as np

from mmpipe.audio.media import IsolatedMedia, MediaInfo
from mmpipe.audio.mux import SubtitleTrack, check_container
from mmpipe.errors import MediaError
from mmpipe.files import reason, writing
from mmpipe.types import Audio
from mmpipe.untrusted.channel import Kind
from mmpipe.untrusted.process import ProcessLimits, requested

#: Sound is decoded as slowly as it is recognized: most of the time a child waits. Two minutes of computing decode days.
LIMITS = ProcessLimits(memory_bytes=512 * 2**20, cpu_s=120, stall_s=20.0)
_PLACES = BoundedSemaphore(32)


@dataclass(frozen=True, slots=True, eq=False)
class UntrustedMedia(IsolatedMedia):
    """A recording that a stranger sent, in place of its path.

    Args:
        path: where it lies.
        name: what it is called in messages.
    """

    path: Path
    name: str

    def probe(self) -> MediaInfo:
        """
        Raises:
            MediaError: it cannot be read, or has no sound.
        """
        with (
            self._open() as file,
            requested("probe", {"name": self.name}, [file.fileno()], LIMITS, self.name, _PLACES) as child,
        ):
            return _info(next(child.messages(), None), self.name)

    def blocks(self, rate_hz: int, start_s: float, block_s: float) -> Iterator[Audio]:
        """
        Raises:
            MediaError: as :func:`mmpipe.audio.media.stream`, or the decoder did not keep to its limits.
        """
        arguments = {"name": self.name, "rate_hz": rate_hz, "start_s": start_s, "block_s": block_s}
        with self._open() as file, requested("stream", arguments, [file.fileno()], LIMITS, self.name, _PLACES) as child:
            most_bytes = round(4 * (block_s * rate_hz + 1))
            for content in child.messages():
                if not isinstance(content, bytes) or not 0 < len(content) <= most_bytes or len(content) % 4:
                    raise _nonsense(self.name)
                # whatever a child gives: numbers, and nothing else
                yield Audio(np.nan_to_num(np.frombuffer(content, "<f4").astype(np.float32)), rate_hz)

    def dub(self, speech: Path, language: str, subtitles: Sequence[SubtitleTrack], out: Path) -> None:
        """:func:`mmpipe.audio.mux.mux` of this film.

        Raises:
            InputError, MediaError, OutputError: as there.
        """
        check_container(out)
        arguments: dict[str, Any] = {
            "name": self.name,
            "language": language,
            "out": out.name,
        }
        texts = json.dumps([(track.language, list(track.cues)) for track in subtitles]).encode()
        with writing(out), self._open() as film, speech.open("rb") as spoken, out.open("w+b") as target:
            files = [film.fileno(), spoken.fileno(), target.fileno()]
            with requested("dub", arguments, files, LIMITS, self.name, _PLACES) as child:
                with suppress(OSError):  # it has ended already, and says why
                    child.channel.send(Kind.DATA, texts)
                for _ in child.messages():
                    raise _nonsense(self.name)

    def _open(self) -> Any:
        try:
            file = self.path.open("rb")
        except OSError as error:
            raise MediaError(f"{self.name!r} cannot be read: {reason(error)}. Send it again.") from error
        if not os.fstat(file.fileno()).st_size:
            file.close()
            raise MediaError(f"{self.name!r} is empty (0 bytes). Was its recording or download interrupted?")
        return file


def _info(found: object, name: str) -> MediaInfo:
    """What a child says of a recording, if it can be."""
    match found:
        case {
            "duration_s": int() | float() | None as duration_s,
            "rate_hz": int() as rate_hz,
            "channels": int() as channels,
            "codec": str() as codec,
            "has_video": bool() as has_video,
        } if duration_s is None or math.isfinite(duration_s):
            return MediaInfo(duration_s, rate_hz, channels, codec, has_video)
    raise _nonsense(name)


def _nonsense(name: str) -> MediaError:
    return MediaError(f"{name!r} made its decoder give nonsense. Record or convert it anew.")
