"""Text in pictures: when it is asked for, and how it is translated where it stands."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmpipe import Image, MultimodalQA
from mmpipe.errors import LanguageError
from mmpipe.fusion.training.questions import wordings
from mmpipe.pipelines import engines as engines_module
from mmpipe.pipelines.engines import Engines
from mmpipe.pipelines.multimodal_qa import PictureReader
from mmpipe.pipelines.multimodal_qa.reading import asks_for_text
from mmpipe.vision import images

Make = Callable[..., MultimodalQA]
SIGN = ("the path by the river is closed", "because of the high water")


@pytest.mark.parametrize(
    "question",
    [
        "What does it say?", "what does the sign say", "What is written here?", "Please read the words.",
        "Can you read what it says?", "Which letters do you see?", "What is the text?",
        "What words appear in the picture?",
        "Could you please transcribe this page?", "What do the two signs on the left say?", "Read it.",
    ],
)  # fmt: skip
def test_questions_for_text_are_known(question: str) -> None:
    assert asks_for_text(question)


@pytest.mark.parametrize(
    "question",
    [
        "What is this?", "What would you say this is?", "In one word, what is it?", "Is it ready?",
        "Is this a book to read?",
        "Would you say that this is a dog?", "What kind of reader is this?", "Describe it in words.",
        "Is there any text?",
    ],
)  # fmt: skip
def test_other_questions_are_not_taken_for_them(question: str) -> None:
    assert not asks_for_text(question)


def test_no_question_that_the_model_was_trained_for_is_taken_away_from_it() -> None:
    taken = [
        question
        for sort, lines in wordings().items()
        if isinstance(lines, dict) and sort not in ("beyond", "words")
        for question in lines.get("questions", [])
        if asks_for_text(question)
    ]
    assert taken == []


def test_what_stands_in_the_picture_is_the_answer(make: Make, parts: Any, encoder: Any, tmp_path: Path) -> None:
    path, page = tmp_path / "large.png", parts.Page(*SIGN)
    images.save(parts.plain(9, 9, 9, side_px=1500), path)
    qa = make(fused_model=parts.fused(encoder=encoder), reader=page)
    answer = qa.ask("What does it say?", [path, parts.RED])
    assert answer.text == "\n".join(SIGN * 2)
    assert [line.text for line in answer.read] == list(SIGN * 2)
    assert (answer.confidence, answer.refused, answer.language) == (pytest.approx(0.9), False, "en")
    assert page.sizes == [(1500, 1500), (40, 40)]  # in full, not in the size in which it is looked at
    assert encoder.seen == 0
    assert "".join(qa.stream("What does it say?", path)) == "\n".join(SIGN)


def test_it_stays_in_its_language_unless_another_is_asked_for(make: Make, parts: Any) -> None:
    qa = make(reader=parts.Page(*SIGN))
    assert qa.ask("What doez it zay?", parts.RED, language="pt").text == "\n".join(SIGN)
    answer = qa.ask("What does it say?", parts.RED, to="pt")
    assert answer.text == "\n".join(SIGN).replace("s", "z")
    assert answer.language == "pt"


def test_a_picture_without_text_is_said_to_have_none(make: Make, parts: Any) -> None:
    answer = make(reader=parts.Page()).ask("What does it say?", parts.RED)
    assert answer.refused
    assert "no text" in answer.text


def test_without_a_reader_the_language_model_is_asked(make: Make, parts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines_module, "find_spec", lambda name: None)
    assert make(reader=None).ask("What does it say?", parts.RED, max_new_tokens=3).said


def test_in_a_conversation_the_picture_shown_last_is_read(make: Make, parts: Any) -> None:
    page = parts.Page("EXIT")
    talk = make(reader=page).conversation()
    talk.ask("What is this?", [parts.plain(1, 2, 3, side_px=50)], max_new_tokens=2)
    talk.ask("And this?", [parts.plain(1, 2, 3, side_px=60)], max_new_tokens=2)
    assert talk.ask("What does it say?").text == "EXIT"
    assert page.sizes == [(60, 60)]
    assert talk.messages[-1].parts == ("EXIT",)


def reader(parts: Any, *texts: str) -> PictureReader:
    return PictureReader(Engines(translators=[parts.Zed()], reader=parts.Page(*texts)))


def drawn(picture: Image, before: Image) -> list[int]:
    """The tens of rows in which something was drawn."""
    changed = (picture.pixels != before.pixels).any(axis=(1, 2))
    return sorted({int(row) // 10 for row in np.flatnonzero(changed)})


def test_a_translation_stands_where_the_text_stood(parts: Any) -> None:
    before = parts.plain(240, 240, 240, side_px=120)
    after = reader(parts, *SIGN).translate(before, "pt")
    assert (after.width_px, after.height_px) == (120, 120)
    assert drawn(after, before) != []
    assert set(drawn(after, before)) <= {2, 3, 4, 5}  # lines at 20 to 36 and 40 to 56
    assert {2, 4} <= set(drawn(after, before))


def test_a_picture_without_text_is_not_changed_and_an_unknown_language_must_be_told(parts: Any) -> None:
    before = parts.plain(240, 240, 240, side_px=120)
    assert np.array_equal(reader(parts).translate(before, "pt").pixels, before.pixels)
    with pytest.raises(LanguageError, match="--from"):
        reader(parts, "EXIT").translate(before, "pt")
    assert drawn(reader(parts, "EXIT").translate(before, "pt", source="en"), before)


def test_sentences_over_several_lines_are_translated_as_a_whole(parts: Any) -> None:
    seen: list[str] = []

    class Listening(parts.Zed):  # type: ignore[misc, name-defined]
        def run(self, items: Any) -> list[str]:
            seen.extend(item.text for item in items)
            return super().run(items)  # type: ignore[no-any-return]

    page = parts.Page("Danger", "The bridge is cur-", "rently closed,", "Please go round")
    before = parts.plain(240, 240, 240, side_px=120)
    after = PictureReader(Engines(translators=[Listening()], reader=page)).translate(before, "pt", source="en")
    assert seen == ["Danger", "The bridge is currently closed, Please go round"]
    assert {2, 4, 6, 8} <= set(drawn(after, before))  # each line got a part of it
