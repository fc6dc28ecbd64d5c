"""Who may use a server: the file of keys, the command that writes it, what each key may do."""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import stat
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from mmpipe.cli import app as command
from mmpipe.errors import InputError
from mmpipe.serve.access import Access, Caller, RefusedError, is_loopback
from mmpipe.serve.audit import AuditLog
from mmpipe.serve.hosts import neighbourhood
from mmpipe.serve.keys import ApiKey, KeyRing, add_key, digest, new_key, read_keys, remove_key
from mmpipe.serve.options import ServeOptions, read_api_keys
from mmpipe.serve.session_manager import SessionManager

STRANGER = "203.0.113.7"


def mmpipe(*args: str | Path, **environment: str) -> Any:
    environment = {"NO_COLOR": "1", "COLUMNS": "300"} | environment
    return CliRunner().invoke(command, list(map(str, args)), env=environment)


def keys_file(path: Path, **entries: str) -> Path:
    """Keys called as their entries; the key of NAME is "key of NAME"."""
    blocks = [f'[keys.{name}]\nsha256 = "{digest(f"key of {name}").hex()}"\n{rest}\n' for name, rest in entries.items()]
    path.write_text("\n".join(blocks))
    path.chmod(0o600)
    return path


# --- the file ---


def test_a_key_is_printed_once_and_only_its_digest_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    made = mmpipe("keys", "new", "alice", "--file", path, "--rights", "live,metrics", "--expires", "2999-12-31")
    assert made.exit_code == 0, made.stderr
    key = made.stdout.strip()
    assert re.fullmatch(r"mmp_[A-Za-z0-9_-]{43}", key)  # 256 bits
    assert key not in made.stderr
    assert key not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (found,) = read_keys(path)
    assert found == ApiKey("alice", digest(key), frozenset({"live", "metrics"}), 4, 30, date(2999, 12, 31))
    assert KeyRing([found]).find(key) == found
    assert KeyRing([found]).find(key + "x") is None
    second = mmpipe("keys", "new", "bob", "--file", path)
    assert [entry.name for entry in read_keys(path)] == ["alice", "bob"]
    listed = mmpipe("keys", "list", "--file", path).stdout
    assert "alice" in listed
    assert "2999-12-31" in listed
    assert key not in listed
    assert second.stdout.strip() != key
    assert [found.name for found in tmp_path.iterdir()] == ["keys.toml"]


def test_a_revoked_key_is_gone_and_all_else_stays_as_it_was(tmp_path: Path) -> None:
    path = keys_file(tmp_path / "keys.toml", alice="seats = 1", bob='rights = ["live"]')
    path.write_text("# of the stage\n\n" + path.read_text() + "# the end\n")
    before = path.read_text()
    assert mmpipe("keys", "revoke", "alice", "--file", path).exit_code == 0
    assert [key.name for key in read_keys(path)] == ["bob"]
    assert path.read_text().startswith("# of the stage")
    assert before.endswith(path.read_text().removeprefix("# of the stage\n\n"))
    refused = mmpipe("keys", "revoke", "alice", "--file", path)
    assert refused.exit_code == 1
    assert "It has: bob" in refused.stderr


def test_an_entry_that_cannot_be_cut_out_is_left_to_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(f'keys = {{ alice = {{ sha256 = "{"0" * 64}" }} }}\n')
    with pytest.raises(InputError, match="in a way of its own"):
        remove_key(path, "alice")
    assert [key.name for key in read_keys(path)] == ["alice"]


def test_two_who_write_at_once_do_not_lose_a_key(tmp_path: Path) -> None:
    path = keys_file(tmp_path / "keys.toml", alice="")
    (tmp_path / "keys.toml.new").touch()  # somebody is at it
    with pytest.raises(InputError, match="being changed"):
        add_key(path, ApiKey("bob", digest(new_key())))
    (tmp_path / "keys.toml.new").unlink()
    with pytest.raises(InputError, match="'alice'"):
        add_key(path, ApiKey("alice", digest(new_key())))
    with pytest.raises(InputError, match="no name"):
        add_key(path, ApiKey("al ice", digest(new_key())))
    assert [found.name for found in tmp_path.iterdir()] == ["keys.toml"]


