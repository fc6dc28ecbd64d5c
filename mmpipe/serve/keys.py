"""Keys with names: who may use the server, for what, how much of it, and until when. The file holds no key itself.

::

    [keys.alice]
    sha256 = "6ff0..."              # of the key: `mmpipe keys new alice` makes both
    expires = 2027-12-31            # the last day on which it is good, in UTC; left out: for ever
    rights = ["live", "metrics"]    # left out: all of them
    seats = 4                       # sessions at a time
    requests_per_minute = 30        # sessions begun, and other requests
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import re
import secrets
import tomllib
from collections.abc import Collection, Iterable, Mapping, Set
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Any

from mmpipe.errors import InputError
from mmpipe.files import writing

logger = logging.getLogger(__name__)

#: What a key may be good for. Nothing of ``mmpipe serve`` asks for "recordings" and "questions" yet.
RIGHTS = ("live", "recordings", "questions", "metrics")
#: So that a key is recognized as one where it should not be: in a log, in a repository.
PREFIX = "mmp_"
KEY_BYTES = 32
_FIELDS = ("sha256", "expires", "rights", "seats", "requests_per_minute")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """What is known of a key. Limits that are None are the server's own."""

    name: str
    digest: bytes = field(repr=False)  # SHA-256 of the key
    rights: frozenset[str] = frozenset(RIGHTS)
    seats: int | None = None
    requests_per_minute: int | None = None
    expires: date | None = None  # the last day on which it is good

    def expired(self, today: date) -> bool:
        return self.expires is not None and today > self.expires


class KeyRing:
    """Keys, found in constant time.

    Raises:
        InputError: two have one name, or are one key.
    """

    def __init__(self, keys: Iterable[ApiKey] = ()) -> None:
        self.keys = tuple(keys)
        names: dict[str, ApiKey] = {}
        digests: dict[bytes, ApiKey] = {}
        for key in self.keys:
            if key.name in names:
                raise InputError(f"Two keys have the name {key.name!r}: names say who did what.")
            if (other := digests.get(key.digest)) is not None:
                raise InputError(f"{other.name!r} and {key.name!r} are the same key: give each a key of its own.")
            names[key.name] = digests[key.digest] = key

    def find(self, given: str) -> ApiKey | None:
        """The key that was ``given`` in clear, whether it has expired or not."""
        return self.find_digest(digest(given))

    def find_digest(self, wanted: bytes) -> ApiKey | None:
        found = None
        for key in self.keys:  # all of them, always
            if hmac.compare_digest(wanted, key.digest):
                found = key
        return found

    def __len__(self) -> int:
        return len(self.keys)


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def plain_keys(keys: Collection[str]) -> list[ApiKey]:
    """Keys of a plain list: ``key-1`` and so on, with all rights."""
    if isinstance(keys, Set):
        keys = sorted(keys)  # so that a key has one name, however often the server is started
    return [ApiKey(f"key-{n}", digest(key)) for n, key in enumerate(keys, 1)]


# --- the file ---


def read_keys(path: Path, *, may_be_empty: bool = False) -> list[ApiKey]:
    """The keys of a file.

    Raises:
        InputError: it cannot be read, holds no key, or has a mistake, which is named with its line.
    """
    keys = _parse(_read(path), path)
    if not (keys or may_be_empty):
        raise InputError(
            f"The file of keys {str(path)!r} holds no key: make one with `mmpipe keys new NAME --file {path}`."
        )
    if os.name == "posix" and path.stat().st_mode & 0o026:
        logger.warning("others on this machine can read or change %s: chmod 600 it", path)
    return keys


def add_key(path: Path, key: ApiKey) -> None:
    """Append ``key`` to the file, which is made if there is none, for its owner's eyes alone.

    Raises:
        InputError: the name is taken or is none, or the file has a mistake.
        OutputError: it cannot be written.
    """
    if not _NAME.fullmatch(key.name):
        raise InputError(f"{key.name!r} is no name for a key: 1 to 64 letters, digits, '-' and '_'.")
    with _Replacing(path) as file:
        KeyRing([*_parse(file.text, path), key])
        lines = [f"[keys.{key.name}]", f'sha256 = "{key.digest.hex()}"']
        if key.expires is not None:
            lines.append(f"expires = {key.expires.isoformat()}")
        rights = ", ".join(f'"{right}"' for right in RIGHTS if right in key.rights)
        lines.append(f"rights = [{rights}]")
        if key.seats is not None:
            lines.append(f"seats = {key.seats}")
        if key.requests_per_minute is not None:
            lines.append(f"requests_per_minute = {key.requests_per_minute}")
        before = file.text.rstrip("\n")
        file.replace_with((before + "\n\n" if before else "") + "\n".join(lines) + "\n")


