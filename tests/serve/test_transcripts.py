"""Transcripts that a server keeps: who can read them, how long, and what of them is left after a crash."""

from __future__ import annotations

import asyncio
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mmpipe.cli import app as command
from mmpipe.errors import InputError
from mmpipe.pipelines.live import CommittedEvent, Event, PartialEvent
from mmpipe.serve.options import ServeOptions
from mmpipe.serve.transcripts import DAY_S, TranscriptKeys, TranscriptStore, new_key_file

SECRET = "the eagle has landed"
BEGAN_S = 1_800_000_000.0


def said(seq: int, text: str = SECRET) -> Event:
    times = {"seq": seq, "emitted_s": 0.0, "start_s": 0.0, "end_s": 1.0}
    return CommittedEvent(**times, heard_until_s=1.0, text=f"{text} {seq}", language="en", words=())


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def mmpipe(*args: str | Path, stdin: str = "") -> Any:
    return CliRunner().invoke(command, list(map(str, args)), input=stdin, env={"NO_COLOR": "1", "COLUMNS": "200"})


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "transcripts.key"
    new_key_file(path)
    return path


def kept(store: TranscriptStore, session: str = "0123abcd", count: int = 3) -> Path:
    writer = store.begin(session)
    for seq in range(1, count + 1):
        writer.add(said(seq))
    writer.add(PartialEvent(seq=9, emitted_s=0, start_s=0, end_s=0, heard_until_s=0, text="hm", language="en"))
    writer.close()
    return writer.path


def texts(store: TranscriptStore) -> list[str]:
    (found,) = store.stored()
    return [line["text"] for line in store.read(found)]


WHOLE = [f"{SECRET} {n}" for n in (1, 2, 3)]


def test_only_its_owner_reads_what_is_kept(tmp_path: Path, key: Path) -> None:
    """Files were 0644, in a folder that everybody could list."""
    umask = os.umask(0)
    try:
        path = kept(TranscriptStore(tmp_path / "a" / "kept"))
    finally:
        os.umask(umask)
    assert mode(path) == 0o600
    assert mode(path.parent) == 0o700
    assert mode(key) == 0o600
    assert texts(TranscriptStore(path.parent)) == WHOLE


