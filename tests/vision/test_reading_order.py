from __future__ import annotations

from math import cos, radians, sin

from mmpipe.types import TextLine
from mmpipe.vision.reading_order import in_reading_order


def line(text: str, left: float, top: float, width: float, height: float = 20, turned: float = 0) -> TextLine:
    """A line on a page that was turned by so many degrees about its corner."""
    c, s = cos(radians(turned)), sin(radians(turned))
    corners = [(left, top), (left + width, top), (left + width, top + height), (left, top + height)]
    return TextLine(text, tuple((x * c - y * s, x * s + y * c) for x, y in corners), 1.0)  # type: ignore[arg-type]


def read(lines: list[TextLine]) -> str:
    """The order, whatever order they were found in."""
    backwards = [found.text for found in in_reading_order(lines[::-1])]
    assert [found.text for found in in_reading_order(lines)] == backwards
    return " ".join(backwards)


def columns(turned: float = 0) -> list[TextLine]:
    """A title over two columns, of which the right one is a little lower, and a line below both."""
    left = [line(f"a{i}", 0, 50 + 30 * i, 195 if i < 4 else 60, turned=turned) for i in range(5)]
    right = [line(f"b{i}", 240, 57 + 30 * i, 190, turned=turned) for i in range(4)]
    return [line("title", 60, 0, 300, turned=turned), *left, *right, line("end", 0, 230, 430, turned=turned)]


IN_COLUMNS = "title a0 a1 a2 a3 a4 b0 b1 b2 b3 end"


def test_nothing_has_no_order():
    assert in_reading_order([]) == ()


def test_lines_are_read_down_the_page():
    assert read([line(str(i), 5 * i, 30 * i, 200) for i in range(5)]) == "0 1 2 3 4"


def test_words_side_by_side_are_read_from_the_left():
    assert read([line("one", 0, 3, 50), line("two", 60, 0, 50), line("three", 120, 5, 50)]) == "one two three"


def test_columns_are_read_one_after_the_other():
    assert read(columns()) == IN_COLUMNS


def test_a_page_askew_is_read_as_if_it_were_straight():
    assert read(columns(turned=5)) == IN_COLUMNS
    assert read(columns(turned=-5)) == IN_COLUMNS
    # Four lines so long that at this slope the right end of one is lower than the left end of the next.
    assert read([line(str(i), 0, 30 * i, 600, turned=5) for i in range(4)]) == "0 1 2 3"


def test_three_columns():
    lines = [line(f"{name}{i}", x, 30 * i, 180) for x, name in ((0, "a"), (220, "b"), (440, "c")) for i in range(3)]
    assert read(lines) == "a0 a1 a2 b0 b1 b2 c0 c1 c2"


def test_a_price_list_is_read_row_by_row():
    rows = [
        ("Coffee", 70, "2.50"),
        ("Hot chocolate with cream", 260, "4.20"),
        ("Tea", 40, "2.00"),
        ("Cake", 55, "3.10"),
    ]
    lines = []
    for i, (name, width, price) in enumerate(rows):
        lines += [line(name, 0, 30 * i, width), line(price, 400, 30 * i, 50)]
    assert read(lines) == "Coffee 2.50 Hot chocolate with cream 4.20 Tea 2.00 Cake 3.10"


def test_two_rows_are_no_columns():
    lines = [line(name, x, y, 150) for y, row in ((0, "ab"), (30, "cd")) for x, name in zip((0, 200), row, strict=True)]
    assert read(lines) == "a b c d"
