"""In what order a person would read lines that were found scattered over a page.

Down the page, and through its columns one after the other where there are columns of running text: Nagy and Seth's
recursive XY cut, with lines straightened first, and with rows of a table or a price list kept together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import atan2, cos, hypot, sin
from statistics import median

from mmpipe.types import TextLine

# Running text, as against the cells of a table: so many lines in a column at least,
_MIN_COLUMN_LINES = 3
# a usual line so many times as long as high,
_MIN_LINE_LENGTH = 4.0
# and as long as this part of the column's width (a table's cells are of all lengths).
_MIN_LINE_FILL = 0.6
# White between columns, in heights of a line.
_MIN_GAP = 0.8


@dataclass(frozen=True, slots=True)
class _Box:
    """A line after the page was turned straight, in pixels."""

    line: TextLine
    left: float
    right: float
    middle: float  # of its height
    height: float


_Row = list[_Box]


def in_reading_order(lines: Sequence[TextLine]) -> tuple[TextLine, ...]:
    """All of ``lines``, as they are to be read: columns of text from left to right, each from top to bottom."""
    skew = median(_angle(line) for line in lines) if lines else 0.0
    return tuple(box.line for box in _ordered(_box(line, skew) for line in lines))


def _ordered(boxes: Iterable[_Box]) -> list[_Box]:
    rows = _rows(boxes)
    ordered: list[_Box] = []
    at = 0
    while at < len(rows):
        columns, end = _columns(rows, at)
        if columns:
            for column in columns:
                ordered += _ordered(column)
        else:
            ordered += rows[at]
            end = at + 1
        at = end
    return ordered


def _rows(boxes: Iterable[_Box]) -> list[_Row]:
    """Boxes at the same height, from left to right; the rows from top to bottom."""
    rows: list[_Row] = []
    for box in sorted(boxes, key=lambda box: box.middle):
        if rows and box.middle - rows[-1][0].middle < min(box.height, rows[-1][0].height) / 2:
            rows[-1].append(box)
        else:
            rows.append([box])
    return [sorted(row, key=lambda box: box.left) for row in rows]


def _columns(rows: Sequence[_Row], start: int) -> tuple[list[list[_Box]], int]:
    """The columns that begin in row ``start`` and go on as long as the white between them does, and the row after.

    No columns if there is no such white, or if what it parts is no running text.
    """
    gap = _MIN_GAP * median(box.height for box in rows[start])
    spans: list[tuple[float, float]] = []
    most, end = 1, start
    for end in range(start, len(rows)):
        wider = _merged([*spans, *((box.left, box.right) for box in rows[end])], gap)
        if len(wider) < most:
            break
        spans, most = wider, len(wider)
    else:
        end = len(rows)
    columns = [[box for row in rows[start:end] for box in row if left <= box.left <= right] for left, right in spans]
    return (columns, end) if len(columns) > 1 and all(map(_is_running_text, columns)) else ([], end)


def _merged(spans: Iterable[tuple[float, float]], gap: float) -> list[tuple[float, float]]:
    """From left to right, those joined that are nearer to each other than ``gap``."""
    merged: list[tuple[float, float]] = []
    for left, right in sorted(spans):
        if merged and left - merged[-1][1] < gap:
            merged[-1] = (merged[-1][0], max(right, merged[-1][1]))
        else:
            merged.append((left, right))
    return merged


def _is_running_text(column: Sequence[_Box]) -> bool:
    lengths = [box.right - box.left for box in column]
    width = max(box.right for box in column) - min(box.left for box in column)
    usual = median(lengths)
    return (
        len(column) >= _MIN_COLUMN_LINES
        and usual >= _MIN_LINE_LENGTH * median(box.height for box in column)
        and usual >= _MIN_LINE_FILL * width
    )


def _angle(line: TextLine) -> float:
    (x0, y0), (x1, y1), *_ = line.corners
    return atan2(y1 - y0, x1 - x0)


def _box(line: TextLine, skew: float) -> _Box:
    (x0, y0), _, _, (x3, y3) = line.corners
    turned = [(x * cos(skew) + y * sin(skew), y * cos(skew) - x * sin(skew)) for x, y in line.corners]
    left, right = min(x for x, _ in turned), max(x for x, _ in turned)
    return _Box(line, left, right, sum(y for _, y in turned) / 4, hypot(x3 - x0, y3 - y0))
