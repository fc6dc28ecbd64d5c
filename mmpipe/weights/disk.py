"""A full or forbidden disk, told so that the reader knows what to do."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmpipe.errors import WeightsError
from mmpipe.weights import settings

FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
FORBIDDEN = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EIO})


@contextmanager
def convert_os_errors(needed_bytes: int | None = None) -> Iterator[None]:
    """Turn what the disk under the cache refuses into a WeightsError. Other errors pass."""
    try:
        yield
    except OSError as error:
        root = settings.cache_root()
        if error.errno in FULL:
            needed = "" if needed_bytes is None else f"{_mb(needed_bytes)} are needed and "
            raise WeightsError(
                f"No room for weights in {root}: {needed}{_mb(free_bytes(root))} are free. "
                "Free some space, or set MMPIPE_CACHE to a folder on a larger disk."
            ) from error
        if error.errno in FORBIDDEN:
            raise WeightsError(
                f"The cache {root} cannot be used ({error.strerror}: {error.filename}). "
                "Set MMPIPE_CACHE to a folder that can be read and written."
            ) from error
        raise


def require_room(folder: Path, needed_bytes: int) -> None:
    """Raises OSError (ENOSPC) unless that many bytes are free where ``folder`` is."""
    if free_bytes(folder) < needed_bytes:
        raise no_room()


def no_room() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _mb(size_bytes: int) -> str:
    return f"{size_bytes / 1e6:.1f} MB"
