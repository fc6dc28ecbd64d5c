"""Conversations of :mod:`fuzzing.conversations` with a real server, and what must not come of them."""

from __future__ import annotations

import json
import struct
from collections import Counter
from collections.abc import Sequence
from typing import Any

from fuzzing.conversations import CONNECTIONS, Act
from fuzzing.frames import Client, frame
from fuzzing.outcome import Failure
from fuzzing.watched import WatchedServer

TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9


class Conversation:
    """Three connections at most, each opened when it is first spoken on."""

    def __init__(self, server: WatchedServer, counts: Counter[str]) -> None:
        self._server, self._counts = server, counts
        self._clients: list[Client | None] = [None] * CONNECTIONS
        self._packets = [0] * CONNECTIONS
        self._all: list[Client] = []
        self._sessions: dict[int, dict[str, Any]] = {}  # by connection: the last that began there

    def run(self, acts: Sequence[Act]) -> list[Failure]:
        """Say everything, listen to what comes of it, and leave."""
        try:
            for number, verb, what in acts:
                self._act(number, verb, what)
            for client in self._all:
                if client.clean and not client.answers():
                    return [Failure("hang", "a ping is not answered", repr(client.messages[-3:])[:500])]
                client.read(timeout_s=0 if client.clean else 0.03)
        except TimeoutError as error:
            return [Failure("hang", "the server takes or answers nothing", repr(error))]
        except OSError as error:  # the log has more, or the process has ended
            return [] if not self._server.alive else [Failure("hang", "the server cannot be reached", repr(error))]
        finally:
            self._count()
            for client in self._all:
                client.abort()
        return [failure for client in self._all for failure in _faults(client)]

    def _act(self, number: int, verb: str, what: Any) -> None:
        self._counts["messages"] += 1
        client = self._clients[number]
        if client is None or (client.gone and verb in ("json", "resume", "open")):
            client = self._clients[number] = Client(self._server.connect(), what if verb == "open" else {})
            self._all.append(client)
            self._packets[number] = 0
        match verb:
            case "open":
                pass
            case "json" | "control":
                self._say(client, what)
                if what.get("type") == "start":
                    client.read(timeout_s=1, until=lambda: client.started or client.close_code is not None)
                    if client.started:
                        self._sessions[number] = client.started
            case "text":
                client.send(frame(TEXT, what.encode("utf-8", "surrogatepass")))
            case "raw text":
                client.send(frame(TEXT, what))
            case "packet" | "binary":
                client.send(frame(BINARY, what))
            case "packets in order":
                count, step, payload = what
                for _ in range(count):
                    seq = self._packets[number]
                    client.send(frame(BINARY, struct.pack("<II", seq, seq * step % 2**32) + payload))
                    self._packets[number] += 1
                self._counts["messages"] += count - 1
            case "flood":
                count, control = what
                client.send(frame(TEXT, json.dumps(control).encode()) * count)  # the same again: counted once
            case "resume":
                self._resume(client, **what)
            case "frame":
                client.clean = False
                client.send(frame(**what))
            case "fragments":
                opcode, count, piece = what
                client.clean = False
                first, rest = frame(opcode, piece, fin=False), frame(0, piece, fin=False)
                client.send(first + rest * (count - 1) + frame(0, b""))
            case "pings":
                count, payload = what
                client.clean &= len(payload) < 126 and count < 50
                client.send(frame(PING, payload) * count)
            case "half":
                whole = frame(**what)
                client.clean = False
                client.send(whole[: len(whole) // 2])
            case "close":
                code, reason = what
                client.clean = False
                client.send(frame(CLOSE, struct.pack(">H", code) + reason))
            case "wait":
                client.read(timeout_s=0.02)
            case "abort":
                client.abort()
            case "shut":
                client.shut()
            case _:
                raise AssertionError(verb)

    def _resume(self, client: Client, of: int, token: str, last_event: Any) -> None:
        session = self._sessions.get(of, {"session": "0" * 8, "token": "x"})
        given = session["token"] if token == "right" else token
        message = {"type": "resume", "session": session["session"], "token": given, "last_event": last_event}
        self._say(client, message)
        before = len(client.messages)
        client.read(timeout_s=0.2, until=lambda: len(client.messages) > before or client.close_code is not None)
        if token == "right" and client.started:
            self._counts["resumed"] += 1
            self._packets[self._clients.index(client)] = client.started["next_packet"]

    def _say(self, client: Client, message: Any) -> None:
        client.send(frame(TEXT, json.dumps(message, default=str).encode("utf-8", "surrogatepass")))

    def _count(self) -> None:
        self._counts["connections"] += len(self._all)
        for client in self._all:
            self._counts["sessions"] += client.started is not None
            if client.close_code is not None:
                self._counts[f"closed with {client.close_code}"] += 1
            if client.status is not None:
                self._counts[f"HTTP {client.status}"] += 1


def _faults(client: Client) -> list[Failure]:
    found = []
    if client.status is not None and client.status >= 500:
        found.append(Failure("internal error", f"HTTP {client.status}, WebSocket"))
    if client.close_code in (1011, 4500) or any(message.get("code") == "failed" for message in client.messages):
        found.append(Failure("internal error", f"closed with {client.close_code}", repr(client.messages[-2:])[:500]))
    return found
