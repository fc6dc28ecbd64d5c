"""What each visitor has here: files in a folder of their own, work under way. It is gone soon after they are."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from threading import Lock, Timer
from typing import Generic, Protocol, TypeVar
from weakref import finalize

import gradio as gr
from gradio.utils import get_upload_folder

from mmpipe.errors import InputError

#: A phone that sleeps, or a lost connection, is not the end of a visit.
GRACE_S = 300.0
_ROOT = "visitors-"  # what the folders of visitors lie in


class Things(Protocol):
    """What a tab keeps for one visitor."""

    def close(self) -> None:
        """The visitor is gone: end what is under way."""


T = TypeVar("T", bound=Things)


@dataclass(slots=True)
class _Visit(Generic[T]):
    things: T
    folder: Path
    uploads: dict[Path, Path] = field(default_factory=dict)  # where Gradio put it -> the same in the folder
    end: Timer | None = None


class Visitors(Generic[T]):
    """``make``: what a tab keeps for a visitor, given their folder. Gradio serves what lies in that folder, under a
    name that only its visitor is told. Used from any thread.

    ``grace_s``: how long a visitor may be away.
    """

    def __init__(self, make: Callable[[Path], T], grace_s: float = GRACE_S) -> None:
        self._make, self._grace_s = make, grace_s
        self._visits: dict[str, _Visit[T]] = {}
        self._lock = Lock()
        served = Path(get_upload_folder()).resolve()
        served.mkdir(parents=True, exist_ok=True)
        self._root = Path(mkdtemp(prefix=_ROOT, dir=served))
        finalize(self, shutil.rmtree, self._root, ignore_errors=True)  # when the server ends

    def of(self, request: gr.Request) -> T:
        """What is kept for the visitor who sent ``request``."""
        return self._visit(request).things

    def claim(self, request: gr.Request, upload: str) -> Path:
        """A file the visitor uploaded, in their own folder under its own name. One that lies there already stays.

        Raises:
            InputError: it is not there any more, or was never an upload.
        """
        visit, path = self._visit(request), Path(upload).resolve()
        if path.is_relative_to(visit.folder):
            return path
        served = Path(get_upload_folder()).resolve()
        inside = path.relative_to(served).parts if path.is_relative_to(served) else ()
        if not inside or inside[0].startswith(_ROOT):  # what a page sends is not to be believed
            raise InputError("That is no file that was uploaded here. Choose one again.")
        own = visit.uploads.get(path)
        if own is None:
            own = visit.folder / f"given-{len(visit.uploads)}" / path.name
            try:
                own.parent.mkdir(exist_ok=True)
                _link(path, own)
            except OSError as error:
                raise InputError(f"{path.name!r} is not here any more. Upload it again.") from error
            with self._lock:
                visit.uploads[path] = own
        return own

    def left(self, request: gr.Request) -> None:
        """The page of this visitor was closed, or lost its connection."""
        key = str(request.session_hash)
        with self._lock:
            visit = self._visits.get(key)
            if visit is None or visit.end is not None:
                return
            visit.end = Timer(self._grace_s, self._end, (key,))
            visit.end.daemon = True
            visit.end.start()

    def _visit(self, request: gr.Request) -> _Visit[T]:
        key = str(request.session_hash)
        with self._lock:
            visit = self._visits.get(key)
            if visit is None:
                folder = Path(mkdtemp(dir=self._root))
                visit = self._visits[key] = _Visit(self._make(folder), folder)
            if visit.end is not None:
                visit.end.cancel()
                visit.end = None
            return visit

    def _end(self, key: str) -> None:
        with self._lock:
            if self._visits[key].end is None:  # back again just now
                return
            visit = self._visits.pop(key)
            shared = {path for other in self._visits.values() for path in other.uploads}
        visit.things.close()
        shutil.rmtree(visit.folder, ignore_errors=True)
        for path in visit.uploads.keys() - shared:  # Gradio names an upload by its content
            path.unlink(missing_ok=True)


def _link(path: Path, own: Path) -> None:
    try:
        os.link(path, own)
    except OSError:  # another disk
        shutil.copyfile(path, own)
