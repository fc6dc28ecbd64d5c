"""Whether a client may do what it asks for: its key, its rights, how often, and who guesses keys."""

from __future__ import annotations

import ipaddress
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Protocol

from mmpipe.batching import Clock
from mmpipe.errors import InputError
from mmpipe.serve.attempts import Attempts
from mmpipe.serve.audit import AuditLog
from mmpipe.serve.hosts import neighbourhood
from mmpipe.serve.keys import ApiKey, KeyRing, plain_keys, read_keys
from mmpipe.serve.options import ServeOptions
from mmpipe.serve.wire import Close, ProtocolError

logger = logging.getLogger(__name__)

RETRY_AFTER_S = 10.0
_BEARER = "bearer "


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    key: ApiKey | None = None  # None: no keys are wanted here
    address: str | None = None  # without the port; None: not known

    @property
    def name(self) -> str | None:
        return self.key.name if self.key else None


class RefusedError(ProtocolError):
    """A client may not. ``why``: a code, for metrics and the audit log. ``status``: what HTTP says of it."""

    def __init__(self, close: Close, message: str, why: str, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(close, message, retry_after_s)
        self.why = why
        self.status = status


class Access:
    """The keys of a server, and what was done with them lately.

    Raises:
        InputError: the file of keys has a mistake, or holds none.
    """

    def __init__(
        self,
        options: ServeOptions,
        clock: Clock,
        audit: AuditLog,
        today: Callable[[], date] = lambda: datetime.now(UTC).date(),
    ) -> None:
        self._options, self._audit, self._today = options, audit, today
        self._guesses = Attempts(clock=clock)
        self._rates = Rates(clock)
        self._wanted = bool(options.api_keys) or options.keys_file is not None
        self.ring = self._read()

    def _read(self, *, may_be_empty: bool = False) -> KeyRing:
        keys = plain_keys(self._options.api_keys)
        if self._options.keys_file is not None:
            keys += read_keys(self._options.keys_file, may_be_empty=may_be_empty)
        if self._wanted and all(key.expired(self._today()) for key in keys):
            logger.warning("every API key has expired, or there is none: nobody can use this server")
        return KeyRing(keys)

    def reload(self) -> None:
        """Read the file of keys again. One that has a mistake changes nothing."""
        if self._options.keys_file is None:
            return
        try:
            self.ring = self._read(may_be_empty=True)  # the last key was revoked: nobody, and not everybody
        except InputError as error:
            logger.error("the keys stay as they were: %s", error)
            self._audit.note("keys.reload_failed")
        else:
            logger.warning("%d keys were read anew", len(self.ring))
            self._audit.note("keys.reloaded", keys=len(self.ring))

    def check_header(self, header: str | None, address: str | None, right: str) -> ApiKey | None:
        """As :meth:`check`, for an ``Authorization`` header."""
        return self.check(bearer(header), address, right)

    def check(self, given: str | None, address: str | None, right: str) -> ApiKey | None:
        """The key that was ``given``; None where none is wanted.

        Raises:
            RefusedError: it is missing, wrong, expired, or not good for ``right``.
        """
        if not self._wanted:
            return None
        if given and (wait_s := self._guesses.begin(address)) > 0:
            text = f"Too many wrong API keys came from your address. Wait {wait_s:.0f} s."
            raise self._refused(Close.TOO_FAST, text, "guessing", 429, address, retry_after_s=wait_s)
        key = self.ring.find(given) if given else None
        if key is None:
            why = "wrong" if given else "missing"
            raise self._refused(Close.UNAUTHORISED, "The API key is missing or wrong.", why, 401, address)
        self._guesses.succeeded(address)
        if key.expired(self._today()):
            raise self._refused(Close.UNAUTHORISED, "The API key has expired.", "expired", 401, address, key)
        if right not in key.rights:
            text = f"The API key is not good for this: it lacks the right {right!r}."
            raise self._refused(Close.UNAUTHORISED, text, "no_right", 403, address, key)
        return key

    def allow(self, given: str | None, right: str = "metrics") -> bool:
        """Whether ``given`` is good for ``right``, without noting anything."""
        key = self.ring.find(given) if given else None
        return not self._wanted or (key is not None and right in key.rights and not key.expired(self._today()))

    def begin(self, caller: Caller) -> None:
        """Count a session, or another request, that ``caller`` begins.

        Raises:
            RefusedError: it has begun too many within a minute.
        """
        key = caller.key
        if key is None or key.requests_per_minute is None:
            return
        if (wait_s := self._rates.take(key.name, key.requests_per_minute)) > 0:
            raise RefusedError(
                Close.BUSY,
                f"The key {key.name!r} may begin {key.requests_per_minute} sessions or requests a minute.",
                "rate",
                429,
                wait_s,
            )

    def lost(self, key: ApiKey | None) -> str | None:
        """Why a session that ``key`` has begun may not go on: a code; None: it may."""
        if key is None:
            return None
        now = self.ring.find_digest(key.digest)
        if now is None or "live" not in now.rights:
            return "revoked"
        return "expired" if now.expired(self._today()) else None

    def seats(self, key: ApiKey) -> int:
        """Sessions at a time that ``key`` may have: as its entry says now, else all, but never all of several keys'."""
        now = self.ring.find_digest(key.digest) or key
        if now.seats is not None:
            return now.seats
        return self._options.max_sessions if len(self.ring) == 1 else max(1, self._options.max_sessions // 2)

    def _refused(
        self,
        close: Close,
        text: str,
        why: str,
        status: int,
        address: str | None,
        key: ApiKey | None = None,
        retry_after_s: float | None = None,
    ) -> RefusedError:
        self._audit.note("key.refused", who=key.name if key else None, address=address, why=why)
        return RefusedError(close, text, why, status, retry_after_s)


def bearer(header: str | None) -> str | None:
    """The key in an ``Authorization`` header; None: it holds none."""
    if header is None or not header.lower().startswith(_BEARER):
        return None
    return header[len(_BEARER) :].strip() or None


def is_loopback(address: str | None) -> bool:
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


class Rates:
    """How often something was begun lately, by name: a bucket for each that fills within a minute."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}  # what is left, when; as many as there are keys

    def take(self, name: str, per_minute: int) -> float:
        """Take one. Gives how long to wait, where there is none left; 0: it is taken."""
        now_s = self._clock.now_s()
        left, at_s = self._buckets.get(name, (float(per_minute), now_s))
        left = min(left + (now_s - at_s) * per_minute / 60, float(per_minute))
        taken = left >= 1
        self._buckets[name] = (left - taken, now_s)
        return 0.0 if taken else (1 - left) * 60 / per_minute


class Waiting(Protocol):
    """A connection that has not begun a session."""

    def leave(self, farewell: ProtocolError) -> None:
        """End the connection, soon."""


class WaitingRoom:
    """Connections that have not begun a session: so many in all, and from one address. Where one too many comes, the
    one that has been silent longest makes room; of the address that has most, where the room is full.
    """

    def __init__(self, most: int, most_of_one: int) -> None:
        self._most, self._most_of_one = most, most_of_one
        self._waiting: dict[Waiting, tuple[str, bool]] = {}  # oldest first

    def enter(self, who: Waiting, caller: Caller) -> None:
        """Clients that showed a key are counted by it, and take no room from strangers."""
        known = caller.key is not None
        group = f"key {caller.name}" if known else neighbourhood(caller.address)
        same = [other for other, (theirs, _) in self._waiting.items() if theirs == group]
        strangers = [theirs for theirs, key in self._waiting.values() if not key]
        if len(same) >= self._most_of_one and (known or not is_loopback(caller.address)):
            self._send_away(same[0])
        elif not known and len(strangers) >= self._most:
            ((largest, _),) = Counter(strangers).most_common(1)
            self._send_away(next(other for other, (theirs, _) in self._waiting.items() if theirs == largest))
        self._waiting[who] = (group, known)

    def leave(self, who: Waiting) -> None:
        self._waiting.pop(who, None)

    def _send_away(self, who: Waiting) -> None:
        self.leave(who)
        who.leave(ProtocolError(Close.BUSY, "Too many connections wait without a start message.", RETRY_AFTER_S))

    def __len__(self) -> int:
        return len(self._waiting)
