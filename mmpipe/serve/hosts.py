"""Names in requests: under which one the server is asked for, and which page asks.

A page can make its own name point to an address of this network (DNS rebinding). Then it is of the same origin as the
server, for the browser; only the Host header, which holds that name, tells. A name that is an address cannot do that.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from mmpipe.errors import InputError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(
    r"(?:\[(?P<v6>[0-9a-f:.]{2,45})\]|(?P<name>[a-z0-9_](?:[a-z0-9._-]{0,251}[a-z0-9_])?)\.?)(?::\d{1,5})?"
)


def split_host(value: str) -> str | None:
    """The host in a Host header, in small letters and without its port; None: it is not one."""
    found = _HOST.fullmatch(value.lower())
    if found is None:
        return None
    return _address(found["v6"]) if found["v6"] else found["name"]


def split_origin(origin: str) -> tuple[str, str] | None:
    """(host, what a Host header says for it) of an Origin header; None: it is not one, or says ``null``."""
    try:
        parts = urlsplit(origin)
    except ValueError:  # as http://[::1
        return None
    host = split_host(parts.netloc) if parts.scheme and not (parts.path or parts.query or parts.fragment) else None
    return (host, parts.netloc.lower()) if host is not None else None


def networks(addresses: Iterable[str]) -> tuple[Network, ...]:
    """
    Raises:
        InputError: one of ``addresses`` is neither an address nor a network.
    """
    found = []
    for address in addresses:
        try:
            found.append(ipaddress.ip_network(address))
        except ValueError as error:
            raise InputError(
                f"{address!r} is no address of a proxy: write it as 192.0.2.1, or a network as 192.0.2.0/24."
            ) from error
    return tuple(found)


def within(address: str | None, trusted: Sequence[Network]) -> bool:
    """Whether ``address`` is in one of ``trusted``."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    mapped = getattr(found, "ipv4_mapped", None)
    return any((mapped or found) in network for network in trusted)


def neighbourhood(address: str | None) -> str:
    """What counts as one sender: an address; of IPv6 its /64, of which anybody has all. None: not known."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return address or "unknown"
    if isinstance(found, ipaddress.IPv4Address):
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((int(found), 64), strict=False))


class Hosts:
    """Under which names a server may be asked for, and from pages of which origins.

    Args:
        bound: the address that it listens on.
        names: others it has; ``*``: any.
        origins: pages that may talk to it besides its own and, as ever, those of this machine; ``*``: all.
    """

    def __init__(self, bound: str, names: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        self._bound = bound.lower().strip("[]")
        self._names = {name if name == "*" else split_host(name) or name for name in names}
        self._origins = frozenset(origins)

    def add(self, name: str) -> None:
        """Another name. May be called from any thread."""
        self._names = self._names | {name}

    def allow(self, host: str) -> bool:
        """Whether a request with this Host header is for this server."""
        found = split_host(host)
        if found is None:
            return False
        if found in LOOPBACK or found == self._bound or found in self._names or "*" in self._names:
            return True
        return self._bound not in LOOPBACK and _address(found) is not None

    def allow_origin(self, origin: str | None, host: str) -> bool:
        """Whether a page of ``origin`` may talk to the server, which it asked for as ``host``.

        Programs other than browsers send none, and may.
        """
        if origin is None or "*" in self._origins or origin in self._origins:
            return True
        found = split_origin(origin)
        return found is not None and (found[0] in LOOPBACK or found[1] == host.lower())


def _address(text: str) -> str | None:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return None
