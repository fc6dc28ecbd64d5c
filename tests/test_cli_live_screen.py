"""What ``mmpipe live`` prints, event by event."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any

import pytest
from rich.console import Console

from mmpipe.cli import console, live
from mmpipe.pipelines.live import (
    CommittedEvent,
    EndedEvent,
    Event,
    LiveOptions,
    PartialEvent,
    TranslatedEvent,
    WarningEvent,
)

TIMES = {"seq": 1, "emitted_s": 0.0, "start_s": 0.0, "end_s": 0.0}
ENDED = EndedEvent(**TIMES, reason="finished")


def said(text: str, language: str = "en") -> Event:
    return CommittedEvent(**TIMES, heard_until_s=0.0, text=text, language=language, words=())


def saying(text: str) -> Event:
    return PartialEvent(**TIMES, heard_until_s=0.0, text=text, language="en")


def translated(source_text: str, text: str) -> Event:
    return TranslatedEvent(**TIMES, heard_until_s=0.0, source_text=source_text, text=text, language="pt", final=True)


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Shows events, and gives the lines that have been printed by then."""
    printed = io.StringIO()
    monkeypatch.setattr(console, "out", Console(file=printed, soft_wrap=True))
    monkeypatch.setattr(live, "err", Console(file=io.StringIO()))
    screens: dict[LiveOptions, live.Screen] = {}

    def show(options: LiveOptions, *events: Event) -> list[str]:
        screen = screens.setdefault(options, live.Screen(options.target))
        for event in events:
            screen(event)
        return printed.getvalue().splitlines()

    yield show


def test_captions_alone_are_printed_sentence_by_sentence_as_they_are_said(shown: Any) -> None:
    captions = LiveOptions(source="en")
    assert shown(captions, said("It was")) == []
    assert shown(captions, said("a fine day.")) == ["It was a fine day."]
    assert shown(captions, said("Then")) == ["It was a fine day."]
    assert shown(captions, saying("")) == ["It was a fine day.", "Then"]  # nobody is speaking any more
    assert shown(captions, said("rain."), ENDED) == ["It was a fine day.", "Then", "rain."]


def test_speech_without_a_full_stop_does_not_wait_for_ever(shown: Any) -> None:
    words = [said(f"word{n}") for n in range(200)]
    lines = shown(LiveOptions(source="en"), *words)
    assert " ".join(lines).split() == [f"word{n}" for n in range(len(" ".join(lines).split()))]
    assert len(lines) >= 3


@pytest.mark.parametrize("language", ["ja", "zh"])
def test_what_has_no_spaces_is_printed_once(shown: Any, language: str) -> None:
    events = [
        said("今日は", language),
        said("いい天気です。行", language),
        translated("今日はいい天気です。", "It is a fine day."),
        said("きましょう。", language),
        translated("行きましょう。", "Let us go."),
        ENDED,
    ]
    assert shown(LiveOptions(to="en"), *events) == [
        "今日はいい天気です。",
        "    It is a fine day.",
        "行きましょう。",
        "    Let us go.",
    ]


def test_a_sentence_that_could_not_be_translated_is_printed_once_and_in_its_place(shown: Any) -> None:
    events = [
        said("Good morning."),
        said("Thank you."),
        WarningEvent(**TIMES, text="A sentence could not be translated."),
        translated("Thank you.", "Obrigado."),
        said("Goodbye."),
        translated("Goodbye.", "Adeus."),
        ENDED,
    ]
    assert shown(LiveOptions(to="pt"), *events) == [
        "Good morning.",
        "Thank you.",
        "    Obrigado.",
        "Goodbye.",
        "    Adeus.",
    ]


def test_what_is_said_in_the_target_language_waits_for_no_translation(shown: Any) -> None:
    assert shown(LiveOptions(to="en"), said("Good morning.")) == ["Good morning."]


def test_when_translations_do_not_come_captions_still_do(shown: Any) -> None:
    sentences = [f"This is sentence number {n}." for n in range(40)]
    lines = shown(LiveOptions(to="pt"), *map(said, sentences))
    assert len(lines) >= 2
    assert " ".join(sentences).startswith(" ".join(lines))
    lines = shown(LiveOptions(to="pt"), translated(sentences[0], "Esta é a frase 0."), ENDED)  # late
    assert " ".join(line for line in lines if not line.startswith(" ")) == " ".join(sentences)
    assert lines.count("    Esta é a frase 0.") == 1


def test_the_newest_words_are_on_a_small_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    screen_file = io.StringIO()
    terminal = Console(file=screen_file, force_terminal=True, width=40, height=10, color_system=None)
    monkeypatch.setattr(console, "out", Console(file=io.StringIO()))
    monkeypatch.setattr(live, "err", terminal)
    with live.Screen(LiveOptions(source="en").target) as screen:
        for n in range(200):
            screen(said(f"word{n}"))
        screen_file.seek(0)
        screen_file.truncate()
        assert screen._live is not None
        screen._live.refresh()
        frame = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen_file.getvalue())
    assert "word199" in frame


def test_on_a_terminal_what_is_printed_stands_above_what_moves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both consoles are one terminal: what is left on it in the end is what was printed, and nothing else."""
    written = io.StringIO()
    for name in ("out", "err"):
        terminal = Console(file=written, force_terminal=True, width=60, height=10, color_system=None, soft_wrap=True)
        monkeypatch.setattr(console, name, terminal)
    monkeypatch.setattr(live, "err", console.err)
    with live.Screen(LiveOptions(source="en").target) as screen:
        for word in ["It", "was", "a", "fine", "day.", "Then", "rain", "came."]:
            screen(said(word))
            assert screen._live is not None
            screen._live.refresh()
    assert [line for line in on_screen(written.getvalue()) if line] == ["It was a fine day.", "Then rain came."]


def on_screen(written: str) -> list[str]:
    """What a terminal shows after ``written``."""
    lines, x, y = [""], 0, 0
    for piece in re.findall(r"\x1b\[[0-9;?]*[a-zA-Z]|[^\x1b]", written):
        if piece.startswith("\x1b[") and piece.endswith("A"):
            y -= int(piece[2:-1] or 1)
        elif piece == "\x1b[2K":
            lines[y] = ""
        elif piece == "\r":
            x = 0
        elif piece == "\n":
            x, y = 0, y + 1
            lines += [""] * (y + 1 - len(lines))
        elif not piece.startswith("\x1b"):
            lines[y] = lines[y].ljust(x)[:x] + piece + lines[y][x + 1 :]
            x += 1
    return [line.rstrip() for line in lines]


def test_a_warning_is_printed_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    printed = io.StringIO()
    monkeypatch.setattr(live, "err", Console(file=printed, soft_wrap=True))
    live.Screen(lambda language: None)(WarningEvent(**TIMES, text="pip install 'mmpipe[mic]' [/b]"))
    assert printed.getvalue() == "pip install 'mmpipe[mic]' [/b]\n"