def test_a_folder_of_others_is_warned_about_and_left_as_it_is(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tmp_path.chmod(0o755)
    TranscriptStore(tmp_path)
    assert "chmod 700" in caplog.text
    assert mode(tmp_path) == 0o755


def test_with_a_key_nothing_that_was_said_stands_on_the_disk(tmp_path: Path, key: Path) -> None:
    store = TranscriptStore(tmp_path / "kept", TranscriptKeys(key))
    path = kept(store)
    assert b"eagle" not in path.read_bytes()
    assert texts(store) == WHOLE
    with pytest.raises(InputError, match="give the key file"):
        texts(TranscriptStore(tmp_path / "kept"))
    other = tmp_path / "other.key"
    new_key_file(other)
    with pytest.raises(InputError, match="another key"):
        texts(TranscriptStore(tmp_path / "kept", TranscriptKeys(other)))
    other.write_text(other.read_text() + key.read_text())  # the new one first
    assert texts(TranscriptStore(tmp_path / "kept", TranscriptKeys(other))) == WHOLE


@pytest.mark.parametrize("encrypted", [False, True])
def test_after_a_crash_all_but_the_last_line_is_there(
    tmp_path: Path, key: Path, encrypted: bool, caplog: pytest.LogCaptureFixture
) -> None:
    store = TranscriptStore(tmp_path / "kept", TranscriptKeys(key) if encrypted else None)
    path = kept(store)
    path.write_bytes(path.read_bytes()[:-7])
    assert texts(store) == WHOLE[:2]
    assert "broken off" in caplog.text


def test_lines_cannot_be_changed_exchanged_left_out_or_carried_over_unnoticed(tmp_path: Path, key: Path) -> None:
    store = TranscriptStore(tmp_path / "kept", TranscriptKeys(key))
    path = kept(store)
    head, *lines = path.read_bytes().splitlines(keepends=True)
    other = kept(TranscriptStore(tmp_path / "others", TranscriptKeys(key)), "fedc9876")
    theirs = other.read_bytes().splitlines(keepends=True)
    changed_head = head.replace(b"0123abcd", b"0123abcd", 1).replace(b'"version": 1', b'"version": 2')
    for forged in (
        [head, lines[1], lines[0], lines[2]],
        [head, lines[1], lines[2]],
        [head, lines[0], theirs[2], lines[2]],
        [head, lines[0], lines[1][:10] + b"A" + lines[1][11:], lines[2]],
        [changed_head, *lines],
        [head, b"not base64!\n"],
    ):
        path.write_bytes(b"".join(forged))
        with pytest.raises(InputError, match="damaged, or was changed"):
            texts(store)
    path.write_bytes(head + lines[0])  # what was last may be missing: that is how a crash looks
    assert texts(store) == WHOLE[:1]


@pytest.mark.parametrize(
    ("content", "permissions", "because"),
    [
        (None, 0o640, "chmod 600"),
        (None, 0o604, "chmod 600"),
        ("", 0o600, "holds no key"),
        ("secret\n", 0o600, "is no key"),
        ("mmpipe-transcripts-1:AAAA\n", 0o600, "is no key"),
    ],
)
def test_a_key_file_that_others_can_read_or_that_is_none_is_refused(
    key: Path, content: str | None, permissions: int, because: str
) -> None:
    if content is not None:
        key.write_text(content)
    key.chmod(permissions)
    with pytest.raises(InputError, match=because) as found:
        TranscriptKeys(key)
    assert "AAAA" not in str(found.value)


def test_a_key_file_is_never_written_over(key: Path) -> None:
    before = key.read_text()
    refused = mmpipe("transcripts", "new-key", key)
    assert refused.exit_code == 1
    assert "Choose another name" in refused.stderr
    assert key.read_text() == before


def test_old_ones_go_and_nothing_that_was_not_made_here(tmp_path: Path) -> None:
    now_s = BEGAN_S
    store = TranscriptStore(tmp_path / "kept", keep_days=7, now_s=lambda: now_s)
    old, young = kept(store, "00000001"), kept(store, "00000002")
    others = [tmp_path / "kept" / name for name in ("notes.txt", "00000003.jsonl", "20200101T000000Z-00000004.jsonl")]
    for other in others:
        other.write_text('{"type": "committed"}\n')
    link = tmp_path / "kept" / "20200101T000000Z-00000001.jsonl"
    link.symlink_to(old)
    for path in (old, *others):
        os.utime(path, (BEGAN_S, BEGAN_S))
    os.utime(young, (BEGAN_S + DAY_S, BEGAN_S + DAY_S))
    assert store.due
    assert store.expire() == 0
    now_s += 7.5 * DAY_S
    assert store.due
    assert store.expire() == 1
    assert not store.due  # once a day
    assert not old.exists()
    assert young.exists()
    assert all(other.exists() for other in others)
    now_s += 0.6 * DAY_S
    assert not store.due
    now_s += 0.5 * DAY_S
    assert store.due
    assert store.expire() == 1
    assert not young.exists()


def test_a_server_looks_at_once_and_then_daily(rig: Any, tmp_path: Path, settle: Any) -> None:
    async def talk() -> None:
        old = kept(TranscriptStore(tmp_path / "kept"))
        os.utime(old, (1e9, 1e9))
        manager = rig.manager(transcripts=tmp_path / "kept", keep_days=1, audit_log=tmp_path / "audit.jsonl")
        await manager.sweep()
        await settle(lambda: not old.exists())
        await manager.stop()
        manager.audit.close()

    asyncio.run(asyncio.wait_for(talk(), 60))
    assert "transcripts.expired" in (tmp_path / "audit.jsonl").read_text()


def test_a_session_whose_transcript_cannot_be_kept_says_so_once_and_goes_on(
    rig: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def talk() -> None:
        app, manager = rig.app(transcripts=tmp_path / "kept")
        wire = rig.wire(app)
        started = await wire.start()
        session = manager.sessions[started["session"]]
        full = os.open("/dev/full", os.O_WRONLY)
        os.dup2(full, session._transcript._file)
        os.close(full)
        for packet in rig.packets(rig.spell(range(10))):
            wire.say(packet)
        wire.say({"type": "finish", "packets": 50})
        assert rig.committed(await wire.rest()) == rig.text(range(10))
        (tmp_path / "kept").rename(tmp_path / "moved")  # nor can one be begun
        second = rig.wire(app)
        assert (await second.start())["type"] == "started"
        second.vanish(1000)
        await second.task

    asyncio.run(asyncio.wait_for(talk(), 60))
    assert caplog.text.count("cannot be kept from here on") == 2
    assert "w1" not in caplog.text


def test_options_of_transcripts_without_transcripts_are_a_mistake() -> None:
    with pytest.raises(InputError, match="say where"):
        ServeOptions(keep_days=3)


# --- the command ---


def test_transcripts_are_listed_shown_and_deleted_on_request(tmp_path: Path, key: Path) -> None:
    folder = tmp_path / "kept"
    store = TranscriptStore(folder, TranscriptKeys(key))
    for session in ("00000001", "00000002", "00000003"):
        kept(store, session)
    (folder / "notes.txt").write_text("mine")
    listed = mmpipe("transcripts", "list", folder).stdout
    assert listed.count("0000000") == 3
    assert "notes" not in listed
    shown = mmpipe("transcripts", "show", "00000002", "--folder", folder, "--key", key)
    assert shown.stdout.splitlines() == WHOLE
    as_json = mmpipe("transcripts", "show", "00000002", "--folder", folder, "--key", key, "--json").stdout
    assert [json.loads(line)["text"] for line in as_json.splitlines()] == WHOLE
    assert "give the key" in mmpipe("transcripts", "show", "00000002", "--folder", folder).stderr
    unknown = mmpipe("transcripts", "delete", "../notes.txt", "--folder", folder, "--yes")
    assert unknown.exit_code == 1
    assert "no transcript of a session" in unknown.stderr
    kept_back = mmpipe("transcripts", "delete", "00000001", "--folder", folder, stdin="n\n")
    assert kept_back.exit_code == 1
    assert len(store.stored()) == 3
    assert mmpipe("transcripts", "delete", "00000001", "--folder", folder, stdin="y\n").exit_code == 0
    assert [found.session for found in store.stored()] == ["00000002", "00000003"]
    os.utime(store.stored()[0].path, (1e9, 1e9))
    assert mmpipe("transcripts", "delete", "--older-than", "30", "--folder", folder, "--yes").exit_code == 0
    assert [found.session for found in store.stored()] == ["00000003"]
    assert mmpipe("transcripts", "delete", "--folder", folder, "--yes").exit_code == 1
    assert mmpipe("transcripts", "delete", "00000003", "--all", "--folder", folder, "--yes").exit_code == 1
    assert mmpipe("transcripts", "delete", "--all", "--folder", folder, "--yes").exit_code == 0
    assert [found.name for found in folder.iterdir()] == ["notes.txt"]
    assert "no folder" in mmpipe("transcripts", "list", tmp_path / "missing").stderr