SECRET = "hunter2-hunter2"


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("[keys.alice\n", "line 1"),
        (f'[keys.alice]\nsha256 = "{"0" * 64}"\n[keys.alice]\n', "line 3"),
        (f'# a\n\n[keys.alice]\nsha256 = "{"0" * 64}"\nseat = 3\n', "line 3, key 'alice': unknown field 'seat'"),
        (f'[keys.alice]\nsha256 = "{SECRET}"\n', "line 1, key 'alice': sha256 must be"),
        ("[keys.alice]\nseats = 1\n", "sha256 must be"),
        (f'[keys.alice]\nsha256 = "{"0" * 64}"\nexpires = "2027-01-01"\n', "must be a date"),
        (f'[keys.alice]\nsha256 = "{"0" * 64}"\nexpires = 2027-01-01T00:00:00\n', "must be a date"),
        (f'[keys.alice]\nsha256 = "{"0" * 64}"\nrights = ["all"]\n', "rights must be"),
        (f'[keys.alice]\nsha256 = "{"0" * 64}"\nrights = []\n', "rights must be"),
        (f'[keys.alice]\nsha256 = "{"0" * 64}"\nseats = true\n', "seats must be"),
        (f'[keys.alice]\nsha256 = "{"0" * 64}"\nrequests_per_minute = 0\n', "requests_per_minute must be"),
        (f'[keys.alice]\nsha256 = "{"0" * 64}"\n[keys.bob]\nsha256 = "{"0" * 64}"\n', "the same key"),
        (f'[keys."al ice"]\nsha256 = "{"0" * 64}"\n', "a name is"),
        ("[key.alice]\n", "'key' at its top"),
        ("keys = 3\n", "no table"),
        ("[keys]\nalice = 3\n", "it is no table"),
        ("", "holds no key"),
        ("# nobody\n", "holds no key"),
    ],
)
def test_a_mistake_in_the_file_is_named_and_no_value_repeated(tmp_path: Path, text: str, because: str) -> None:
    path = tmp_path / "keys.toml"
    path.write_text(text)
    with pytest.raises(InputError) as found:
        read_keys(path)
    assert because in str(found.value)
    assert "keys.toml" in str(found.value)
    assert SECRET not in str(found.value)


def test_a_file_that_everybody_can_read_or_that_is_no_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = keys_file(tmp_path / "keys.toml", alice="")
    path.chmod(0o644)
    assert len(read_keys(path)) == 1
    assert "chmod 600" in caplog.text
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read"):
        read_keys(path)


