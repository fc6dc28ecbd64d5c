"""What the demo may be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mmpipe.errors import InputError
from mmpipe.serve.hosts import LOOPBACK, Hosts, split_origin
from mmpipe.serve.network import NetworkOptions

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 7860


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Where and for whom the page is served.

    Raises:
        InputError: a limit that nothing could satisfy.
    """

    host: str = DEFAULT_HOST
    port: int = DEFAULT_PORT
    #: Also under a public address, through a tunnel of Gradio's: what visitors send then leaves the machine.
    share: bool = False
    #: (user, password) of those who may come in; empty: everybody who reaches the address.
    auth: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    #: Where a proxy shows the page to the world, as "/demo" or "https://example.org/demo".
    root_path: str = ""
    max_upload_mb: int = 200
    #: Of all visitors together: what they sent, and what was made of it.
    max_stored_mb: int = 10_000
    #: What visitors asked for and is not begun yet, of all together. Beyond, they are told to try again.
    max_queued: int = 100
    #: Live sessions at the same time, of all visitors.
    max_sessions: int = 16
    network: NetworkOptions = field(default_factory=NetworkOptions)

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise InputError(f"There is no port {self.port}. Choose one from 1 to 65535.")
        for name in ("max_upload_mb", "max_queued", "max_sessions"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} must be above 0, not {getattr(self, name)}.")
        if self.max_stored_mb < self.max_upload_mb:
            raise InputError(f"max_stored_mb must be at least max_upload_mb, which is {self.max_upload_mb}.")
        if self.share and self.network.tls:
            raise InputError("--share has a certificate of its own: leave out --tls-cert and --tls-key.")
        if self.public_origin and split_origin(self.public_origin) is None:
            raise InputError(f"{self.root_path!r} is no address: write /demo, or https://example.org/demo.")

    @property
    def loopback(self) -> bool:
        """Whether only programs of this machine can reach it."""
        return self.host in LOOPBACK

    @property
    def public_origin(self) -> str:
        """What browsers call the page behind a proxy, as "https://example.org"; "": the proxy tells."""
        scheme, found, rest = self.root_path.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}" if found else ""

    def hosts(self) -> Hosts:
        """Under which names the page may be asked for."""
        hosts = Hosts(self.host, self.network.allowed_hosts, [self.public_origin] if self.public_origin else [])
        if public := split_origin(self.public_origin):
            hosts.add(public[0])
        return hosts


def read_auth(given: str) -> tuple[tuple[str, str], ...]:
    """Who may come in: "user:password", or the path of a file with one such line for each.

    Raises:
        InputError: it is neither, or the file holds nobody.
    """
    path = Path(given)
    if not path.is_file():
        if ":" not in given:
            raise InputError(f"--auth wants user:password, or a file with such lines; {given!r} is neither.")
        return (_pair(given),)
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The file {given!r} cannot be read: {error}.") from error
    found = tuple(_pair(line.strip()) for line in lines if line.strip() and not line.lstrip().startswith("#"))
    if not found:
        raise InputError(f"The file {given!r} names nobody: write user:password on a line.")
    return found


def _pair(line: str) -> tuple[str, str]:
    user, _, password = line.partition(":")
    if not user or not password:
        raise InputError("Who may come in is written as user:password, both not empty.")
    return user, password
