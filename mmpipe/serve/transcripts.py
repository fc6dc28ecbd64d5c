"""Transcripts that a server keeps: a file for each session, for its owner's eyes, encrypted where there is a key.

A file is JSON lines: a head, then what was committed and translated. With a key, each line behind the head is
AES-256-GCM, in base64. Each file has a key of its own, derived from the owner's and a random salt in its head; the
number of a line is its nonce, and the head is authenticated with it: lines cannot be exchanged, left out in the middle
or carried into another session's file unnoticed, which lines that are encrypted one by one (Fernet) would allow. What
was written last before a crash may be missing; all before it stays readable.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import logging
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpipe.errors import InputError
from mmpipe.extras import require
from mmpipe.files import reason, writing
from mmpipe.pipelines.live.events import CommittedEvent, Event, TranslatedEvent

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

logger = logging.getLogger(__name__)

DAY_S = 86_400.0
_KEY_PREFIX = "mmpipe-transcripts-1:"
_KEY_BYTES = 32
_VERSION = 1
#: Files that were made here are called so, and begin with a head; no others are ever shown or removed.
_NAME = re.compile(r"\d{8}T\d{6}Z-(?P<session>[0-9a-f]{8,32})\.jsonl")
_MAX_HEAD_BYTES = 1_000


class TranscriptKeys:
    """Keys from a file, one a line: the first encrypts, all of them decrypt, so that a key can be changed.

    Raises:
        InputError: the file cannot be read, others can read it, or it holds no key.
        MissingDependencyError: the extra "encryption" is not installed.
    """

    def __init__(self, path: Path) -> None:
        require("cryptography", "encryption", "Encryption of transcripts")
        try:
            lines = path.read_text("ascii").splitlines()
            mode = path.stat().st_mode
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"The key file {str(path)!r} cannot be read: {error}.") from None
        if os.name == "posix" and mode & 0o077:
            raise InputError(f"Others can read the key file {str(path)!r}: chmod 600 {path}")
        self._keys: dict[str, bytes] = {}
        for number, line in enumerate(lines, 1):
            if line.strip() and not line.startswith("#"):
                key = _key(line.strip())
                if key is None:
                    raise InputError(
                        f"Line {number} of {str(path)!r} is no key: `mmpipe transcripts new-key FILE` makes one."
                    )
                self._keys[hashlib.sha256(b"id" + key).hexdigest()[:8]] = key
        if not self._keys:
            raise InputError(f"{str(path)!r} holds no key: `mmpipe transcripts new-key FILE` makes one.")

    @property
    def newest(self) -> str:
        """The name of the key that encrypts."""
        return next(iter(self._keys))

    def cipher(self, key_id: str, salt: bytes) -> AESGCM:
        """
        Raises:
            InputError: the key is not here.
        """
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.kdf.hkdf import HKDF

        if (key := self._keys.get(key_id)) is None:
            raise InputError(f"This transcript was encrypted with another key, {key_id}.")
        return AESGCM(HKDF(SHA256(), _KEY_BYTES, salt, b"mmpipe transcript").derive(key))


def new_key_file(path: Path) -> None:
    """Make a key file, for its owner's eyes alone.

    Raises:
        InputError: there is a file.
        OutputError: it cannot be written.
    """
    key = base64.urlsafe_b64encode(secrets.token_bytes(_KEY_BYTES)).decode()
    with writing(path):
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise InputError(
                f"{str(path)!r} is there, and what it encrypted would be lost with it. Choose another name."
            ) from None
        with os.fdopen(handle, "w") as file:
            file.write(f"{_KEY_PREFIX}{key}\n")


def _key(line: str) -> bytes | None:
    if not line.startswith(_KEY_PREFIX):
        return None
    try:
        key = base64.urlsafe_b64decode(line[len(_KEY_PREFIX) :])
    except (ValueError, binascii.Error):
        return None
    return key if len(key) == _KEY_BYTES else None


@dataclass(frozen=True, slots=True)
class StoredTranscript:
    """A file that was made here."""

    path: Path
    session: str
    began: datetime
    changed_s: float  # since 1970
    size_bytes: int
    encrypted: bool


class TranscriptStore:
    """A folder of transcripts.

    ``keep_days``: what has not changed for so long is removed by :meth:`expire`; None: nothing is. ``now_s``: seconds
    since 1970.

    Raises:
        InputError: the folder cannot be made or read.
    """

    def __init__(
        self,
        folder: Path,
        keys: TranscriptKeys | None = None,
        keep_days: float | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._keys, self._keep_days, self._now_s = folder, keys, keep_days, now_s
        self._expired_s = float("-inf")  # when expire() looked last
        try:
            if not folder.is_dir():
                folder.mkdir(mode=0o700, parents=True)
            elif os.name == "posix" and folder.stat().st_mode & 0o077:
                logger.warning("others can see the names of the transcripts in %s: chmod 700 it", folder)
        except OSError as error:
            raise InputError(f"No transcripts can be kept in {str(folder)!r}: {error}.") from error

    def begin(self, session: str) -> TranscriptWriter:
        """The transcript of a session that begins now."""
        return TranscriptWriter(self._folder, session, self._now_s(), self._keys)

    def stored(self) -> list[StoredTranscript]:
        """All of them, oldest first."""
        try:
            paths = sorted(self._folder.iterdir())
        except OSError as error:
            raise InputError(f"The folder {str(self._folder)!r} cannot be read: {error}.") from error
        return [found for path in paths if (found := _stored(path)) is not None]

    @property
    def due(self) -> bool:
        """Whether :meth:`expire` should look again: at first, then once a day."""
        return self._keep_days is not None and self._now_s() >= self._expired_s + DAY_S

    def expire(self) -> int:
        """Remove what is older than it should be. Gives how many."""
        if self._keep_days is None:
            return 0
        now_s = self._expired_s = self._now_s()
        old = [found for found in self.stored() if found.changed_s < now_s - self._keep_days * DAY_S]
        for found in old:
            found.path.unlink(missing_ok=True)
        return len(old)

    def read(self, found: StoredTranscript) -> Iterator[dict[str, Any]]:
        """The lines behind the head. A last one that was broken off is left out, and said in the log.

        Raises:
            InputError: it is encrypted and the key is not here, or it was changed.
        """
        head, *lines = found.path.read_bytes().split(b"\n")
        unfinished = lines.pop() if lines else b""
        cipher = None
        if found.encrypted:
            if self._keys is None:
                raise InputError(f"{found.path.name} is encrypted: give the key file.")
            about = json.loads(head)
            cipher = self._keys.cipher(about["key"], base64.b64decode(about["salt"]))
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(_decrypted(cipher, number, line, head) if cipher else line)
            except Exception as error:  # cryptography's InvalidTag has no text
                raise InputError(
                    f"{found.path.name}: line {number + 1} is damaged, or was changed. What is before it is whole."
                ) from error
            if isinstance(record, dict):
                yield record
        if unfinished:
            logger.warning("%s: the last line was broken off", found.path.name)


class TranscriptWriter:
    """What was committed and translated in a session. A disk that is full is told once, and the session goes on."""

    def __init__(self, folder: Path, session: str, began_s: float, keys: TranscriptKeys | None) -> None:
        began = datetime.fromtimestamp(began_s, UTC)
        self.path = folder / f"{began:%Y%m%dT%H%M%SZ}-{session}.jsonl"
        self._session = session
        self._lines = 0
        self._cipher: AESGCM | None = None
        self._file: int | None = None
        head: dict[str, Any] = {"type": "transcript", "version": _VERSION, "session": session}
        head["began"] = began.isoformat(timespec="seconds")
        if keys is not None:
            salt = secrets.token_bytes(16)
            self._cipher = keys.cipher(keys.newest, salt)
            head |= {"encryption": "aes-256-gcm", "key": keys.newest, "salt": base64.b64encode(salt).decode()}
        self._head = json.dumps(head).encode()
        try:
            self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        except OSError as error:
            self._give_up(error)
        else:
            self._write(self._head)

    def add(self, event: Event) -> None:
        if self._file is None or not (
            isinstance(event, CommittedEvent) or (isinstance(event, TranslatedEvent) and event.final)
        ):
            return
        self._lines += 1
        line = json.dumps(event.as_dict(), ensure_ascii=False).encode("utf-8", "replace")
        if self._cipher is not None:
            line = base64.b64encode(self._cipher.encrypt(_nonce(self._lines), line, self._head))
        self._write(line)

    def _write(self, line: bytes) -> None:
        assert self._file is not None
        line += b"\n"
        try:
            if os.write(self._file, line) < len(line):
                raise OSError("no space is left")
        except OSError as error:  # and no other line may follow: its number was used
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        logger.error("session %s: its transcript cannot be kept from here on: %s", self._session, reason(error))
        self.close()

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")


def _decrypted(cipher: AESGCM, number: int, line: bytes, head: bytes) -> bytes:
    return cipher.decrypt(_nonce(number), base64.b64decode(line, validate=True), head)


def _stored(path: Path) -> StoredTranscript | None:
    """``path``, if it was made here."""
    match = _NAME.fullmatch(path.name)
    try:
        if match is None or path.is_symlink() or not path.is_file():
            return None
        with path.open("rb") as file:
            head = json.loads(file.readline(_MAX_HEAD_BYTES))
        stat = path.stat()
        if head["type"] != "transcript" or head["session"] != match["session"]:
            return None
        return StoredTranscript(
            path,
            match["session"],
            datetime.fromisoformat(head["began"]),
            stat.st_mtime,
            stat.st_size,
            head.get("encryption") is not None,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
