"""The audit log: what stands in it, that nobody drives it away, and that a full disk ends nothing."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from mmpipe.errors import InputError
from mmpipe.serve.audit import LINES_ALIKE, STRANGERS_AT_ONCE, WINDOW_S, AuditLog

STRANGER = "203.0.113.7"


class Now:
    def __init__(self) -> None:
        self.time_s = 0.0

    def __call__(self) -> float:
        return self.time_s


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_conversation_leaves_who_what_from_where_how_much_and_why(rig: Any, tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"

    async def talk() -> str:
        app, manager = rig.app(api_keys=("open-sesame",), audit_log=path)
        refused = rig.wire(app, address=STRANGER)
        await refused.start(api_key="wrong")
        await refused.task
        denied = rig.wire(app, {"Authorization": "Bearer wrong"}, STRANGER)
        assert await denied.hear() is None
        wire = rig.wire(app, {"Authorization": "Bearer open-sesame"}, STRANGER)
        started = await wire.start(to="pt")
        for packet in rig.packets(rig.spell(range(4))):
            wire.say(packet)
        wire.say({"type": "ping"})
        await wire.until("pong")
        wire.vanish()
        await wire.task
        again = rig.wire(app, {"Authorization": "Bearer open-sesame"}, STRANGER)
        await again.resume(started, 0)
        again.say({"type": "finish", "packets": 20})
        await again.rest()
        await again.task
        manager.audit.close()
        return str(started["token"])

    token = asyncio.run(asyncio.wait_for(talk(), 60))
    found = lines(path)
    assert {line["from"] for line in found} == {STRANGER}
    assert {line["who"] for line in found if line["what"].startswith("session.") and "why" not in line} == {"key-1"}
    assert [(line["what"], line.get("why")) for line in found] == [
        ("connection.opened", None),
        ("key.refused", "wrong"),
        ("session.refused", "wrong"),
        ("connection.closed", "wrong"),
        ("key.refused", "wrong"),
        ("connection.refused", "wrong"),
        ("connection.opened", None),
        ("key.used", None),
        ("session.started", None),
        ("connection.closed", "lost"),
        ("connection.opened", None),
        ("key.used", None),
        ("session.resumed", None),
        ("session.ended", "finished"),
        ("connection.closed", "done"),
    ]
    ended = found[-2]
    assert ended["seconds"] == 2.0
    assert found[9]["bytes_in"] > 2 * 4 * 8_000
    assert found[-1]["bytes_out"] > 100
    text = path.read_text()
    assert not [word for word in ("sesame", "w0", "w1", "W1", "wrong key", token) if word in text]


def test_a_flood_is_counted_instead_of_written(tmp_path: Path) -> None:
    """A stranger who is refused a thousand times a second would rotate the history out of the files."""
    now, path = Now(), tmp_path / "audit.jsonl"
    log = AuditLog(path, now_s=now)
    log.note("session.ended", who="alice", address="198.51.100.1", why="finished", seconds=60)
    for _ in range(10_000):
        log.note("connection.refused", address=STRANGER, why="wrong", bytes_in=10)
    log.note("connection.refused", address="192.0.2.1", why="wrong")
    assert len(lines(path)) == 1 + LINES_ALIKE + 1
    now.time_s += WINDOW_S + 1
    log.flush()
    last = lines(path)[-1]
    assert last["more"] == 10_000 - LINES_ALIKE
    assert last["bytes_in"] == 10 * last["more"]
    assert (last["what"], last["from"], last["why"]) == ("connection.refused", STRANGER, "wrong")
    log.close()


def test_strangers_of_any_number_of_addresses_write_only_so_much(tmp_path: Path) -> None:
    now, path = Now(), tmp_path / "audit.jsonl"
    log = AuditLog(path, now_s=now)
    for n in range(50_000):
        log.note("connection.refused", address=f"10.{n >> 16}.{(n >> 8) & 255}.{n & 255}", why="wrong")
        now.time_s += 0.001
    log.note("session.started", who="alice", address="198.51.100.1")  # whoever has a name is not drowned
    assert len(log._kinds) < 3_000
    log.close()
    found = lines(path)
    assert len(found) < 2 * STRANGERS_AT_ONCE
    assert [line["who"] for line in found if "who" in line] == ["alice"]
    counted = sum(line.get("more", 1) for line in found if line["what"] == "connection.refused")
    assert counted == 50_000


def test_only_its_owner_reads_it_also_after_rotation_and_what_was_there_before(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    for existing in (path, tmp_path / "audit.jsonl.1"):
        existing.write_text("{}\n")
        existing.chmod(0o644)
    umask = os.umask(0)
    try:
        log = AuditLog(path, max_bytes=500, kept_files=2)
        for n in range(20):
            log.note("session.started", who=f"key-{n}", session="a" * 8)
        log.close()
    finally:
        os.umask(umask)
    files = sorted(found.name for found in tmp_path.iterdir())
    assert files == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]
    assert {mode(found) for found in tmp_path.iterdir()} == {0o600}
    assert all(found.stat().st_size <= 500 for found in tmp_path.iterdir())


def test_a_file_that_was_moved_away_is_begun_anew(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)
    log.note("one")
    path.rename(tmp_path / "moved")
    log.note("two")
    log.reopen()
    log.note("three")
    log.close()
    assert [line["what"] for line in lines(tmp_path / "moved")] == ["one", "two"]
    assert [line["what"] for line in lines(path)] == ["three"]
    assert mode(path) == 0o600


def test_a_full_disk_loses_lines_and_ends_nothing(
    rig: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "audit.jsonl"

    class Full:
        """A file on a disk that is full."""

        def write(self, _: str) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        def seek(self, *_: int) -> None: ...

        def tell(self) -> int:
            return 0

        def close(self) -> None: ...

    async def talk() -> None:
        app, manager = rig.app(audit_log=path)
        opening = manager.audit._handler._open
        manager.audit._handler._open = Full
        manager.audit.reopen()
        wire = rig.wire(app)
        assert (await wire.start())["type"] == "started"
        manager.audit._handler._open = opening
        wire.say({"type": "finish", "packets": 0})
        assert (await wire.rest())[-1]["type"] == "ended"
        await wire.task
        manager.audit.close()

    asyncio.run(asyncio.wait_for(talk(), 60))
    assert caplog.text.count("the audit log cannot be written") == 1
    assert caplog.text.count("the audit log is written again") == 1
    assert "session.ended" in [line["what"] for line in lines(path)]
    assert "Logging error" not in capsys.readouterr().err  # which logging would print for each line


def test_a_line_that_was_broken_off_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)
    log.note("one")
    assert log._handler is not None
    log._handler._failed = True
    with path.open("a") as file:
        file.write('{"what": "tw')
    log.reopen()
    log.note("three")
    log.close()
    texts = [text for text in path.read_text().splitlines() if text]
    assert json.loads(texts[-1])["what"] == "three"


def test_threads_do_not_mix_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    log = AuditLog(path)

    def write(name: str) -> None:
        for n in range(200):
            log.note(f"{name}.{n}", who=name)

    threads = [threading.Thread(target=write, args=(f"thread{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert len(lines(path)) == 800


def test_a_log_that_cannot_be_written_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be written"):
        AuditLog(tmp_path / "missing" / "audit.jsonl")
