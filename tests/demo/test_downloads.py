"""Files of what the live tab showed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from mmpipe.demo.downloads import SubtitleRequest


def row(text: str, translation: str | None, start_s: float = 0.0) -> dict[str, Any]:
    words = [{"text": text, "start_s": start_s, "end_s": start_s + 1, "probability": 0.9}]
    return {
        "start_s": start_s,
        "end_s": start_s + 1,
        "text": text,
        "language": "en",
        "words": words,
        "translation": translation,
        "target": "pt" if translation else None,
        "turn": True,
    }


ROWS = [row("Good morning.", "Bom dia."), row("Hm.", None, 2.0)]


def rendered(kind: str, text: str, rows: list[dict[str, Any]] = ROWS) -> str:
    return SubtitleRequest.model_validate({"kind": kind, "text": text, "rows": rows}).render()


def test_both_languages_stand_one_below_the_other() -> None:
    assert rendered("srt", "both") == (
        "1\n00:00:00,000 --> 00:00:01,000\nGood morning.\nBom dia.\n\n2\n00:00:02,000 --> 00:00:03,000\nHm.\n\n"
    )


def test_one_language_has_nothing_of_the_other() -> None:
    assert "Bom" not in rendered("vtt", "source")
    translation = rendered("vtt", "translation")
    assert "Good" not in translation
    assert "Hm" not in translation  # it was not translated


def test_json_holds_every_row_with_its_words() -> None:
    first, second = json.loads(rendered("json", "both"))
    assert (first["source"]["text"], first["translation"]["text"]) == ("Good morning.", "Bom dia.")
    assert second["text"] == "Hm."
    assert second["words"][0]["probability"] == 0.9


def test_nothing_shown_is_an_empty_file() -> None:
    assert rendered("srt", "both", []) == ""


@pytest.mark.parametrize("wrong", [{"start_s": -1.0}, {"end_s": float("nan")}, {"text": "x" * 6_000}, {"more": 1}])
def test_what_the_page_would_never_send_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        rendered("srt", "both", [row("Good morning.", None) | wrong])
