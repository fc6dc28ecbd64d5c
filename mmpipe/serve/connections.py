"""The open connections of a server: how many, of whom, and which of them have to go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from enum import Enum, auto
from typing import Protocol

from mmpipe.batching import Clock, MonotonicClock
from mmpipe.serve.hosts import neighbourhood, networks, within
from mmpipe.serve.network import NetworkOptions

#: For what is still unsent when a connection is closed, and for the rest of a body that nobody wants.
CLOSE_S = 5.0
#: What counts as reading: so much less is unread, or half of it.
_PROGRESS_BYTES = 4096


class Phase(Enum):
    """What a connection is waiting for."""

    REQUEST = auto()  # for a request to be there whole: of these, one can go at any time
    BODY = auto()  # for the rest of a body that is wanted
    REFUSED_BODY = auto()  # for the rest of a body that is not
    ANSWER = auto()  # for the application
    WEBSOCKET = auto()


class OpenConnection(Protocol):
    """What :class:`Connections` wants to know of one."""

    address: str
    requests: int  # that were answered
    received_bytes: int

    @property
    def phase(self) -> Phase: ...

    @property
    def reading(self) -> bool:
        """Whether it takes what the peer sends, rather than letting it wait."""

    @property
    def closing(self) -> bool: ...

    @property
    def unread_bytes(self) -> int:
        """What waits to be sent."""

    def abort(self) -> None: ...


class _Watch:
    """How long a connection has been as it is."""

    __slots__ = ("body_from_bytes", "body_from_s", "closing_s", "since_s", "state", "unread_bytes", "unread_s")

    def __init__(self, now_s: float) -> None:
        self.state: tuple[Phase, int] = (Phase.REQUEST, 0)
        self.since_s = self.body_from_s = self.unread_s = now_s
        self.body_from_bytes = self.unread_bytes = 0
        self.closing_s: float | None = None


class Connections:
    """Admits connections and ends those that take too long. Used on one event loop.

    Where there is no room, the oldest connection that has not asked for anything makes it, then the one that has been
    idle between requests: connections that are opened and left alone lock nobody out.

    Args:
        refused: told why a connection was refused, and its address.
    """

    def __init__(
        self,
        options: NetworkOptions,
        refused: Callable[[str, str], object] = lambda why, address: None,
        clock: Clock | None = None,
    ) -> None:
        self._options, self._refused, self._clock = options, refused, clock or MonotonicClock()
        self._limit = min(options.max_connections, _descriptors() // 2)
        self._proxies = networks(options.trusted_proxies)
        self._open: dict[OpenConnection, _Watch] = {}
        self._of_address: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._open)

    def admit(self, connection: OpenConnection) -> bool:
        """Whether ``connection`` may stay; it is to be :meth:`release`d then."""
        key = neighbourhood(connection.address)
        if self._of_address[key] >= self._options.max_connections_per_address and not within(
            connection.address, self._proxies
        ):
            if not self._make_room(key):
                self._refused("too many connections of this address", connection.address)
                return False
        elif len(self._open) >= self._limit and not self._make_room(None):
            self._refused("too many connections", connection.address)
            return False
        self._open[connection] = _Watch(self._clock.now_s())
        self._of_address[key] += 1
        return True

    def release(self, connection: OpenConnection) -> None:
        """``connection`` is over. May be called twice."""
        if self._open.pop(connection, None) is not None:
            key = neighbourhood(connection.address)
            self._of_address[key] -= 1
            if not self._of_address[key]:
                del self._of_address[key]

    def sweep(self) -> None:
        """End what has taken too long. To be called about twice a second."""
        now_s = self._clock.now_s()
        for connection, watch in list(self._open.items()):
            if self._overdue(connection, watch, now_s):
                connection.abort()

    def _make_room(self, of: str | None) -> bool:
        idle: OpenConnection | None = None
        for connection in self._open:
            if connection.phase is Phase.REQUEST and (of is None or neighbourhood(connection.address) == of):
                if not connection.requests:
                    idle = connection
                    break
                idle = idle or connection
        if idle is None:
            return False
        idle.abort()
        self.release(idle)
        return True

    def _overdue(self, connection: OpenConnection, watch: _Watch, now_s: float) -> bool:
        options = self._options
        if connection.closing:
            watch.closing_s = now_s if watch.closing_s is None else watch.closing_s
            return now_s - watch.closing_s > CLOSE_S
        unread, most = connection.unread_bytes, watch.unread_bytes
        if not most or unread <= max(most // 2, most - _PROGRESS_BYTES):
            watch.unread_bytes, watch.unread_s = unread, now_s
        elif now_s - watch.unread_s > options.unread_timeout_s:
            return True
        else:
            watch.unread_bytes = max(most, unread)
        state = connection.phase, connection.requests
        if state != watch.state:
            watch.state, watch.since_s = state, now_s
            watch.body_from_s, watch.body_from_bytes = now_s, connection.received_bytes
        match state[0]:
            case Phase.REQUEST:
                return now_s - watch.since_s > options.request_timeout_s
            case Phase.REFUSED_BODY:
                return now_s - watch.since_s > CLOSE_S
            case Phase.BODY:
                return self._too_slow(connection, watch, now_s)
        return False

    def _too_slow(self, connection: OpenConnection, watch: _Watch, now_s: float) -> bool:
        options = self._options
        if connection.reading and now_s - watch.body_from_s <= options.body_window_s:
            return False
        came = connection.received_bytes - watch.body_from_bytes
        watch.body_from_s, watch.body_from_bytes = now_s, connection.received_bytes
        return connection.reading and came < options.min_body_bytes_per_s * options.body_window_s


def _descriptors() -> int:
    """How many files and connections this process may have open."""
    try:
        import resource
    except ImportError:  # Windows
        return 2**31
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return 2**31 if soft == resource.RLIM_INFINITY else soft
