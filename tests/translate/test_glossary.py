"""The user's terms."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmpipe.errors import InputError
from mmpipe.translate.glossary import Glossary, Term


def _found(glossary: Glossary, text: str, source: str = "en", target: str = "pt") -> list[tuple[str, str]]:
    return [(text[start:end], term) for start, end, term in glossary.spans(text, source, target)]


def test_terms_are_whole_words_in_any_case_and_the_target_follows() -> None:
    glossary = Glossary([Term("bus", "ônibus")])
    assert _found(glossary, "A bus, a Bus, a BUS; buses, minibus.") == [
        ("bus", "ônibus"),
        ("Bus", "Ônibus"),
        ("BUS", "ÔNIBUS"),
    ]


def test_a_term_with_a_capital_is_only_found_as_written() -> None:
    assert _found(Glossary([Term("May", "maio")]), "You may go in May.") == [("May", "maio")]


def test_the_longer_term_wins_whatever_the_order() -> None:
    glossary = Glossary([Term("bus", "ônibus"), Term("bus stop", "ponto")])
    assert _found(glossary, "The bus at the bus  stop.") == [("bus", "ônibus"), ("bus  stop", "ponto")]


def test_terms_hold_for_their_languages_only() -> None:
    glossary = Glossary([Term("bus", "ônibus", "en", "pt"), Term("bus", "autobús", "en", "es")])
    assert _found(glossary, "bus", "en", "es") == [("bus", "autobús")]
    assert _found(glossary, "bus", "de", "es") == []


def test_scripts_without_spaces_have_no_word_boundaries() -> None:
    assert _found(Glossary([Term("東京", "Tóquio")]), "私は東京都に住む", "ja") == [("東京", "Tóquio")]


def test_terms_with_marks_are_taken_literally() -> None:
    assert _found(Glossary([Term("C++ (new)", "C++ (novo)")]), "Use C++ (new) now") == [("C++ (new)", "C++ (novo)")]


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "terms.tsv"
    path.write_text("\ufeff# terms\n\nbus stop\tponto de ônibus\nbank\tbanco\ten\tPortuguese\n", "utf-8")
    assert set(Glossary.load(path).terms) == {Term("bus stop", "ponto de ônibus"), Term("bank", "banco", "en", "pt")}


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("bus\tônibus\nonly one column", r"line 2: 1 column"),
        ("a\tb\tc", r"line 1: 3 column"),
        ("bus\t ", r"line 1: the target term is empty"),
        ("\tônibus", r"line 1: the source term is empty"),
        ("a\tb\ten\tklingon", r"line 1: 'klingon' is not a language"),
        ("a\tb\n# x\na\tc", r"line 3: 'a' is 'c' here and 'b' in line 1"),
    ],
)
def test_a_malformed_line_is_named(tmp_path: Path, lines: str, message: str) -> None:
    path = tmp_path / "terms.tsv"
    path.write_text(lines, "utf-8")
    with pytest.raises(InputError, match=message):
        Glossary.load(path)


def test_a_file_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Cannot read the glossary"):
        Glossary.load(tmp_path / "missing.tsv")
    (tmp_path / "latin1.tsv").write_bytes("café\tcafe".encode("latin-1"))
    with pytest.raises(InputError, match="save it as UTF-8"):
        Glossary.load(tmp_path / "latin1.tsv")
