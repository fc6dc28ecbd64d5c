"""Requests of :mod:`fuzzing.requests` to a real server, and what must not come of them."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from fuzzing.outcome import HANG_S, TOLERATED, Failure
from fuzzing.requests import Request
from fuzzing.watched import WatchedServer

#: A request that is whole is answered within this, nearly always; one that is not would never be.
PATIENCE_S = 0.25
#: Paths that are not Gradio's.
_OURS = ("/demo", "/health", "/ready", "/metrics", "/v1", "/openapi.json")
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})")


class Exchange:
    """One connection, on which everything is sent at once."""

    def __init__(self, server: WatchedServer, counts: Counter[str]) -> None:
        self._server, self._counts = server, counts

    def run(self, requests: Sequence[Request]) -> list[Failure]:
        """Send it, read what comes, and leave."""
        self._counts["requests"] += len(requests)
        answer = b""
        try:
            with self._server.connect() as connection:
                try:
                    connection.sendall(b"".join(request.encode() for request in requests))
                    connection.settimeout(PATIENCE_S)
                    until_s = time.monotonic() + HANG_S
                    while (chunk := connection.recv(1 << 16)) and time.monotonic() < until_s:
                        answer += chunk
                        if len(_STATUS.findall(answer)) >= len(requests) and len(chunk) < 1 << 16:
                            break
                except TimeoutError:
                    pass  # it waits for more, or goes on with what it streams: whether it hangs is looked at next
                except (BrokenPipeError, ConnectionResetError):
                    self._counts["cut off"] += 1
        except OSError as error:
            return (
                [] if not self._server.alive else [Failure("hang", f"{self._server.kind} takes nothing", repr(error))]
            )
        return list(self._judged(requests, answer))

    def _judged(self, requests: Sequence[Request], answer: bytes) -> Iterator[Failure]:
        statuses = [int(status) for status in _STATUS.findall(answer)]
        for n, status in enumerate(statuses):
            self._counts[f"HTTP {status // 100}xx"] += 1
            if status >= 500 and status not in (501, 503, 505):
                path = re.sub(r"[?=%].*", "", requests[min(n, len(requests) - 1)].path)[:60]
                kind = "internal error" if path.startswith(_OURS) else TOLERATED
                yield Failure(kind, f"HTTP {status} of {self._server.kind}: {path}", answer.decode("latin-1")[-400:])