@pytest.mark.parametrize("value", [" , ", "", ",,"])
def test_a_list_of_keys_that_holds_none_opens_no_server(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """MMPIPE_API_KEYS=" , " left the server open to everybody."""
    monkeypatch.setenv("MMPIPE_API_KEYS", value)
    with pytest.raises(InputError, match="holds no API key"):
        read_api_keys()
    refused = mmpipe("serve", MMPIPE_API_KEYS=value)
    assert refused.exit_code == 1
    assert "holds no API key" in refused.stderr


def test_keys_that_have_all_expired_are_warned_about_and_let_nobody_in(
    rig: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = keys_file(tmp_path / "keys.toml", alice="expires = 2020-01-31")
    access = Access(ServeOptions(keys_file=path), rig.clock, AuditLog(), lambda: date(2020, 2, 1))
    assert "every API key has expired" in caplog.text
    with pytest.raises(RefusedError, match="expired"):
        access.check("key of alice", None, "live")
    with pytest.raises(RefusedError, match="missing"):
        access.check(None, None, "live")
    last_day = Access(ServeOptions(keys_file=path), rig.clock, AuditLog(), lambda: date(2020, 1, 31))
    assert last_day.check("key of alice", None, "live") is not None


def test_plain_keys_have_names_all_rights_and_keep_their_names() -> None:
    ring = Access(ServeOptions(api_keys=("b", "a")), Any, AuditLog()).ring  # type: ignore[arg-type]
    assert [(key.name, ring.find(text) is key) for key, text in zip(ring.keys, "ba", strict=True)] == [
        ("key-1", True),
        ("key-2", True),
    ]
    again = [Access(ServeOptions(api_keys=frozenset("abc")), Any, AuditLog()).ring.keys for _ in range(2)]  # type: ignore[arg-type]
    assert again[0] == again[1]


# --- what a key may do ---


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer key of {name}"}


def test_a_key_in_the_handshake_is_looked_at_before_anything_is_accepted(rig: Any, tmp_path: Path) -> None:
    path = keys_file(tmp_path / "keys.toml", alice="", old="expires = 2020-01-01", page='rights = ["metrics"]')

    async def denied(app: Any, name: str) -> tuple[int | None, str]:
        wire = rig.wire(app, bearer(name))
        assert await wire.hear() is None
        assert wire.closed_with is None  # it was never open
        return wire.denied_with, wire.denial["text"]

    async def talk() -> None:
        app, manager = rig.app(keys_file=path)
        assert (await denied(app, "mallory"))[0] == 401
        status, text = await denied(app, "old")
        assert status == 401
        assert "expired" in text
        status, text = await denied(app, "page")
        assert status == 403
        assert "'live'" in text
        assert manager.connections == 0
        wire = rig.wire(app, bearer("alice"))
        assert (await wire.start())["type"] == "started"
        assert next(iter(manager.sessions.values())).caller.name == "alice"
        wire.vanish(1000)
        await wire.task
        assert 'mmpipe_refused_total{why="no_right"} 1.0' in manager.metrics.render().decode()
        assert not manager.keys.allow("key of old")
        assert not manager.keys.allow(None)
        assert manager.keys.allow("key of page")

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_key_has_its_seats_and_leaves_the_others(rig: Any, tmp_path: Path, settle: Callable[..., Any]) -> None:
    """One key could take every seat of the server."""
    path = keys_file(tmp_path / "keys.toml", alice="seats = 2", bob="", carol="")

    async def talk() -> None:
        app, manager = rig.app(keys_file=path, max_sessions=6)
        alice = [rig.wire(app, bearer("alice")) for _ in range(3)]
        answers = [await wire.start() for wire in alice]
        assert [answer["type"] for answer in answers] == ["started", "started", "error"]
        assert answers[2]["code"] == "busy"
        assert "'alice' has all its 2 sessions" in answers[2]["text"]
        assert answers[2]["retry_after_s"] > 0
        bob = [rig.wire(app) for _ in range(4)]
        answers = [await wire.start(api_key="key of bob") for wire in bob]
        assert [answer["type"] for answer in answers] == ["started"] * 3 + ["error"]  # no number: half of them
        alice[0].vanish(1000)
        await settle(lambda: manager.live_sessions == 4)
        again = rig.wire(app, bearer("alice"))
        assert (await again.start())["type"] == "started"
        for wire in (*alice, *bob, again):
            wire.vanish(1000)
            await wire.task

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_key_begins_only_so_many_sessions_a_minute(rig: Any, tmp_path: Path) -> None:
    path = keys_file(tmp_path / "keys.toml", alice="requests_per_minute = 2")

    async def begin(app: Any) -> dict[str, Any]:
        wire = rig.wire(app, bearer("alice"))
        answer = await wire.start()
        wire.vanish(1000)
        await wire.task
        return dict(answer)

    async def talk() -> None:
        app, _ = rig.app(keys_file=path)
        answers = [await begin(app) for _ in range(3)]
        assert [answer["type"] for answer in answers] == ["started", "started", "error"]
        assert answers[2]["code"] == "busy"
        assert answers[2]["retry_after_s"] == pytest.approx(30)
        rig.clock.time_s += 30
        assert (await begin(app))["type"] == "started"

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_a_session_is_resumed_with_its_own_key_alone(rig: Any, tmp_path: Path) -> None:
    path = keys_file(tmp_path / "keys.toml", alice="", bob="")

    async def talk() -> None:
        app, _ = rig.app(keys_file=path)
        wire = rig.wire(app, bearer("alice"))
        started = await wire.start()
        wire.say(rig.packets(rig.spell([1]))[0])
        wire.say({"type": "ping"})
        await wire.until("pong")
        wire.vanish()
        await wire.task
        thief = rig.wire(app, bearer("bob"))
        assert (await thief.resume(started, 0))["code"] == "unknown_session"
        owner = rig.wire(app, bearer("alice"))
        assert (await owner.resume(started, 0))["type"] == "started"
        owner.vanish(1000)
        await owner.task

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_sessions_of_a_key_that_was_revoked_or_has_expired_end_with_a_reason(rig: Any, tmp_path: Path) -> None:
    path = keys_file(tmp_path / "keys.toml", alice="", bob="expires = 2026-05-01", carol="")
    today = date(2026, 5, 1)

    async def talk() -> None:
        nonlocal today
        manager = SessionManager(rig.models, ServeOptions(keys_file=path), rig.clock, today=lambda: today)
        manager.unready = None
        app = rig.app_of(manager)
        wires = {}
        for name in ("alice", "bob", "carol"):
            wires[name] = rig.wire(app, bearer(name))
            await wires[name].start()
            for packet in rig.packets(rig.spell([1, 2])):
                wires[name].say(packet)
            wires[name].say({"type": "ping"})
        heard = {name: await wire.until("pong") for name, wire in wires.items()}
        remove_key(path, "alice")
        await manager.sweep()
        assert manager.live_sessions == 3  # a file that was not read again changes nothing
        manager.reload()
        today = date(2026, 5, 2)
        await manager.sweep()
        for name, why in (("alice", "the API key is revoked"), ("bob", "the API key is expired")):
            messages = heard[name] + await wires[name].rest()
            assert messages[-1]["reason"] == why
            assert rig.committed(messages) == rig.text([1, 2])  # what was said is not lost
        wires["carol"].say({"type": "ping"})
        await wires["carol"].until("pong")
        wires["carol"].vanish(1000)
        await wires["carol"].task

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_where_the_last_key_was_revoked_nobody_gets_in(rig: Any, tmp_path: Path) -> None:
    path = keys_file(tmp_path / "keys.toml", alice="")
    manager = rig.manager(keys_file=path)
    assert manager.keys.check("key of alice", None, "live") is not None
    remove_key(path, "alice")
    manager.reload()
    for given in ("key of alice", None, ""):
        with pytest.raises(RefusedError):
            manager.keys.check(given, None, "live")
        assert not manager.keys.allow(given)


def test_hangup_reads_the_keys_again_and_a_broken_file_changes_nothing(
    rig: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, settle: Callable[..., Any]
) -> None:
    path = keys_file(tmp_path / "keys.toml", alice="")
    audit = tmp_path / "audit.jsonl"

    async def talk() -> None:
        manager = rig.manager(keys_file=path, audit_log=audit)
        sweeping = asyncio.create_task(manager.sweep_for_ever())
        await asyncio.sleep(0)
        add_key(path, ApiKey("bob", digest("key of bob")))
        audit.rename(tmp_path / "old.jsonl")  # as logrotate does
        os.kill(os.getpid(), signal.SIGHUP)
        await settle(lambda: len(manager.keys.ring) == 2)
        assert manager.keys.check("key of bob", None, "live").name == "bob"
        path.write_text("[keys.alice")
        os.kill(os.getpid(), signal.SIGHUP)
        await settle(lambda: "stay as they were" in caplog.text)
        assert manager.keys.check("key of bob", None, "live").name == "bob"
        sweeping.cancel()
        await asyncio.gather(sweeping, return_exceptions=True)
        manager.audit.close()

    asyncio.run(asyncio.wait_for(talk(), 60))
    assert "keys.reloaded" in audit.read_text()
    assert "keys.reload_failed" in audit.read_text()
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


# --- guesses and shares ---


def test_guessing_slows_down_and_a_right_key_from_elsewhere_is_not_hindered(rig: Any) -> None:
    access = Access(ServeOptions(api_keys=("open-sesame",)), rig.clock, AuditLog())

    def attempt(key: str, address: str = STRANGER) -> str:
        try:
            access.check(key, address, "live")
        except RefusedError as error:
            return error.why
        return "in"

    assert [attempt(f"guess {n}") for n in range(7)] == ["wrong"] * 6 + ["guessing"]
    assert attempt("open-sesame") == "guessing"  # from there not even the right one is looked at
    assert attempt("open-sesame", "198.51.100.1") == "in"
    waits = []
    for n in range(12):
        with pytest.raises(RefusedError) as found:
            access.check("another", STRANGER, "live")
        waits.append(found.value.retry_after_s)
        rig.clock.time_s += found.value.retry_after_s
        assert attempt(f"next {n}") == "wrong"
    assert waits[:4] == pytest.approx([1, 2, 4, 8])
    assert max(waits) == 300
    rig.clock.time_s += 300
    assert attempt("open-sesame") == "in"
    assert [attempt(None) for _ in range(20)] == ["missing"] * 20  # type: ignore[arg-type]  # is no guess


@pytest.mark.parametrize(
    ("address", "network", "loopback"),
    [
        ("127.0.0.9", "127.0.0.9", True),
        ("::1", "::/64", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("::ffff:203.0.113.7", STRANGER, False),
        ("2001:db8::5", "2001:db8::/64", False),
        ("fe80::1%eth0", "fe80::/64", False),
        (None, "unknown", False),
        ("somewhere", "somewhere", False),
    ],
)
def test_what_counts_as_one_address(address: str | None, network: str, loopback: bool) -> None:
    assert neighbourhood(address) == network
    assert is_loopback(address) is loopback


def test_without_keys_an_address_has_its_share_and_this_machine_is_exempt(rig: Any) -> None:
    """One address could take every seat of the server."""

    async def talk() -> None:
        app, _ = rig.app(max_sessions=8, max_sessions_per_address=2)
        wires = [rig.wire(app, address=STRANGER) for _ in range(3)]
        answers = [await wire.start() for wire in wires]
        assert [answer["type"] for answer in answers] == ["started", "started", "error"]
        assert answers[2]["code"] == "busy"
        assert "Your address has 2 sessions" in answers[2]["text"]
        others = [rig.wire(app, address="198.51.100.1"), *(rig.wire(app) for _ in range(4))]
        assert [(await wire.start())["type"] for wire in others] == ["started"] * 5
        for wire in (*wires, *others):
            wire.vanish(1000)
            await wire.task

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_silent_connections_lock_nobody_out(rig: Any, settle: Callable[..., Any]) -> None:
    """64 of them, from one address, did, for ten seconds each."""

    async def talk() -> None:
        app, manager = rig.app()
        silent = [rig.wire(app, address=f"203.0.113.{n % 8}") for n in range(80)]
        await settle(lambda: manager.connections == 64)
        async with asyncio.timeout(1):
            client = rig.wire(app, address="198.51.100.1")
            assert (await client.start())["type"] == "started"
        assert manager.connections == 63  # and each newcomer cost one of those who have most
        many = [rig.wire(app, address="192.0.2.1") for _ in range(40)]
        await settle(lambda: sum(wire.task.done() for wire in many) >= 24)  # of one address, 16 at most
        assert manager.connections == 64
        for wire in (*silent, *many, client):
            wire.vanish(1000)
            await wire.task
        assert manager.connections == 0

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_who_shows_a_key_when_connecting_takes_no_room_from_strangers_nor_they_from_him(
    rig: Any, tmp_path: Path, settle: Callable[..., Any]
) -> None:
    path = keys_file(tmp_path / "keys.toml", alice="")

    async def talk() -> None:
        app, manager = rig.app(keys_file=path, max_connections=3, max_connections_per_address=2)
        known = [rig.wire(app, bearer("alice"), STRANGER) for _ in range(2)]
        await settle(lambda: manager.connections == 2)
        strangers = [rig.wire(app, address=f"192.0.2.{n}") for n in range(10)]
        await settle(lambda: sum(wire.task.done() for wire in strangers) == 7)
        assert manager.connections == 5
        assert not any(wire.task.done() for wire in known)
        third = rig.wire(app, bearer("alice"), "198.51.100.1")  # one too many of that key, from wherever
        await settle(lambda: known[0].task.done())
        for wire in (*known, *strangers, third):
            wire.vanish()
            await wire.task

    asyncio.run(asyncio.wait_for(talk(), 60))


def test_no_key_stands_in_any_log(rig: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    path, audit = keys_file(tmp_path / "keys.toml", alice="seats = 1"), tmp_path / "audit.jsonl"

    async def talk() -> None:
        app, manager = rig.app(keys_file=path, audit_log=audit)
        for headers, fields in (
            (bearer("alice"), {}),
            (bearer("mallory"), {}),
            ({}, {"api_key": "key of eve"}),
            ({}, {"api_key": "key of alice"}),
        ):
            wire = rig.wire(app, headers, STRANGER)
            await wire.start(**fields)
            wire.vanish(1000)
            await wire.task
        await manager.stop()
        manager.audit.close()
        assert "key of" not in (await rig.get(app, "/metrics"))[1]

    asyncio.run(asyncio.wait_for(talk(), 60))
    assert "key of" not in caplog.text
    assert "key of" not in audit.read_text()
    assert '"who": "alice"' in audit.read_text()
    assert repr(ApiKey("alice", digest("key of alice"))).count("sha") == 0
    assert Caller(ApiKey("alice", digest("x"))).name == "alice"