def remove_key(path: Path, name: str) -> None:
    """Take the entry of ``name`` out of the file; all else stays as it is, comments too.

    Raises:
        InputError: there is none, or the file has a mistake.
        OutputError: it cannot be written.
    """
    with _Replacing(path) as file:
        keys = _parse(file.text, path)
        rest = [key for key in keys if key.name != name]
        if len(rest) == len(keys):
            known = ", ".join(sorted(key.name for key in keys)) or "none"
            raise InputError(f"{str(path)!r} has no key {name!r}. It has: {known}.")
        lines = file.text.splitlines(keepends=True)
        begin = _line_of(file.text, name)
        if begin is not None:
            end = next((n for n in range(begin, len(lines)) if lines[n].lstrip().startswith("[")), len(lines))
            text = "".join(lines[: begin - 1] + lines[end:])
        if begin is None or _parse(text, path) != rest:
            raise InputError(f"The entry of {name!r} in {str(path)!r} is written in a way of its own: remove it there.")
        file.replace_with(text)


def new_key() -> str:
    """A key of 256 bits, safe in URLs and headers."""
    return PREFIX + secrets.token_urlsafe(KEY_BYTES)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"The file of keys {str(path)!r} cannot be read: {error}.") from error


def _parse(text: str, path: Path) -> list[ApiKey]:
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:  # says the line, and nothing of what stands there
        raise InputError(f"The file of keys {str(path)!r} is no TOML: {error}.") from None
    unknown = sorted(set(document) - {"keys"})
    entries = document.get("keys", {})
    if unknown or not isinstance(entries, dict):
        what = f"has {unknown[0]!r} at its top" if unknown else "has keys that are no table"
        raise InputError(f"The file of keys {str(path)!r} {what}: it takes [keys.NAME] tables only.")
    keys = []
    for name, entry in entries.items():
        try:
            keys.append(_entry(name, entry))
        except ValueError as error:
            line = _line_of(text, name)
            where = f"line {line}, " if line is not None else ""
            raise InputError(f"The file of keys {str(path)!r}, {where}key {name!r}: {error}.") from None
    try:
        KeyRing(keys)
    except InputError as error:
        raise InputError(f"The file of keys {str(path)!r}: {error}") from None
    return keys


def _entry(name: str, entry: Any) -> ApiKey:
    """No message repeats a value: somebody may have written the key itself there."""
    if not _NAME.fullmatch(name):
        raise ValueError("a name is 1 to 64 letters, digits, '-' and '_'")
    if not isinstance(entry, Mapping):
        raise ValueError(f"it is no table: write [keys.{name}]")  # noqa: TRY004  (told with the line, like all others)
    if unknown := sorted(set(entry) - set(_FIELDS)):
        raise ValueError(f"unknown field {unknown[0]!r}; there are {', '.join(_FIELDS)}")
    sha256 = entry.get("sha256")
    if not (isinstance(sha256, str) and _DIGEST.fullmatch(sha256)):
        raise ValueError("sha256 must be the SHA-256 of the key, 64 hexadecimal digits")
    expires = entry.get("expires")
    if expires is not None and (not isinstance(expires, date) or isinstance(expires, datetime)):
        raise ValueError("expires must be a date, as 2027-12-31, without quotes")
    rights = entry.get("rights", list(RIGHTS))
    if not (
        isinstance(rights, list) and rights and all(isinstance(right, str) and right in RIGHTS for right in rights)
    ):
        raise ValueError(f"rights must be a list of some of {', '.join(RIGHTS)}")
    for limit in ("seats", "requests_per_minute"):
        value = entry.get(limit, 1)
        if type(value) is not int or not 1 <= value <= 1_000_000:
            raise ValueError(f"{limit} must be a whole number above 0")
    return ApiKey(
        name,
        bytes.fromhex(sha256),
        frozenset(rights),
        entry.get("seats"),
        entry.get("requests_per_minute"),
        expires,
    )


def _line_of(text: str, name: str) -> int | None:
    """Where the entry of ``name`` begins, counted from 1."""
    head = re.compile(rf"""\s*\[\s*keys\s*\.\s*["']?{re.escape(name)}["']?\s*\]""")
    return next((n for n, line in enumerate(text.splitlines(), 1) if head.match(line)), None)


class _Replacing:
    """Reads a file and puts another in its place, at once and whole. Only one process does so at a time."""

    def __init__(self, path: Path) -> None:
        self._path = path.resolve()  # a link stays one
        self._new = self._path.with_name(self._path.name + ".new")
        self.text = ""

    def __enter__(self) -> _Replacing:
        try:
            with writing(self._path):
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                self._file = os.fdopen(os.open(self._new, flags, 0o600), "w", encoding="utf-8")
        except Exception as error:
            if isinstance(error.__cause__, FileExistsError):
                raise InputError(
                    f"{str(self._new)!r} is there: the file of keys is being changed, or a change was broken off. "
                    "Remove it if nobody is changing it."
                ) from None
            raise
        try:
            if self._path.exists():
                self.text = _read(self._path)
        except BaseException:
            self.__exit__()
            raise
        return self

    def replace_with(self, text: str) -> None:
        with writing(self._path):
            self._file.write(text)
            self._file.flush()
            os.fsync(self._file.fileno())
            self._new.replace(self._path)

    def __exit__(self, *_: object) -> None:
        with suppress(OSError):  # of a full disk, which was told
            self._file.close()
        self._new.unlink(missing_ok=True)
