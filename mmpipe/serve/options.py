"""What the server may be told, and who may use it."""

from __future__ import annotations

import hashlib
import hmac
import os
from dataclasses import dataclass, field
from pathlib import Path

from mmpipe.errors import InputError
from mmpipe.serve.hosts import LOOPBACK, split_origin

API_KEYS_VARIABLE = "MMPIPE_API_KEYS"


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Limits and permissions of a server. All times in seconds.

    Raises:
        InputError: a limit that nothing could satisfy.
    """

    #: Who may use it; empty: everybody. See :func:`read_api_keys`.
    api_keys: frozenset[str] = field(default=frozenset(), repr=False)
    #: Web pages that may connect besides those of this machine, as "https://example.org"; "*": all.
    allowed_origins: tuple[str, ...] = ()
    #: (source, target) to translate and to speak once before the server says that it is ready.
    warm_up: tuple[tuple[str, str], ...] = ()
    #: Keep what was committed and translated, a file of JSON lines for each session, in this folder.
    transcripts: Path | None = None

    max_sessions: int = 16
    max_lag_s: float = 3.0  # of any session behind its speaker, beyond which no other is admitted
    #: From a session's wanting to be heard to the recogniser's answer, likewise. At 1.5 s, words are committed within
    #: 5 s at p95, at 1.3 s within 4.3 s (`mmpipe bench sessions`).
    max_response_s: float = 1.5
    max_connections: int = 64  # that have not begun a session, at a time

    max_message_bytes: int = 65_536
    max_messages_per_s: float = 100.0  # lasting; more for a moment
    max_ahead_s: float = 30.0  # sound may come this much faster than it is spoken
    max_session_s: float = 4 * 3600.0
    start_timeout_s: float = 10.0  # from the connection to its first message
    idle_s: float = 30.0  # without a message of the client
    grace_s: float = 60.0  # that a session lives on without its client
    drain_s: float = 5.0  # to finish what was said when the server ends a session
    close_timeout_s: float = 2.0  # for the last messages of a connection

    max_unsent_bytes: int = 2_000_000  # behind which a slow client is disconnected; it may resume
    replay_bytes: int = 8_000_000  # kept of a session for clients that come back

    def __post_init__(self) -> None:
        for name in ("max_sessions", "max_connections", "max_message_bytes", "max_messages_per_s", "replay_bytes"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} must be above 0, not {getattr(self, name)}.")
        if self.max_unsent_bytes >= self.replay_bytes:
            raise InputError("max_unsent_bytes must be below replay_bytes: what is unsent must be kept, too.")


class ApiKeys:
    """Compares in constant time, and holds no key in clear."""

    def __init__(self, keys: frozenset[str]) -> None:
        self._digests = [_digest(key) for key in keys]

    def allow(self, key: str | None) -> bool:
        if not self._digests:
            return True
        given = _digest(key or "")
        matches = [hmac.compare_digest(given, digest) for digest in self._digests]  # all of them, always
        return any(matches)


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def read_api_keys(path: Path | None = None) -> frozenset[str]:
    """Keys from the environment variable MMPIPE_API_KEYS (separated by commas) and from ``path``, one a line.

    Raises:
        InputError: the file cannot be read, or holds no key.
    """
    keys = set(os.environ.get(API_KEYS_VARIABLE, "").split(","))
    if path is not None:
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"The file of API keys {str(path)!r} cannot be read: {error}.") from error
        found = {line.strip() for line in lines if not line.lstrip().startswith("#")} - {""}
        if not found:
            raise InputError(f"The file {str(path)!r} holds no API key: write one a line.")
        keys |= found
    return frozenset(key.strip() for key in keys) - {""}


def origin_allowed(origin: str | None, allowed: tuple[str, ...]) -> bool:
    """Whether a page of ``origin`` may connect. Programs other than browsers send none, and may.

    The Host header is not asked: a page could make its own name point to this machine.
    """
    if origin is None or "*" in allowed or origin in allowed:
        return True
    found = split_origin(origin)
    return found is not None and found[0] in LOOPBACK
