"""Questions that are spoken or not in English, and answers that are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmpipe import Audio, Message, MultimodalQA
from mmpipe.audio import media
from mmpipe.errors import InputError, LanguageError, MediaError
from mmpipe.evaluate.clips import Clip
from mmpipe.types import SPEECH_RATE_HZ

Make = Callable[..., MultimodalQA]
PORTUGUESE = "O que está escrito na placa do restaurante, e quantas pessoas estão na fotografia?"


def silence(duration_s: float) -> Audio:
    return Audio(np.zeros(round(duration_s * SPEECH_RATE_HZ), np.float32))


def test_a_question_in_another_language_is_asked_in_english_and_answered_in_its_own(
    qa: MultimodalQA, parts: Any
) -> None:
    talk = qa.conversation()
    options: dict[str, Any] = {"language": "Portuguese", "choices": ["a houze", "thiz buz"]}
    answer = talk.ask("What iz thiz?", parts.RED, **options)
    assert talk.messages[0].parts == (parts.RED, "What is this?")
    english = qa.ask("What is this?", parts.RED, choices=["a house", "this bus"])
    assert (answer.question, answer.language, answer.said) == ("What iz thiz?", "pt", english.said)
    assert answer.text == english.text.replace("s", "z")
    assert list(answer.choices) == [choice.replace("s", "z") for choice in english.choices]
    assert list(answer.choices.values()) == pytest.approx(list(english.choices.values()))
    free = qa.ask("What is this?", parts.RED, max_new_tokens=20)
    assert qa.ask("What iz thiz?", parts.RED, language="pt", max_new_tokens=20).text == free.text.replace("s", "z")


def test_the_language_of_a_typed_question_need_not_be_told(qa: MultimodalQA, parts: Any) -> None:
    for question in ("É um animal?", "O que é isto?", "Isto e um animal?"):
        assert qa.ask(question, parts.RED, max_new_tokens=4).language == "pt"


def test_the_answer_may_be_in_another_language_than_the_question(qa: MultimodalQA, parts: Any) -> None:
    answer = qa.ask("What?", parts.RED, to="PT", choices=["a house", "this bus"])
    assert answer.language == "pt"
    assert answer.text in ("a houze", "thiz buz")
    assert set(answer.choices) == {"a house", "this bus"}


def test_a_longer_question_tells_its_language_and_a_short_one_with_accents_must_be_told(
    qa: MultimodalQA, parts: Any
) -> None:
    assert qa.ask(PORTUGUESE, parts.RED, max_new_tokens=4).language == "pt"
    with pytest.raises(LanguageError, match="--from pt"):
        qa.ask("É?", parts.RED)
    talk = qa.chat([Message("user", (parts.RED, "Is it?")), Message("assistant", "É?"), Message("user", "Why?")])
    assert talk.language == "en"  # what was said before need not be understood to the word


def test_languages_without_a_way_are_refused_before_any_picture_is_looked_at(
    qa: MultimodalQA, encoder: Any, parts: Any
) -> None:
    with pytest.raises(LanguageError, match="German, which nothing"):
        qa.ask("Was ist das?", parts.RED, language="de")
    with pytest.raises(LanguageError, match="Arabic, which nothing"):
        qa.ask("ما هذا الحيوان الموجود في الصورة؟", parts.RED)
    with pytest.raises(LanguageError):
        qa.ask("What is this?", parts.RED, to="de")
    with pytest.raises(LanguageError):
        qa.ask("What is this?", parts.RED, to="nonsense")
    with pytest.raises(InputError, match="nobody"):
        qa.ask("What is this?", parts.RED, speak=True, voice="nobody")
    assert encoder.seen == 0


def test_a_spoken_question_is_answered_as_if_it_were_typed(
    make: Make, parts: Any, librivox: list[Clip], tmp_path: Path
) -> None:
    qa = make(recognizer=parts.Ear("What is this?"))
    typed = qa.ask("What is this?", parts.RED, max_new_tokens=8)
    recording = librivox[1].path
    for question in (recording, media.load(recording)):
        spoken = qa.ask(question, parts.RED, max_new_tokens=8)
        assert (spoken.question, spoken.said) == ("What is this?", typed.said)
    heard = qa.chat([Message("user", (media.load(recording), parts.RED))], max_new_tokens=8)
    assert heard.question == "What is this?"
    portuguese = make(recognizer=parts.Ear("What iz thiz?", "pt")).ask(recording, parts.RED, max_new_tokens=8)
    assert (portuguese.language, portuguese.question) == ("pt", "What iz thiz?")


def test_silence_and_long_recordings_are_no_questions(qa: MultimodalQA, parts: Any, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="No speech detected"):
        qa.ask(silence(2), parts.RED)
    with pytest.raises(MediaError, match="130 s"):
        qa.ask(silence(130), parts.RED)
    media.save(silence(130), tmp_path / "long.wav")
    with pytest.raises(MediaError, match="130 s"):
        qa.ask(tmp_path / "long.wav", parts.RED)
    with pytest.raises(MediaError, match="no file"):
        qa.ask(tmp_path / "none.wav", parts.RED)


def test_listening_ends_with_the_question_and_leaves_out_the_silence_before_it(
    qa: MultimodalQA, librivox: list[Clip]
) -> None:
    clip = media.load(librivox[1].path)
    sound = np.concatenate([silence(30).samples, clip.samples, silence(60).samples])
    used = 0

    async def blocks() -> AsyncIterator[Audio]:
        nonlocal used
        for at in range(0, len(sound), 1600):
            used = at
            yield Audio(sound[at : at + 1600])

    heard = asyncio.run(qa.listen(blocks()))
    assert clip.duration_s - 1 < heard.duration_s < clip.duration_s + 2
    assert used / SPEECH_RATE_HZ < 30 + clip.duration_s + 2
    assert np.abs(heard.samples).max() == np.abs(clip.samples).max()

    async def nothing() -> AsyncIterator[Audio]:
        yield silence(1)

    with pytest.raises(MediaError, match="Nothing was said"):
        asyncio.run(qa.listen(nothing()))


def test_an_answer_is_spoken_in_its_language(qa: MultimodalQA, parts: Any) -> None:
    answer = qa.ask("which?", parts.RED, choices=["one word more", "no other word"], speak=True, to="pt")
    assert answer.speech is not None
    assert answer.speech.duration_s > 0.2
    assert qa.ask("what?", parts.RED, max_new_tokens=2).speech is None
