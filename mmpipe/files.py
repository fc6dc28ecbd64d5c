"""What goes wrong with files, said in one way."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from errno import ENOSPC
from pathlib import Path

from mmpipe.errors import OutputError


def reason(error: BaseException) -> str:
    """The shortest useful text of ``error``."""
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn what goes wrong while writing ``path`` into an :class:`OutputError` that says what to do."""
    try:
        yield
    except OSError as error:  # ffmpeg's errors of the operating system are OSErrors too
        if error.errno == ENOSPC:
            raise OutputError(
                f"No space left on the disk while writing {str(path)!r}. Free some and run again."
            ) from error
        parent = path.absolute().parent
        hint = "" if parent.is_dir() else f" The folder {str(parent)!r} does not exist: make it first."
        raise OutputError(f"Cannot write {str(path)!r}: {reason(error)}.{hint}") from error
