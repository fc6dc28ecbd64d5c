"""Write what was said, and its translation, as SRT, WebVTT, JSON or plain text, a piece at a time."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from html import escape
from itertools import accumulate, pairwise
from math import ceil
from pathlib import Path
from typing import IO, Any

from mmpipe.errors import InputError
from mmpipe.files import writing
from mmpipe.types import Segment, TranslatedSegment

#: What fits on a screen and is read in time: the usual broadcast limits (BBC, Netflix: 37 to 42 characters, 2 lines).
LINE_CHARS = 42
CUE_CHARS = 2 * LINE_CHARS
MAX_CUE_S = 7.0

Item = Segment | TranslatedSegment


@dataclass(frozen=True, slots=True)
class Cue:
    """One subtitle: lines shown together from ``start_s`` to ``end_s``."""

    start_s: float
    end_s: float
    text: str


def cues(item: Item, *, bilingual: bool = False) -> list[Cue]:
    """The subtitles of a segment, cut where it is too long to be read at once.

    Source text is cut at the times of its words; a translation, which has none, in proportion to its length.
    """
    if isinstance(item, Segment):
        pieces = _cut_text(item.text, _parts(item.text, item))
        times = _times_of_words(item, pieces)
        return [Cue(start_s, end_s, _wrap(piece)) for (start_s, end_s), piece in zip(times, pieces, strict=True)]
    source, text = item.source, item.translation.text
    pieces = _cut_text(text, max(_parts(text, source), _parts(source.text, source) if bilingual else 1))
    originals = _cut_text(source.text, len(pieces)) if bilingual else []
    originals += [""] * (len(pieces) - len(originals))
    return [
        Cue(start_s, end_s, "\n".join(_wrap(line) for line in (original, piece) if line))
        for (start_s, end_s), original, piece in zip(_times_by_length(source, pieces), originals, pieces, strict=True)
    ]


def _parts(text: str, segment: Segment) -> int:
    return max(ceil(len(text) / CUE_CHARS), ceil((segment.end_s - segment.start_s) / MAX_CUE_S), 1)


def _times_by_length(segment: Segment, pieces: list[str]) -> list[tuple[float, float]]:
    ends = list(accumulate(len(piece) for piece in pieces))
    scale = (segment.end_s - segment.start_s) / max(ends[-1], 1) if ends else 0.0
    edges = [segment.start_s, *(segment.start_s + end * scale for end in ends)]
    return list(pairwise(edges))


def _times_of_words(segment: Segment, pieces: list[str]) -> list[tuple[float, float]]:
    if not segment.words:
        return _times_by_length(segment, pieces)
    offsets, times, at = segment.word_offsets(), [], 0
    for piece in pieces:
        at = max(at, segment.text.find(piece, at))
        words = [w for w, offset in zip(segment.words, offsets, strict=True) if at <= offset < at + len(piece)]
        first, last = (words[0], words[-1]) if words else (segment.words[-1], segment.words[-1])
        times.append((first.start_s, last.end_s))
        at += len(piece)
    return times


def _cut_text(text: str, parts: int) -> list[str]:
    """Cut ``text`` into at most ``parts`` pieces of about equal length, between words where there are any."""
    units = text.split() if " " in text else list(text)
    joint = " " if " " in text else ""
    pieces: list[str] = []
    for n in range(parts, 0, -1):
        target = len(joint.join(units)) / n
        piece = ""
        while units and (not piece or len(piece) + len(units[0]) / 2 < target):
            piece = piece + joint + units.pop(0) if piece else units.pop(0)
        if piece:
            pieces.append(piece)
    return pieces


def _wrap(text: str) -> str:
    """Two lines of about equal length rather than a full one and a rest."""
    if len(text) <= LINE_CHARS:
        return text
    if " " not in text:
        return "\n".join(text[at : at + LINE_CHARS] for at in range(0, len(text), LINE_CHARS))
    lines = ceil(len(text) / LINE_CHARS)
    for width in range(len(text) // lines, len(text)):
        wrapped = textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False)
        if len(wrapped) <= lines:
            return "\n".join(wrapped)
    return text


def clock(seconds: float, decimal: str) -> str:
    """ "01:02:03,456" """
    ms = round(max(seconds, 0.0) * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{decimal}{ms % 1000:03}"


def _srt(item: Item, number: int, bilingual: bool) -> list[str]:
    return [
        f"{number + n}\n{clock(cue.start_s, ',')} --> {clock(cue.end_s, ',')}\n{cue.text}\n\n"
        for n, cue in enumerate(cues(item, bilingual=bilingual), 1)
    ]


def _vtt(item: Item, number: int, bilingual: bool) -> list[str]:
    found = cues(item, bilingual=bilingual)
    return [f"{clock(c.start_s, '.')} --> {clock(c.end_s, '.')}\n{escape(c.text, quote=False)}\n\n" for c in found]


def _txt(item: Item, number: int, bilingual: bool) -> list[str]:
    if isinstance(item, Segment):
        return [item.text + "\n"]
    return [(item.source.text + "\n" if bilingual else "") + item.translation.text + "\n"]


def _json(item: Item, number: int, bilingual: bool) -> list[str]:
    return [(",\n" if number else "") + json.dumps(as_dict(item), ensure_ascii=False)]


def _jsonl(item: Item, number: int, bilingual: bool) -> list[str]:
    return [json.dumps(as_dict(item), ensure_ascii=False) + "\n"]


def as_dict(item: Item) -> dict[str, Any]:
    """``item`` as plain JSON types, without its sound."""
    if isinstance(item, Segment):
        return asdict(item)
    return {"source": asdict(item.source), "translation": asdict(item.translation)}


@dataclass(frozen=True, slots=True)
class _Format:
    #: (item, number of pieces written before, bilingual) -> pieces
    write: Callable[[Item, int, bool], list[str]]
    head: str = ""
    tail: str = ""


FORMATS = {
    ".srt": _Format(_srt),
    ".vtt": _Format(_vtt, head="WEBVTT\n\n"),
    ".txt": _Format(_txt),
    ".json": _Format(_json, head="[\n", tail="\n]\n"),
    ".jsonl": _Format(_jsonl),
}


def _format(name: str) -> _Format:
    suffix = Path(name).suffix.lower()
    if suffix not in FORMATS:
        raise InputError(f"Cannot write subtitles as {name!r}: the name must end in one of {', '.join(FORMATS)}.")
    return FORMATS[suffix]


class SubtitleWriter:
    """Write items to a file as they come; what was written stays, whatever happens next. A context manager.

    Raises:
        InputError: no such format.
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path, *, bilingual: bool = False) -> None:
        self._format = _format(path.name)
        self._path, self._bilingual, self._count = path, bilingual, 0
        with writing(path):
            self._file: IO[str] = path.open("w", encoding="utf-8")
            self._file.write(self._format.head)

    def write(self, item: Item) -> None:
        pieces = self._format.write(item, self._count, self._bilingual)
        self._count += len(pieces)
        with writing(self._path):
            self._file.writelines(pieces)
            self._file.flush()

    def close(self) -> None:
        with writing(self._path):
            if not self._file.closed:
                self._file.write(self._format.tail)
            self._file.close()

    def __enter__(self) -> SubtitleWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def render(items: Iterable[Item], kind: str, *, bilingual: bool = False) -> str:
    """All ``items`` as one text; ``kind`` is "srt", "vtt", "txt", "json" or "jsonl".

    Raises:
        InputError: no such kind.
    """
    form = _format(f"subtitles.{kind}")
    parts: list[str] = []
    for item in items:
        parts.extend(form.write(item, len(parts), bilingual))
    return "".join([form.head, *parts, form.tail])


def check_format(path: Path) -> None:
    """Refuse an unknown format before hours of work rather than after.

    Raises:
        InputError: subtitles cannot be written under this name.
    """
    _format(path.name)
