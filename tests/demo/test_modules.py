"""The page's own modules, run where they belong: in a browser."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import Page

Event = dict[str, Any]


def word(text: str, start_s: float, end_s: float) -> Event:
    return {"text": text, "start_s": start_s, "end_s": end_s, "probability": 1.0}


def committed(language: str, *words: Event) -> Event:
    text = " ".join(word["text"] for word in words)
    span = {"start_s": words[0]["start_s"], "end_s": words[-1]["end_s"]}
    return {"type": "committed", "language": language, "words": list(words), "text": text, **span}


def partial(text: str, start_s: float, end_s: float) -> Event:
    return {"type": "partial", "language": "en", "text": text, "start_s": start_s, "end_s": end_s}


def translated(source_text: str, text: str, start_s: float, end_s: float, *, final: bool = True) -> Event:
    span = {"start_s": start_s, "end_s": end_s, "language": "pt", "final": final}
    return {"type": "translated", "source_text": source_text, "text": text, **span}


def taken(page: Page, events: list[Event], to: str | None = "pt") -> Event:
    """What :class:`Captions` makes of ``events``."""
    script = """async ([events, to]) => {
        const { Captions } = await import("/demo/static/captions.js");
        const captions = new Captions((language) => (to && to !== language ? to : null), new Set(["zh"]));
        for (const event of events) captions.take(event);
        return { rows: captions.rows, open: captions.openText, tail: captions.tail, draft: captions.draft };
    }"""
    return dict(page.evaluate(script, [events, to]))


def texts(rows: list[Event]) -> list[tuple[str, str | None]]:
    return [(row["text"], row["translation"]) for row in rows]


def test_committed_words_stay_open_until_their_sentence_is_translated(page: Page) -> None:
    events = [
        partial("He was not", 0.0, 0.8),
        committed("en", word("He", 0.0, 0.2), word("was", 0.3, 0.5)),
        partial("not an", 0.6, 1.0),
        translated("He was not an", "Ele não era um", 0.0, 1.0, final=False),
    ]
    found = taken(page, events)
    assert found == {"rows": [], "open": "He was", "tail": "not an", "draft": "Ele não era um"}
    events += [
        committed("en", word("not.", 0.6, 0.9), word("And", 1.5, 1.7)),
        translated("He was not.", "Ele não era.", 0.0, 0.9),
    ]
    found = taken(page, events)
    assert texts(found["rows"]) == [("He was not.", "Ele não era.")]
    assert (found["open"], found["tail"], found["draft"]) == ("And", "", "")


def test_words_whose_translation_never_came_are_a_row_without_one(page: Page) -> None:
    events = [
        committed("en", word("One.", 0.0, 0.5), word("Two.", 0.6, 1.0)),
        translated("Two.", "Dois.", 0.6, 1.0),
        committed("en", word("Three", 2.0, 2.5)),
        {"type": "ended"},
    ]
    assert texts(taken(page, events)["rows"]) == [("One.", None), ("Two.", "Dois."), ("Three", None)]


def test_captions_without_translation_become_rows_at_the_end_of_a_sentence_and_at_a_pause(page: Page) -> None:
    events = [
        committed("en", word("One.", 0.0, 0.5), word("Two", 0.6, 1.0), word("three", 3.0, 3.5)),
        {"type": "ended"},
    ]
    rows = taken(page, events, to=None)["rows"]
    assert texts(rows) == [("One.", None), ("Two", None), ("three", None)]
    assert [row["turn"] for row in rows] == [True, False, True]


def test_a_language_without_spaces_is_joined_without(page: Page) -> None:
    events = [committed("zh", word("你", 0.0, 0.2), word("好", 0.2, 0.4)), {"type": "ended"}]
    assert texts(taken(page, events, to=None)["rows"]) == [("你好", None)]


def test_the_timeline_counts_from_when_the_last_word_was_captured(page: Page) -> None:
    row = {"text": "He was not.", "start_s": 0.5, "end_s": 1.5, "translation": "Ele não era."}
    script = """async ([events, row]) => {
        const { Timeline } = await import("/demo/static/timeline.js");
        let now = 100;
        const timeline = new Timeline(() => now);
        const at = (seconds, act) => { now = 100 + seconds; act(); };
        at(1, () => timeline.captured(0, 1));
        at(2, () => timeline.captured(1, 2));
        at(1.2, () => timeline.take(events[0], []));
        at(2.5, () => timeline.take(events[1], []));
        at(3.0, () => timeline.take(events[2], []));
        at(3.25, () => timeline.take({ type: "translated" }, [row]));
        at(3.5, () => timeline.spoken({ end_s: 1.5 }, 0.25));
        return { sentence: timeline.sentences[0], first: timeline.firstCaptions, behind: timeline.behind };
    }"""
    events = [
        partial("He", 0.5, 0.7),
        partial("He was not", 0.5, 1.5),
        committed("en", word("He", 0.5, 0.7), word("was", 0.8, 1.0), word("not.", 1.1, 1.5)),
    ]
    found = page.evaluate(script, [events, row])
    sentence = found["sentence"]
    steps = {step: round(sentence[step], 3) for step in ("recognized", "committed", "translated", "spoken")}
    assert steps == {"recognized": 1.0, "committed": 1.5, "translated": 1.75, "spoken": 2.25}
    assert [round(first, 3) for first in found["first"]] == [0.7]
    assert round(found["behind"], 3) == 1.5


def test_a_pause_of_the_sound_moves_the_clock(page: Page) -> None:
    script = """async () => {
        const { Timeline } = await import("/demo/static/timeline.js");
        let now = 0;
        const timeline = new Timeline(() => now);
        now = 1; timeline.captured(0, 1);
        now = 11; timeline.captured(1, 2);
        return [timeline.capturedAt(0.5), timeline.capturedAt(1.5)];
    }"""
    assert page.evaluate(script) == [0.5, 10.5]
