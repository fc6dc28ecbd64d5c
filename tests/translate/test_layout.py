"""What stands around sentences stays."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mmpipe.translate.layout import MAX_BLOCK_CHARS, Block, blocks, joint


def _blocks(text: str) -> list[Block]:
    return list(blocks(text.splitlines(keepends=True)))


def _shouted(text: str) -> str:
    """``text`` with its sentences in capitals and all else as it was."""
    return "".join(
        block.rebuilt("".join(block.sentences("en")).upper()) if not block.verbatim else block.source
        for block in _blocks(text)
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  - one\n  * two\n", "  - ONE\n  * TWO\n"),
        ("1. one\n2) two\n(3) three\na) four\n", "1. ONE\n2) TWO\n(3) THREE\na) FOUR\n"),
        ("# Title\n\n\n> quoted  \n", "# TITLE\n\n\n> QUOTED  \n"),
        ("- [x] done\n- [ ] not done\n", "- [x] DONE\n- [ ] NOT DONE\n"),
        ("\tindented\r\n", "\tINDENTED\r\n"),
        ("no line break", "NO LINE BREAK"),
        ("---\n***\n12:30\n😀😀\n", "---\n***\n12:30\n😀😀\n"),
        ("", ""),
    ],
)
def test_indents_bullets_and_breaks_are_kept(text: str, expected: str) -> None:
    assert _shouted(text) == expected


def test_code_is_not_touched() -> None:
    text = "before\n```python\nreturn value\n```\nafter\n"
    assert _shouted(text) == "BEFORE\n```python\nreturn value\n```\nAFTER\n"


def test_a_sentence_that_runs_on_is_one_and_gets_as_many_lines_again() -> None:
    (block,) = _blocks("This line goes on\nin the next one.\n")
    assert block.sentences("en") == ["This line goes on in the next one."]
    assert block.rebuilt("Uma tradução bem mais comprida do que isso.") == (
        "Uma tradução bem mais\ncomprida do que isso.\n"
    )


def test_lines_that_end_a_sentence_or_begin_with_a_capital_stand_alone() -> None:
    assert len(_blocks("One ends here.\nand two\nThree\n- four\n")) == 4


def test_a_block_is_given_as_soon_as_nothing_can_follow() -> None:
    taken: list[str] = []

    def lines() -> Iterator[str]:
        for line in ("Ends here.\n", "Not asked for yet.\n"):
            taken.append(line)
            yield line

    next(blocks(lines()))
    assert taken == ["Ends here.\n"]


def test_a_text_that_never_ends_a_sentence_is_still_given_in_bounded_blocks() -> None:
    lines = ["and so it goes on and on\n"] * 2000
    found = list(blocks(lines))
    assert "".join(block.source for block in found) == "".join(lines)
    assert max(len(block.source) for block in found) < MAX_BLOCK_CHARS + 300


def test_sentences_are_joined_as_the_target_does() -> None:
    assert joint(" ", "zh") == ""
    assert joint("", "en") == " "
    assert joint("\t", "en") == "\t"
