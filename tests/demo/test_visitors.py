"""Each visitor's things are their own, and gone soon after they are."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mmpipe.demo.visitors import Visitors
from mmpipe.errors import InputError


class Things:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


def visitor(name: str) -> Any:
    return SimpleNamespace(session_hash=name)


@pytest.fixture(autouse=True)
def uploads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    (tmp_path / "gradio" / "hash").mkdir(parents=True)
    return tmp_path / "gradio"


def uploaded(uploads: Path, name: str = "talk.wav") -> Path:
    path = uploads / "hash" / name
    path.write_bytes(b"sound")
    return path


def test_each_has_a_folder_of_their_own() -> None:
    visitors = Visitors(Things)
    ann, bob = visitors.of(visitor("ann")), visitors.of(visitor("bob"))
    assert ann is visitors.of(visitor("ann"))
    assert ann.folder != bob.folder
    assert ann.folder.stat().st_mode & 0o077 == 0  # of this user alone


def test_an_upload_is_claimed_once_under_its_own_name(uploads: Path) -> None:
    visitors = Visitors(Things)
    given = uploaded(uploads)
    own = visitors.claim(visitor("ann"), {"path": str(given)})
    assert own.name == "talk.wav"
    assert own.is_relative_to(visitors.of(visitor("ann")).folder)
    assert visitors.claim(visitor("ann"), {"path": str(given)}) == own
    assert visitors.claim(visitor("ann"), {"path": str(own)}) == own


@pytest.mark.parametrize("path", ["/etc/passwd", "{uploads}", "{uploads}/../secret", "{uploads}/hash/gone.wav"])
def test_what_was_not_uploaded_is_not_claimed(path: str, uploads: Path) -> None:
    (uploads.parent / "secret").write_text("secret")
    with pytest.raises(InputError):
        Visitors(Things).claim(visitor("ann"), {"path": path.format(uploads=uploads)})


def test_one_does_not_reach_into_the_folder_of_another(uploads: Path) -> None:
    visitors = Visitors(Things)
    own = visitors.claim(visitor("ann"), {"path": str(uploaded(uploads))})
    with pytest.raises(InputError):
        visitors.claim(visitor("bob"), {"path": str(own)})


def test_all_of_it_goes_when_the_visitor_has_gone(uploads: Path) -> None:
    visitors = Visitors(Things, grace_s=0.0)
    given = uploaded(uploads)
    own, things = visitors.claim(visitor("ann"), {"path": str(given)}), visitors.of(visitor("ann"))
    end = threading.Event()
    things.close = end.set  # type: ignore[method-assign]
    visitors.left(visitor("ann"))
    assert end.wait(5)
    for timer in threading.enumerate():
        if isinstance(timer, threading.Timer):
            timer.join(5)
    assert not own.exists()
    assert not given.exists()
    assert visitors.of(visitor("ann")) is not things


def test_who_comes_back_in_time_finds_everything(uploads: Path) -> None:
    visitors = Visitors(Things, grace_s=600.0)
    own = visitors.claim(visitor("ann"), {"path": str(uploaded(uploads))})
    visitors.left(visitor("ann"))
    things = visitors.of(visitor("ann"))
    assert own.exists()
    assert not things.closed.is_set()


def test_an_upload_that_another_still_uses_stays(uploads: Path) -> None:
    visitors = Visitors(Things, grace_s=0.0)
    given = uploaded(uploads)
    visitors.claim(visitor("ann"), {"path": str(given)})
    visitors.claim(visitor("bob"), {"path": str(given)})
    visitors.left(visitor("ann"))
    for timer in threading.enumerate():
        if isinstance(timer, threading.Timer):
            timer.join(5)
    assert given.exists()


class Clock:
    time_s = 0.0

    def now_s(self) -> float:
        return self.time_s


def test_visits_without_end_make_room_for_others_when_they_are_quiet() -> None:
    clock = Clock()
    visitors = Visitors(Things, grace_s=300.0, max_visitors=2, clock=clock)  # type: ignore[arg-type]
    first = visitors.of(visitor("ann"))
    clock.time_s = 200.0
    visitors.of(visitor("bob"))
    with pytest.raises(InputError, match="too many visitors"):
        visitors.of(visitor("cid"))
    clock.time_s = 301.0
    visitors.of(visitor("cid"))
    assert first.closed.is_set()
    assert not first.folder.exists()
    visitors.left(visitor("cid"))  # who has left goes first, however short ago
    clock.time_s = 600.0
    visitors.of(visitor("bob"))
    visitors.of(visitor("dan"))
    assert len(visitors._visits) == 2
    assert "cid" not in visitors._visits


def test_a_visitor_who_has_much_here_sends_no_more(uploads: Path) -> None:
    visitors = Visitors(Things, max_bytes=8)
    for name in ("a.wav", "b.wav"):  # five bytes each
        visitors.claim(visitor("ann"), {"path": str(uploaded(uploads, name))})
    with pytest.raises(InputError, match="Reload the page"):
        visitors.claim(visitor("ann"), {"path": str(uploaded(uploads, "c.wav"))})
    visitors.claim(visitor("bob"), {"path": str(uploaded(uploads, "c.wav"))})


@pytest.mark.parametrize(
    "upload", [None, "path", 7, [], {}, {"path": None}, {"path": 3}, {"path": "a\0b"}, {"path": "\ud800"}, {"path": ""}]
)
def test_what_is_no_upload_is_refused_whatever_it_is(upload: object) -> None:
    with pytest.raises(InputError, match="no file that was uploaded here"):
        Visitors(Things).claim(visitor("ann"), upload)
