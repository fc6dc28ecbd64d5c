"""What the demo may be told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from mmpipe.errors import InputError

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
    #: Live sessions at the same time, of all visitors.
    max_sessions: int = 16

    def __post_init__(self) -> None:
        if not 0 <= self.port <= 65_535:
            raise InputError(f"There is no port {self.port}. Choose one from 1 to 65535.")
        for name in ("max_upload_mb", "max_sessions"):
            if getattr(self, name) <= 0:
                raise InputError(f"{name} must be above 0, not {getattr(self, name)}.")

    @property
    def loopback(self) -> bool:
        """Whether only programs of this machine can reach it."""
        return self.host in ("127.0.0.1", "localhost", "::1")

    @property
    def proxied(self) -> bool:
        """Whether visitors come by way of another address."""
        return self.share or bool(self.root_path)


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
