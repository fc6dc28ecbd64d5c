"""The protocol with Apertium, on a small pipeline of our own; and Apertium itself where it is installed."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmpipe.errors import MissingDependencyError, StageError
from mmpipe.translate.apertium import MODES_FOLDER, ApertiumTranslator
from mmpipe.translate.apertium_modes import PACKAGE_OF, install_command, pairs_of_mode
from mmpipe.types import Sentence

# A program as Apertium's are: text up to a null byte in, the same out, upper-cased by the one called with "upper".
PROGRAM = f"""#!{sys.executable}
import os, sys
with open(os.environ["FAKE_APERTIUM_LOG"], "a") as log:
    print(os.getpid(), *sys.argv[1:], file=log)
assert sys.argv[1] == "-z", "must flush on null"
buffer = b""
while chunk := os.read(0, 4096):
    buffer += chunk
    while b"\\0" in buffer:
        text, buffer = buffer.split(b"\\0", 1)
        if b"die" in text:
            sys.exit("out of words")
        if b"hang" in text:
            continue
        if sys.argv[-1] == "upper":
            text = text.upper()
        os.write(1, text + b"\\0")
"""


@pytest.fixture
def modes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with modes whose programs stand beside it; the programs log themselves in ``log``."""
    program = tmp_path / "lt-proc"
    program.write_text(PROGRAM)
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("FAKE_APERTIUM_LOG", str(tmp_path / "log"))
    folder = tmp_path / "modes"
    folder.mkdir()
    (folder / "eng-spa.mode").write_text(f"'{program}' '/it has | a bar.bin' | {program} $1 $2 'upper'\n")
    (folder / "eng-cat.mode").write_text(f"'{program}' x\n")
    return folder


@pytest.fixture
def apertium(modes: Path) -> Iterator[ApertiumTranslator]:
    translator = ApertiumTranslator(modes, timeout_s=5.0)
    yield translator
    translator.close()


def _started(modes: Path) -> list[list[str]]:
    log = modes.parent / "log"
    return [line.split(" ", 1) for line in log.read_text().splitlines()] if log.exists() else []


def _spanish(*texts: str) -> list[Sentence]:
    return [Sentence(text, "en", "es") for text in texts]


def test_sentences_go_through_and_keep_their_order(apertium: ApertiumTranslator) -> None:
    assert apertium.run(_spanish("one", "two", "", "three")) == ["ONE", "TWO", "", "THREE"]


def test_pairs_may_be_mixed_in_a_call(apertium: ApertiumTranslator) -> None:
    items = [Sentence("one", "en", "es"), Sentence("two", "en", "ca"), Sentence("three", "en", "es")]
    assert apertium.run(items) == ["ONE", "two", "THREE"]


def test_programs_start_when_needed_and_once(apertium: ApertiumTranslator, modes: Path) -> None:
    assert _started(modes) == []
    apertium.run(_spanish("one"))
    apertium.run(_spanish("two"))
    assert sorted(arguments for _, arguments in _started(modes)) == ["-z -n upper", "-z /it has | a bar.bin"]


def test_reserved_characters_survive(apertium: ApertiumTranslator) -> None:
    text = "A^B$ [C] {D} <E> F/G H\\I J@K ~L *M #N"
    assert apertium.run(_spanish(text)) == [text]


def test_more_text_than_the_pipes_hold(apertium: ApertiumTranslator) -> None:
    texts = [f"{n} " + "word " * 2000 for n in range(60)]
    assert apertium.run(_spanish(*texts)) == [text.strip().upper() for text in texts]


def test_a_pipeline_that_dies_is_started_again_and_only_its_sentence_fails(apertium: ApertiumTranslator) -> None:
    with pytest.raises(StageError, match=r"eng-spa failed on 'please die':.*lt-proc ended with code 1.*out of words"):
        apertium.run(_spanish("one", "please die"))
    assert apertium.run(_spanish("two")) == ["TWO"]


def test_a_program_killed_from_outside_is_started_again(apertium: ApertiumTranslator, modes: Path) -> None:
    apertium.run(_spanish("one"))
    for pid, _ in _started(modes):
        os.kill(int(pid), 9)
    assert apertium.run(_spanish("two", "three")) == ["TWO", "THREE"]


def test_after_an_interrupt_no_sentence_gets_the_translation_of_another(
    apertium: ApertiumTranslator, monkeypatch: pytest.MonkeyPatch
) -> None:
    apertium.run(_spanish("one"))  # the programs are up

    def interrupted(*_: object) -> bytes:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "read", interrupted)  # the sentences are sent, their answers on the way
        with pytest.raises(KeyboardInterrupt):
            apertium.run(_spanish("two", "three"))
    assert apertium.run(_spanish("four")) == ["FOUR"]


