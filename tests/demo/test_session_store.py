"""Each visitor's things are their own, and gone soon after they are."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from mmpipe.demo.session_store import SessionStore
from mmpipe.errors import InputError


class SessionState:
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
    sessions = SessionStore(SessionState)
    ann, bob = sessions.of(visitor("ann")), sessions.of(visitor("bob"))
    assert ann is sessions.of(visitor("ann"))
    assert ann.folder != bob.folder
    assert ann.folder.stat().st_mode & 0o077 == 0  # of this user alone


def test_an_upload_is_claimed_once_under_its_own_name(uploads: Path) -> None:
    sessions = SessionStore(SessionState)
    given = uploaded(uploads)
    own = sessions.claim(visitor("ann"), {"path": str(given)})
    assert own.name == "talk.wav"
    assert own.is_relative_to(sessions.of(visitor("ann")).folder)
    assert sessions.claim(visitor("ann"), {"path": str(given)}) == own
    assert sessions.claim(visitor("ann"), {"path": str(own)}) == own


@pytest.mark.parametrize("path", ["/etc/passwd", "{uploads}", "{uploads}/../secret", "{uploads}/hash/gone.wav"])
def test_what_was_not_uploaded_is_not_claimed(path: str, uploads: Path) -> None:
    (uploads.parent / "secret").write_text("secret")
    with pytest.raises(InputError):
        SessionStore(SessionState).claim(visitor("ann"), {"path": path.format(uploads=uploads)})


def test_one_does_not_reach_into_the_folder_of_another(uploads: Path) -> None:
    sessions = SessionStore(SessionState)
    own = sessions.claim(visitor("ann"), {"path": str(uploaded(uploads))})
    with pytest.raises(InputError):
        sessions.claim(visitor("bob"), {"path": str(own)})


def test_all_of_it_goes_when_the_visitor_has_gone(uploads: Path) -> None:
    sessions = SessionStore(SessionState, grace_s=0.0)
    given = uploaded(uploads)
    own, things = sessions.claim(visitor("ann"), {"path": str(given)}), sessions.of(visitor("ann"))
    end = threading.Event()
    things.close = end.set  # type: ignore[method-assign]
    sessions.left(visitor("ann"))
    assert end.wait(5)
    for timer in threading.enumerate():
        if isinstance(timer, threading.Timer):
            timer.join(5)
    assert not own.exists()
    assert not given.exists()
    assert sessions.of(visitor("ann")) is not things


def test_many_who_left_share_one_thread_and_each_goes_in_turn(uploads: Path) -> None:
    sessions = SessionStore(SessionState, grace_s=0.2)
    states = [sessions.of(visitor(f"v{n}")) for n in range(50)]
    before = threading.active_count()
    for n in range(49):
        sessions.left(visitor(f"v{n}"))
    assert threading.active_count() <= before + 1
    assert all(state.closed.wait(5) for state in states[:49])
    assert not states[49].closed.is_set()
    assert sessions._timer is None


def test_who_comes_back_in_time_finds_everything(uploads: Path) -> None:
    sessions = SessionStore(SessionState, grace_s=600.0)
    own = sessions.claim(visitor("ann"), {"path": str(uploaded(uploads))})
    sessions.left(visitor("ann"))
    things = sessions.of(visitor("ann"))
    assert own.exists()
    assert not things.closed.is_set()


def test_an_upload_that_another_still_uses_stays(uploads: Path) -> None:
    sessions = SessionStore(SessionState, grace_s=0.0)
    given = uploaded(uploads)
    sessions.claim(visitor("ann"), {"path": str(given)})
    sessions.claim(visitor("bob"), {"path": str(given)})
    sessions.left(visitor("ann"))
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
    sessions = SessionStore(SessionState, grace_s=300.0, max_visitors=2, clock=clock)  # type: ignore[arg-type]
    first = sessions.of(visitor("ann"))
    clock.time_s = 200.0
    sessions.of(visitor("bob"))
    with pytest.raises(InputError, match="too many visitors"):
        sessions.of(visitor("cid"))
    clock.time_s = 301.0
    sessions.of(visitor("cid"))
    assert first.closed.is_set()
    assert not first.folder.exists()
    sessions.left(visitor("cid"))  # who has left goes first, however short ago
    clock.time_s = 600.0
    sessions.of(visitor("bob"))
    sessions.of(visitor("dan"))
    assert len(sessions._visits) == 2
    assert "cid" not in sessions._visits


def test_a_visitor_who_has_much_here_sends_no_more(uploads: Path) -> None:
    sessions = SessionStore(SessionState, max_bytes=8)
    for name in ("a.wav", "b.wav"):  # five bytes each
        sessions.claim(visitor("ann"), {"path": str(uploaded(uploads, name))})
    with pytest.raises(InputError, match="Reload the page"):
        sessions.claim(visitor("ann"), {"path": str(uploaded(uploads, "c.wav"))})
    sessions.claim(visitor("bob"), {"path": str(uploaded(uploads, "c.wav"))})


@pytest.mark.parametrize(
    "upload", [None, "path", 7, [], {}, {"path": None}, {"path": 3}, {"path": "a\0b"}, {"path": "\ud800"}, {"path": ""}]
)
def test_what_is_no_upload_is_refused_whatever_it_is(upload: object) -> None:
    with pytest.raises(InputError, match="no file that was uploaded here"):
        SessionStore(SessionState).claim(visitor("ann"), upload)
