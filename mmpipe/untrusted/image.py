"""Pictures from strangers."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, BinaryIO

import numpy as np

from mmpipe.errors import ImageError, MediaError
from mmpipe.files import reason
from mmpipe.types import Image
from mmpipe.untrusted.process import ProcessLimits, requested
from mmpipe.vision import images

#: What a decoder may take, the file, and what is made of it.
LIMITS = ProcessLimits(memory_bytes=images.MAX_DECODED_BYTES + 256 * 2**20, cpu_s=20, stall_s=20.0)
#: Each may take all of that.
_PLACES = BoundedSemaphore(2)


@dataclass(frozen=True, slots=True, eq=False)
class UntrustedImage(images.IsolatedImage):
    """A picture that a stranger sent, in place of its path or of its bytes.

    Args:
        content: the path or the bytes of its file.
        name: what it is called in messages.
        max_file_bytes: files that are larger are refused.
    """

    content: Path | bytes = field(repr=False)
    name: str
    max_file_bytes: int = images.MAX_FILE_BYTES

    def load(self, max_px: int = images.MAX_KEPT_PX) -> Image:
        """
        Raises:
            ImageError: as :func:`mmpipe.vision.images.load`, or the decoder did not keep to its limits.
        """
        arguments = {"name": self.name, "max_px": max_px}
        try:
            with (
                self._open() as file,
                requested("load_image", arguments, [file.fileno()], LIMITS, self.name, _PLACES) as child,
            ):
                return self._received(list(islice(child.messages(), 3)), max_px)
        except MediaError as error:  # how the way there fails
            raise ImageError(str(error)) from error

    def _open(self) -> BinaryIO:
        if isinstance(self.content, bytes):
            file: BinaryIO = os.fdopen(os.memfd_create("picture"), "w+b")
            file.write(self.content)
            file.flush()
        else:
            try:
                file = self.content.open("rb")
            except OSError as error:
                raise ImageError(f"{self.name!r} cannot be read: {reason(error)}. Send it again.") from error
        if (size_bytes := os.fstat(file.fileno()).st_size) > self.max_file_bytes:
            file.close()
            raise ImageError(
                f"{self.name!r} has {size_bytes / 2**20:.0f} MB; up to {self.max_file_bytes / 2**20:.0f} MB are read. "
                "Save it smaller."
            )
        return file

    def _received(self, messages: list[bytes | dict[str, Any]], max_px: int) -> Image:
        match messages:
            case [{"height_px": int() as height_px, "width_px": int() as width_px}, bytes() as pixels] if (
                min(height_px, width_px) > 0
                and height_px * width_px <= max(max_px, height_px, width_px)  # a strip has at least a pixel
                and len(pixels) == height_px * width_px * 3
            ):
                return Image(np.frombuffer(pixels, np.uint8).reshape(height_px, width_px, 3))
        raise ImageError(f"{self.name!r} made its decoder give nonsense. Save it anew.")
