"""What a long job has finished, on disk, so that an interrupted one goes on where it stopped.

A job is a folder with ``journal.jsonl`` (a head, then a line for each finished sentence) and ``speech.pcm`` (16-bit
mono, one sentence after the other). Lines are flushed as they come: a killed process loses the sentence it was at. It
holds what was said, and only its owner can read it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import numpy as np

from mmpipe.files import writing
from mmpipe.types import Audio, Segment, Tier, TranslatedSegment, Translation, Word
from mmpipe.weights.settings import cache_root

logger = logging.getLogger(__name__)

_VERSION = 1


class Journal:
    """The journal of one job. ``source`` and ``options`` identify it: other input or options, another job.

    ``resume``: take up what an earlier run of the same job left; else begin anew.
    """

    def __init__(self, source: Path, options: dict[str, Any], *, resume: bool, root: Path | None = None) -> None:
        stat = source.stat()
        identity = [_VERSION, str(source.resolve()), stat.st_size, stat.st_mtime_ns, options]
        key = sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:24]
        self.folder = (root or cache_root() / "jobs") / key
        self._lines, self._speech = self.folder / "journal.jsonl", self.folder / "speech.pcm"
        self._records: list[dict[str, Any]] = []
        self.resume_s = 0.0  # where to go on in the recording
        with writing(self.folder):
            if not resume:
                shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.folder.chmod(0o700)  # from before, with other permissions
            if resume:
                self._read()
        self._files = ExitStack()  # open from the first sentence on
        self._out: IO[str] | None = None

    def _read(self) -> None:
        """Load the lines up to the last one after which the job can go on, and cut off the rest."""
        try:
            raw = self._lines.read_bytes()
        except FileNotFoundError:
            return
        good, lines, at = 0, [], 0
        for line in raw.splitlines(keepends=True):
            try:
                record = json.loads(line)
                _check(record)
            except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
                break  # the line that was being written, or one that was damaged since: what comes before it is good
            at += len(line)
            lines.append(record)
            if record["resume_s"] is not None:
                self._records, self.resume_s, good = list(lines), record["resume_s"], at
        pcm_bytes = max((r["speech"]["end_byte"] for r in self._records if r["speech"]), default=0)
        if self._records and pcm_bytes > (self._speech.stat().st_size if self._speech.exists() else 0):
            logger.warning("the journal in %s is damaged: starting over", self.folder)
            self._records, self.resume_s, good, pcm_bytes = [], 0.0, 0, 0
        with self._lines.open("r+b") as file:
            file.truncate(good)
        if self._speech.exists():
            with self._speech.open("r+b") as file:
                file.truncate(pcm_bytes)

    @property
    def language(self) -> str | None:
        """Of the recording, as an earlier run found it."""
        return self._records[0]["translation"]["source"] if self._records else None

    def __len__(self) -> int:
        return len(self._records)

    def replay(self) -> Iterator[TranslatedSegment]:
        """What earlier runs finished, in order."""
        for record in self._records:
            speech = None
            if where := record["speech"]:
                with self._speech.open("rb") as file:
                    file.seek(where["start_byte"])
                    pcm = np.frombuffer(file.read(where["end_byte"] - where["start_byte"]), "<i2")
                speech = Audio(pcm.astype(np.float32) / np.float32(32767), where["rate_hz"])
            yield TranslatedSegment(_source(record), _translation(record), speech)

    def add(self, item: TranslatedSegment, resume_s: float | None) -> None:
        """Note that ``item`` is finished. ``resume_s``: where a later run may go on; None if not right after it."""
        speech = None
        with writing(self.folder):
            if self._out is None:
                self._out = self._files.enter_context(_private(self._lines, "a", encoding="utf-8"))
                self._pcm = self._files.enter_context(_private(self._speech, "ab"))
            if item.speech is not None:
                start = self._pcm.tell()
                self._pcm.write((np.clip(item.speech.samples, -1, 1) * 32767).astype("<i2").tobytes())
                self._pcm.flush()
                speech = {"start_byte": start, "end_byte": self._pcm.tell(), "rate_hz": item.speech.rate_hz}
            record = {
                "source": asdict(item.source),
                "translation": asdict(item.translation),
                "speech": speech,
                "resume_s": resume_s,
            }
            self._out.write(json.dumps(record, ensure_ascii=False) + "\n")
            self._out.flush()

    def close(self) -> None:
        """Keep the journal for a later run."""
        with writing(self.folder):
            self._files.close()

    def discard(self) -> None:
        """The job is done: nothing to resume."""
        self.close()
        shutil.rmtree(self.folder, ignore_errors=True)


def _private(path: Path, mode: str, encoding: str | None = None) -> IO[Any]:
    """Open a file that, if it is new, only its owner can read."""
    return open(path, mode, encoding=encoding, opener=lambda name, flags: os.open(name, flags, 0o600))


def _check(record: dict[str, Any]) -> None:
    """
    Raises:
        ValueError, KeyError, TypeError, AttributeError: it is no record.
    """
    _source(record)
    _translation(record)
    speech, resume_s = record["speech"], record["resume_s"]
    if resume_s is not None and not 0 <= resume_s < float("inf"):
        raise ValueError(resume_s)
    if speech is not None:
        start, end, rate_hz = (speech[name] for name in ("start_byte", "end_byte", "rate_hz"))
        if not all(isinstance(n, int) for n in (start, end, rate_hz)):
            raise TypeError(speech)
        if not 0 <= start <= end or start % 2 or end % 2 or rate_hz <= 0:  # two bytes a sample
            raise ValueError(speech)


def _source(record: dict[str, Any]) -> Segment:
    source = record["source"]
    return Segment(**{**source, "words": tuple(Word(**word) for word in source["words"])})


def _translation(record: dict[str, Any]) -> Translation:
    found = record["translation"]
    return Translation(**{**found, "route": tuple(found["route"]), "tier": Tier(found["tier"])})
