"""What the server may be told, and who may use it."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from mmpipe.errors import InputError

API_KEYS_VARIABLE = "MMPIPE_API_KEYS"


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Limits and permissions of a server. All times in seconds.

    Raises:
        InputError: a limit that nothing could satisfy.
    """

    #: Keys of those who may use it, in clear, with all rights; see :func:`read_api_keys`. Without these and a
    #: ``keys_file`` everybody may.
    api_keys: Collection[str] = field(default=(), repr=False)
    #: Keys with names, rights and limits (:mod:`mmpipe.serve.keys`), read again on SIGHUP.
    keys_file: Path | None = None
    #: Web pages that may connect besides those of this machine, as "https://example.org"; "*": all.
    allowed_origins: tuple[str, ...] = ()
    #: (source, target) to translate and to speak once before the server says that it is ready.
    warmup: tuple[tuple[str, str], ...] = ()
    #: Keep what was committed and translated, a file of JSON lines for each session, in this folder.
    transcripts: Path | None = None
    transcripts_key: Path | None = None  # encrypts them: a file of `mmpipe transcripts new-key`
    keep_days: float | None = None  # transcripts that have not changed for longer are removed
    audit_log: Path | None = None  # who did what: :mod:`mmpipe.serve.audit`

    max_sessions: int = 16
    #: Of one address, or one IPv6 network of 64 bits, where no keys are asked for. This machine is exempt.
    max_sessions_per_address: int = 4
    max_lag_s: float = 3.0  # of any session behind its speaker, beyond which no other is admitted
    #: From a session's wanting to be heard to the recognizer's answer, likewise. At 1.5 s, words are committed within
    #: 5 s at p95, at 1.3 s within 4.3 s (`mmpipe bench sessions`).
    max_response_s: float = 1.5
    max_connections: int = 64  # that have not begun a session, at a time, and showed no key when they connected
    max_connections_per_address: int = 16  # of those, of one address; likewise of one key, for those who showed it

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
    max_ended_sessions: int = 64  # kept for ``grace_s``, whose clients have not fetched all; the oldest go first
    max_ended_bytes: int = 64_000_000  # of those in all

    def __post_init__(self) -> None:
        for name in (
            *("max_sessions", "max_sessions_per_address", "max_connections", "max_connections_per_address"),
            *("max_message_bytes", "max_messages_per_s", "replay_bytes", "max_ended_sessions", "max_ended_bytes"),
        ):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} must be above 0, not {getattr(self, name)}.")
        if self.transcripts is None and (self.transcripts_key is not None or self.keep_days is not None):
            raise InputError("transcripts_key and keep_days are about transcripts: say where those are kept.")
        if self.keep_days is not None and self.keep_days <= 0:
            raise InputError(f"keep_days must be above 0, not {self.keep_days:g}.")
        if self.max_unsent_bytes >= self.replay_bytes:
            raise InputError("max_unsent_bytes must be below replay_bytes: what is unsent must be kept, too.")


def read_api_keys(path: Path | None = None) -> tuple[str, ...]:
    """Keys from the environment variable MMPIPE_API_KEYS (separated by commas) and from ``path``, one a line.

    Raises:
        InputError: the file cannot be read, or either is there and holds no key: nobody means everybody by that.
    """
    keys: list[str] = []
    if (value := os.environ.get(API_KEYS_VARIABLE)) is not None:
        keys = [key.strip() for key in value.split(",") if key.strip()]
        if not keys:
            raise InputError(
                f"{API_KEYS_VARIABLE} is set and holds no API key: unset it if everybody may use the server."
            )
    if path is not None:
        try:
            lines = path.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"The file of API keys {str(path)!r} cannot be read: {error}.") from error
        found = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
        if not found:
            raise InputError(f"The file {str(path)!r} holds no API key: write one a line.")
        keys += found
    return tuple(dict.fromkeys(keys))
