"""Write what was said, and its translation, as SRT, WebVTT, JSON or plain text, a piece at a time."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from mmpipe.errors import InputError
from mmpipe.files import writing
from mmpipe.types import Segment, TranslatedSegment, Word

#: What fits on a screen and is read in time: the usual broadcast limits (BBC, Netflix: 37 to 42 characters, 2 lines).
LINE_CHARS = 42
CUE_CHARS = 2 * LINE_CHARS
MAX_CUE_S = 7.0
MIN_CUE_S = 1.0

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
    source = item if isinstance(item, Segment) else item.source
    if isinstance(item, Segment):
        return [Cue(*times, _wrap(text)) for *times, text in _cut_words(source)] if source.text else []
    text = item.translation.text
    if not text:
        return []
    parts = max(_parts(text, source), _parts(source.text, source) if bilingual else 1)
    pieces = _cut_text(text, parts)
    originals = _cut_text(source.text, len(pieces)) if bilingual else [""] * len(pieces)
    total = sum(map(len, pieces))
    length_s = source.end_s - source.start_s
    found, at_s = [], source.start_s
    for piece, original in zip(pieces, originals, strict=True):
        end_s = at_s + length_s * len(piece) / total
        found.append(Cue(at_s, end_s, "\n".join(filter(None, [_wrap(original), _wrap(piece)]))))
        at_s = end_s
    return found


def _parts(text: str, source: Segment) -> int:
    return max(-(-len(text) // CUE_CHARS), -(-int(source.end_s - source.start_s) // int(MAX_CUE_S)), 1)


def _cut_words(segment: Segment) -> Iterator[tuple[float, float, str]]:
    if not segment.words:
        pieces = _cut_text(segment.text, _parts(segment.text, segment))
        step_s = (segment.end_s - segment.start_s) / len(pieces)
        for n, piece in enumerate(pieces):
            yield segment.start_s + n * step_s, segment.start_s + (n + 1) * step_s, piece
        return
    texts = _as_written(segment)
    line: list[tuple[str, Word]] = []
    for text, word in zip(texts, segment.words, strict=True):
        begins_new = line and (
            sum(len(t) for t, _ in line) + len(text) > CUE_CHARS or word.end_s - line[0][1].start_s > MAX_CUE_S
        )
        if begins_new:
            yield line[0][1].start_s, line[-1][1].end_s, "".join(t for t, _ in line).strip()
            line = []
        line.append((text, word))
    if line:
        yield line[0][1].start_s, line[-1][1].end_s, "".join(t for t, _ in line).strip()


def _as_written(segment: Segment) -> list[str]:
    """Each word with the text that follows it up to the next one: a space in English, nothing in Japanese."""
    starts, at = [], 0
    for word in segment.words:
        found = segment.text.find(word.text, at)
        starts.append(found if found >= 0 else at)
        at = starts[-1] + len(word.text)
    return [segment.text[a:b] for a, b in zip(starts, [*starts[1:], len(segment.text)], strict=True)]


def _cut_text(text: str, parts: int) -> list[str]:
    """Cut ``text`` into at most ``parts`` pieces of about equal length, between words where there are any."""
    units = text.split(" ") if " " in text else list(text)
    joint = " " if " " in text else ""
    pieces: list[str] = []
    for n in range(parts, 0, -1):
        target = len(joint.join(units)) / n
        piece = ""
        while units and (not piece or len(piece) + len(units[0]) / 2 < target):
            piece = piece + joint + units.pop(0) if piece else units.pop(0)
        if piece:
            pieces.append(piece)
    return pieces or [text]


def _wrap(text: str) -> str:
    if len(text) <= LINE_CHARS:
        return text
    if " " not in text:
        return "\n".join(text[at : at + LINE_CHARS] for at in range(0, len(text), LINE_CHARS))
    width = max(LINE_CHARS, len(text) // 2 + 8)  # two lines of about equal length rather than a full one and a rest
    return "\n".join(textwrap.wrap(text, min(width, LINE_CHARS)))


def clock(seconds: float, decimal: str) -> str:
    """ "01:02:03,456" """
    ms = round(max(seconds, 0.0) * 1000)
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}{decimal}{ms % 1000:03}"


def _srt(item: Item, number: int, bilingual: bool) -> Iterator[str]:
    for cue in cues(item, bilingual=bilingual):
        yield f"{number}\n{clock(cue.start_s, ',')} --> {clock(cue.end_s, ',')}\n{cue.text}\n\n"
        number += 1


def _vtt(item: Item, number: int, bilingual: bool) -> Iterator[str]:
    for cue in cues(item, bilingual=bilingual):
        text = cue.text.replace("&", "&amp;").replace("<", "&lt;").replace("-->", "--&gt;")
        yield f"{clock(cue.start_s, '.')} --> {clock(cue.end_s, '.')}\n{text}\n\n"


def _txt(item: Item, number: int, bilingual: bool) -> Iterator[str]:
    if isinstance(item, Segment):
        yield item.text + "\n"
    else:
        yield (item.source.text + "\n" if bilingual else "") + item.translation.text + "\n"


def _json(item: Item, number: int, bilingual: bool) -> Iterator[str]:
    yield json.dumps(as_dict(item), ensure_ascii=False) + "\n"


def as_dict(item: Item) -> dict[str, Any]:
    """``item`` as plain JSON types, without its sound."""
    if isinstance(item, Segment):
        return asdict(item)
    return {"source": asdict(item.source), "translation": asdict(item.translation)}


Format = Callable[[Item, int, bool], Iterator[str]]
#: suffix -> (what the file begins with, how an item is written). JSON is one object a line: it can be cut anywhere.
FORMATS: dict[str, tuple[str, Format]] = {
    ".srt": ("", _srt),
    ".vtt": ("WEBVTT\n\n", _vtt),
    ".txt": ("", _txt),
    ".json": ("", _json),
    ".jsonl": ("", _json),
}


class SubtitleWriter:
    """Write items to a file as they come; what was written stays, whatever happens next. A context manager.

    Raises:
        InputError: no such format.
        OutputError: the file cannot be written.
    """

    def __init__(self, path: Path, *, bilingual: bool = False) -> None:
        if path.suffix.lower() not in FORMATS:
            raise InputError(f"Cannot write subtitles as {path.name!r}: use one of {', '.join(FORMATS)}.")
        head, self._format = FORMATS[path.suffix.lower()]
        self._path, self._bilingual, self._count = path, bilingual, 0
        with writing(path):
            self._file: IO[str] = path.open("w", encoding="utf-8")
            self._file.write(head)

    def write(self, item: Item) -> None:
        with writing(self._path):
            for text in self._format(item, self._count + 1, self._bilingual):
                self._file.write(text)
                self._count += 1
            self._file.flush()

    def close(self) -> None:
        with writing(self._path):
            self._file.close()

    def __enter__(self) -> SubtitleWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def render(items: Iterable[Item], kind: str, *, bilingual: bool = False) -> str:
    """All ``items`` as one text; ``kind`` is "srt", "vtt", "txt" or "json"."""
    if f".{kind}" not in FORMATS:
        raise InputError(f"There is no subtitle format {kind!r}: use one of srt, vtt, txt, json.")
    head, write = FORMATS[f".{kind}"]
    parts: list[str] = []
    for item in items:
        parts.extend(write(item, len(parts) + 1, bilingual))
    return head + "".join(parts)


def check_suffixes(paths: Sequence[Path | None]) -> None:
    """Refuse unknown formats before hours of work rather than after."""
    for path in paths:
        if path is not None and path.suffix.lower() not in FORMATS:
            raise InputError(f"Cannot write subtitles as {path.name!r}: use one of {', '.join(FORMATS)}.")
