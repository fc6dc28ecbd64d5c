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

from mmpipe.batching import Clock, MonotonicClock
from mmpipe.demo.storage import IN_USE, folder_bytes
from mmpipe.errors import InputError

#: A phone that sleeps, or a lost connection, is not the end of a visit.
GRACE_S = 300.0
#: At a time. Then those go who have been away or quiet the longest.
MAX_VISITORS = 1000
#: Beyond this a visitor sends nothing more; five uploads of the largest size.
MAX_VISITOR_BYTES = 1_000_000_000


class SessionState(Protocol):
    """What a tab keeps for one visitor."""

    def close(self) -> None:
        """The visitor is gone: end what is under way."""


T = TypeVar("T", bound=SessionState)


@dataclass(slots=True)
class _Visit(Generic[T]):
    things: T
    folder: Path
    used_s: float  # when last
    uploads: dict[Path, Path] = field(default_factory=dict)  # where Gradio put it -> the same in the folder
    ends_s: float | None = None  # when, of who is away


class SessionStore(Generic[T]):
    """``make``: what a tab keeps for a visitor, given their folder. Gradio serves what lies in that folder, under a
    name that only its visitor is told. Used from any thread.

    Args:
        make: as above.
        grace_s: how long a visitor may be away.
        max_visitors: at a time; beyond, those go who have been away or quiet for ``grace_s``.
        max_bytes: with this much in their folder, a visitor sends nothing more.
        clock: tells when they were here last.
    """

    def __init__(
        self,
        make: Callable[[Path], T],
        grace_s: float = GRACE_S,
        max_visitors: int = MAX_VISITORS,
        max_bytes: int = MAX_VISITOR_BYTES,
        clock: Clock | None = None,
    ) -> None:
        self._make, self._grace_s = make, grace_s
        self._max_visitors, self._max_bytes, self._clock = max_visitors, max_bytes, clock or MonotonicClock()
        self._visits: dict[str, _Visit[T]] = {}
        self._lock = Lock()
        self._timer: Timer | None = None  # one for all who are away
        served = Path(get_upload_folder()).resolve()
        served.mkdir(parents=True, exist_ok=True)
        self._root = Path(mkdtemp(prefix=IN_USE, dir=served))
        finalize(self, shutil.rmtree, self._root, ignore_errors=True)  # when the server ends

    def of(self, request: gr.Request) -> T:
        """What is kept for the visitor who sent ``request``.

        Raises:
            InputError: there are too many visitors.
        """
        return self._visit(request).things

    def claim(self, request: gr.Request, upload: object) -> Path:
        """A file the visitor uploaded, in their own folder under its own name. One that lies there already stays.

        Args:
            request: the visitor's.
            upload: what the page says of it: where it lies, as "path".

        Raises:
            InputError: it is not there any more, was never an upload, or the visitor has too much here.
        """
        no_file = InputError("That is no file that was uploaded here. Choose one again.")
        given = upload.get("path") if isinstance(upload, dict) else None
        if not isinstance(given, str):
            raise no_file
        try:
            visit, path = self._visit(request), Path(given).resolve()
        except (OSError, ValueError) as error:  # ValueError: what no path may hold
            raise no_file from error
        if path.is_relative_to(visit.folder):
            return path
        served = Path(get_upload_folder()).resolve()
        inside = path.relative_to(served).parts if path.is_relative_to(served) else ()
        if not inside or inside[0].startswith(IN_USE):  # what a page sends is not to be believed
            raise no_file
        own = visit.uploads.get(path)
        if own is None:
            if folder_bytes(visit.folder) >= self._max_bytes:
                raise InputError("Your files here take too much room. Reload the page: it begins with none.")
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
            if visit is None or visit.ends_s is not None:
                return
            visit.ends_s = self._clock.now_s() + self._grace_s
            if self._timer is None:
                self._wait(self._grace_s)

    def _visit(self, request: gr.Request) -> _Visit[T]:
        key, now_s = str(request.session_hash), self._clock.now_s()
        self._make_room(key, now_s)
        with self._lock:
            visit = self._visits.get(key)
            if visit is None:
                folder = Path(mkdtemp(dir=self._root))
                visit = self._visits[key] = _Visit(self._make(folder), folder, now_s)
            visit.used_s = now_s
            visit.ends_s = None
            return visit

    def _make_room(self, key: str, now_s: float) -> None:
        """For the visit ``key``, where it is a new one."""
        with self._lock:
            if key in self._visits or len(self._visits) < self._max_visitors:
                return
            away = [(visit.ends_s is None, visit.used_s, other) for other, visit in self._visits.items()]
            here, used_s, oldest = min(away)
            if here and now_s - used_s < self._grace_s:
                raise InputError("There are too many visitors at present. Try again in some minutes.")
            visit = self._visits.pop(oldest)
        self._clear(visit)

    def _wait(self, for_s: float) -> None:
        """With the lock held."""
        self._timer = Timer(for_s, self._end_visits)
        self._timer.daemon = True
        self._timer.start()

    def _end_visits(self) -> None:
        """Of those who have been away for long enough."""
        with self._lock:
            now_s = self._clock.now_s()
            over = [key for key, visit in self._visits.items() if visit.ends_s is not None and visit.ends_s <= now_s]
            visits = [self._visits.pop(key) for key in over]
            later = [visit.ends_s for visit in self._visits.values() if visit.ends_s is not None]
            self._timer = None
            if later:
                self._wait(min(later) - now_s)
        for visit in visits:
            self._clear(visit)

    def _clear(self, visit: _Visit[T]) -> None:
        with self._lock:
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