def test_a_pipeline_that_does_not_answer_is_given_up(modes: Path) -> None:
    apertium = ApertiumTranslator(modes, timeout_s=0.3)
    with pytest.raises(StageError, match=r"no answer for 0\.3 s"):
        apertium.run(_spanish("hang"))
    apertium.close()


def test_closing_ends_the_programs(apertium: ApertiumTranslator, modes: Path) -> None:
    apertium.run(_spanish("one"))
    apertium.close()
    apertium.close()
    for pid, _ in _started(modes):
        with pytest.raises(ProcessLookupError):
            os.kill(int(pid), 0)


def test_a_mode_whose_programs_cannot_flush_is_left_out(modes: Path) -> None:
    (modes / "spa-eng.mode").write_text("lt-proc x | some-filter")
    assert ("es", "en") not in ApertiumTranslator(modes).pairs


def test_questions_and_capitals_are_finished_for_spanish(modes: Path) -> None:
    lt_proc = modes.parent / "lt-proc"
    (modes / "eng-spa.mode").write_text(f"{lt_proc} x")
    apertium = ApertiumTranslator(modes)
    assert apertium.run(_spanish("Qué hora es?", "hola, qué tal?", "¡alto!", "No.", 'Dijo "sí!"')) == [
        "¿Qué hora es?",
        "hola, ¿qué tal?",
        "¡alto!",
        "No.",
        '¡Dijo "sí!"',
    ]
    assert apertium.run([Sentence("¿Què és?", "en", "ca")]) == ["Què és?"]
    apertium.close()


def test_nothing_installed_is_said_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match=r"sudo apt-get install apertium apertium-eng-spa"):
        ApertiumTranslator(tmp_path)


def test_a_missing_pair_is_said_with_its_package(apertium: ApertiumTranslator) -> None:
    with pytest.raises(MissingDependencyError, match=r"sudo apt-get install apertium apertium-fra-cat"):
        apertium.run([Sentence("Bon dia", "ca", "fr")])
    with pytest.raises(StageError, match="no language pair en>ja"):
        apertium.run([Sentence("Hello", "en", "ja")])


def test_a_pair_whose_programs_are_not_all_there_is_left_out_and_said(
    modes: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    (modes / "spa-cat.mode").write_text("/nowhere/lt-proc x")
    assert ("es", "ca") not in ApertiumTranslator(modes).pairs
    assert "spa-cat is left out: it needs /nowhere/lt-proc" in caplog.text


def test_the_command_names_what_a_package_forgets_to_ask_for() -> None:
    assert install_command(["apertium-spa-ita"]) == "sudo apt-get install apertium apertium-spa-ita cg3"


@pytest.mark.parametrize(
    ("mode", "pairs"),
    [
        ("eng-spa", [("en", "es")]),
        ("es-pt_BR", [("es", "pt")]),
        ("es-pt", []),  # its Brazilian variant is taken
        ("cat-eng_US", []),
        ("hbs-eng", [("bs", "en"), ("hr", "en"), ("sr", "en")]),
        ("eng-hbs_HR", [("en", "hr")]),
        ("eng-hbs", []),
        ("eo-en-bytecode", []),
        ("Cyrl-Latn", []),
    ],
)
def test_modes_are_language_pairs(mode: str, pairs: list[tuple[str, str]]) -> None:
    assert pairs_of_mode(mode) == pairs


def test_packages_are_known_by_pair() -> None:
    assert PACKAGE_OF["fr", "ca"] == "apertium-fra-cat"
    assert ("es", "ro") not in PACKAGE_OF  # Romanian to Spanish only


# Apertium itself. Not in the light install: `sudo apt-get install apertium apertium-eng-spa` runs these.


@pytest.fixture(scope="module")
def real() -> Iterator[ApertiumTranslator]:
    if not (MODES_FOLDER / "eng-spa.mode").is_file():
        pytest.skip("Apertium is not installed (sudo apt-get install apertium apertium-eng-spa)")
    translator = ApertiumTranslator()
    yield translator
    translator.close()


def test_real_apertium_translates(real: ApertiumTranslator) -> None:
    assert real.run([Sentence("The house is big.", "en", "es"), Sentence("La casa es grande.", "es", "en")]) == [
        "La casa es grande.",
        "The house is big.",
    ]


def test_real_apertium_leaves_unknown_words_unmarked(real: ApertiumTranslator) -> None:
    (text,) = real.run([Sentence("Where is the flibberty house?", "en", "es")])
    assert "flibberty" in text
    assert "*" not in text
    assert text.startswith("¿")


def test_real_apertium_answers_a_hundred_sentences_in_order(real: ApertiumTranslator) -> None:
    items = [Sentence(f"The house has {n} doors.", "en", "es") for n in range(2, 102)]
    assert [int(text.split()[3]) for text in real.run(items)] == list(range(2, 102))
