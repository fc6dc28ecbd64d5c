"""What the units and docs/deployment.md tell people to run is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer.main

from mmpipe.cli import app

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "deployment.md").read_text("utf-8")
UNITS = sorted((ROOT / "configs" / "systemd").glob("*.service"))


def options(*command: str) -> set[str]:
    """All that a command takes."""
    found = typer.main.get_command(app)
    for name in command:
        found = found.commands[name]  # type: ignore[attr-defined]
    return {option for parameter in found.params for option in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_starts_a_command_with_options_that_it_has(unit: Path) -> None:
    text = unit.read_text("utf-8").replace("\\\n", " ")
    (start,) = re.findall(r"^ExecStart=/opt/mmpipe/bin/mmpipe (\w+) (.*)$", text, re.MULTILINE)
    given = set(re.findall(r"--[\w-]+", start[1]))
    assert given <= options(start[0])
    assert {"--audit-log", "--host"} <= given
    assert {"--keys", "--auth"} & given, "nobody without a key or a login"
    for line in ("NoNewPrivileges=yes", "CapabilityBoundingSet=", "ProtectSystem=strict", "LimitCORE=0"):
        assert f"\n{line}\n" in text


def test_every_option_of_a_command_in_the_page_is_one() -> None:
    shown = [line for block in re.findall(r"```console\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]
    shown += re.findall(r"`(mmpipe [^`]+)`", PAGE.replace("\n", " "))
    checked = 0
    for line in shown:
        if not (match := re.search(r"(?:^\$ |^|/bin/)mmpipe ((?:keys |transcripts |bench )?[a-z-]+)(.*)", line)):
            continue
        given = set(re.findall(r"(?<=\s)--[a-z][\w-]*", match[2].partition("#")[0]))
        assert given <= options(*match[1].split()), line
        checked += bool(given)
    assert checked > 5
    every = options("serve") | options("demo") | {"--resume"}
    for option in re.findall(r"`(--[a-z][\w-]*)", PAGE):
        assert option in every, option


def test_the_limits_in_the_page_are_those_of_the_options() -> None:
    from mmpipe.demo import DemoOptions
    from mmpipe.serve import NetworkOptions, ServeOptions

    known = {name for kind in (ServeOptions, NetworkOptions, DemoOptions) for name in kind.__dataclass_fields__}
    limits = PAGE.partition("\n## Limits\n")[2].partition("\n## ")[0]
    named = set(re.findall(r"`((?:max|min|request|replay|unread|body)_\w+)`", limits))
    assert named and named <= known
    serve, network, demo = ServeOptions(), NetworkOptions(), DemoOptions()
    assert (serve.max_sessions, serve.max_sessions_per_address, serve.max_session_s) == (16, 4, 4 * 3600)
    assert (serve.replay_bytes, serve.max_unsent_bytes) == (8_000_000, 2_000_000)
    assert (serve.max_ended_sessions, serve.max_ended_bytes) == (64, 64_000_000)
    assert (serve.max_connections, serve.max_connections_per_address) == (64, 16)
    assert (serve.max_message_bytes, serve.max_messages_per_s, serve.max_ahead_s) == (65_536, 100, 30)
    assert (network.max_connections, network.max_connections_per_address) == (512, 64)
    assert (network.request_timeout_s, network.max_body_bytes, network.max_fragments) == (10, 1_000_000, 64)
    assert (network.min_body_bytes_per_s, network.body_window_s) == (1024, 20)
    assert (demo.max_upload_mb, demo.max_stored_mb, demo.max_queued) == (200, 10_000, 100)
