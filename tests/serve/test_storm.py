"""Fifty clients a second come and go, for a minute: nothing of them stays.

By default they come as fast as the machine takes them. ``MMPIPE_TEST_PACED=1 pytest tests/serve/test_storm.py`` lets
them come at the pace of a minute.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import threading
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from mmpipe.batching import MonotonicClock
from mmpipe.serve.server import Server

PACED = os.environ.get("MMPIPE_TEST_PACED") == "1"
SECONDS, A_SECOND = 60, 50


async def come_and_go(url: str, n: int, packet: bytes) -> None:
    """By turns: without a word, in the middle of the start, with a goodbye, in the middle of a word."""
    from websockets.asyncio.client import connect

    connection = await connect(url)
    if n % 4:
        await connection.send('{"type": "start", "source": "en", "to": "pt"}')
    if n % 4 >= 2:
        assert json.loads(await connection.recv())["type"] == "started"
    if n % 4 == 3:
        await connection.send(packet)
    if n % 4 == 2:
        await connection.close()
    else:
        connection.transport.abort()


def test_fifty_connects_and_disconnects_a_second_for_a_minute_leave_nothing(
    rig: Any, settle: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    packet = rig.packets(rig.spell([1]))[0]
    kept: list[tuple[int, int, int]] = []  # objects, threads, bytes resident, as time goes on

    async def storm() -> None:
        manager = rig.manager(
            MonotonicClock(), max_sessions=SECONDS * A_SECOND, max_connections=4 * A_SECOND, grace_s=0.0
        )
        server = Server(manager, port=0)
        serve = asyncio.create_task(server.serve())
        await settle(lambda: server.started)
        url = f"ws://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1/live"
        tasks = len(asyncio.all_tasks())
        for second in range(SECONDS):
            pause = asyncio.create_task(asyncio.sleep(1.0 if PACED else 0.0))
            await asyncio.gather(*(come_and_go(url, n, packet) for n in range(A_SECOND)))
            await pause
            if second % 20 == 19:
                while manager.sessions or manager.connections:  # those who left last
                    await manager.sweep()
                    await asyncio.sleep(0.005)
                await settle(lambda: len(asyncio.all_tasks()) <= tasks)
                gc.collect()
                kept.append((len(gc.get_objects()), threading.active_count(), psutil.Process().memory_info().rss))
        figures = manager.metrics.render().decode()
        assert "mmpipe_connections 0.0" in figures
        (started,) = re.findall(r"mmpipe_sessions_started_total (\d+)", figures)
        assert SECONDS * A_SECOND / 2 <= int(started) <= SECONDS * A_SECOND * 3 / 4
        server.should_exit = True
        await asyncio.wait_for(serve, 20)

    asyncio.run(storm())
    (objects, threads, resident), (objects_later, threads_later, resident_later) = kept[0], kept[-1]
    assert objects_later - objects < 500  # of 2000 connections
    assert threads_later <= threads
    assert resident_later < 1.05 * resident
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]
