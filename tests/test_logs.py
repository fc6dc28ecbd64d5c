"""Logs hold no text of a person: errors without their messages, recordings, real models, and libraries as well."""

from __future__ import annotations

import ast
import asyncio
import gc
import logging
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mmpipe
from mmpipe import Engines, SpeechTranslator
from mmpipe.audio import media
from mmpipe.audio.recognition.whisper import Whisper, WhisperOptions
from mmpipe.audio.synthesis.kokoro import Kokoro
from mmpipe.errors import MmpipeError, StageError
from mmpipe.evaluate.clips import Clip
from mmpipe.logs import file_name, private_logs, without_text
from mmpipe.pipelines.journal import Journal
from mmpipe.stage import Recognizer, Synthesizer, Translator
from mmpipe.translate import Glossary, Term
from mmpipe.types import (
    Audio,
    Segment,
    Sentence,
    SpeechRequest,
    SpeechWindow,
    Tier,
    TranslatedSegment,
    Translation,
    Word,
)

SECRET = "xylotomy"


def caught(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as found:
        return found


def chained() -> BaseException:
    try:
        try:
            raise ValueError(SECRET)
        except ValueError as error:
            raise OSError(28, SECRET, SECRET) from error
    except OSError:
        return caught(StageError(SECRET))


# --- one error ---


def test_an_error_is_its_class_and_where_it_was_raised_causes_first() -> None:
    text = without_text(chained())
    assert SECRET not in text
    kinds = [line for line in text.splitlines() if not line.startswith(" ")]
    assert kinds == ["ValueError", "OSError [ENOSPC]", "mmpipe.errors.StageError"]
    assert "in chained" in text, "the frames are there"


def test_a_group_shows_its_members_and_a_circle_ends() -> None:
    text = without_text(ExceptionGroup(SECRET, [ValueError(SECRET), KeyError(SECRET)]))
    assert SECRET not in text
    assert text.splitlines() == ["2 errors together, each:", "ValueError", "KeyError", "ExceptionGroup"]
    one, other = caught(ValueError(SECRET)), caught(KeyError(SECRET))
    one.__cause__, other.__cause__ = other, one
    assert without_text(one).splitlines()[-1] == "ValueError"


def test_an_error_with_a_note_keeps_the_note_to_itself() -> None:
    error = ValueError()
    error.add_note(SECRET)
    assert SECRET not in without_text(error)


def test_no_line_of_mmpipe_logs_an_error_with_its_message() -> None:
    """``logger.exception`` and ``exc_info`` write down what an error says: :func:`without_text` is for that."""
    found = []
    for path in Path(mmpipe.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            named = isinstance(node.func, ast.Attribute) and node.func.attr == "exception" and node.args
            if (named and path.name != "logs.py") or any(keyword.arg == "exc_info" for keyword in node.keywords):
                found.append(f"{path.name}:{node.lineno}")
    assert not found


# --- a process that serves strangers ---


def test_libraries_log_errors_without_their_messages(written: Any) -> None:
    async def forgotten() -> None:
        async def failing() -> None:
            raise ValueError(SECRET)

        task = asyncio.create_task(failing(), name="forgotten")
        await asyncio.wait([task])
        del task
        gc.collect()

    class Leaving:
        def __del__(self) -> None:
            raise KeyError(SECRET)

    with private_logs():
        asyncio.run(forgotten())
        thread = threading.Thread(target=lambda: caught_in_thread(), name="side")
        thread.start()
        thread.join()
        Leaving()
        try:
            raise TypeError(SECRET)
        except TypeError:
            logging.getLogger("somebody.else").exception("failed %s", "here")
            logging.getLogger("somebody.else").exception("100 %")
            logging.getLogger("somebody.else").exception("lost %(what)s", {"what": "there"})
        logging.getLogger("websockets.server").debug("< TEXT %s", SECRET)
        logging.getLogger("PIL.TiffImagePlugin").debug("tag: %s", SECRET)
        found = written.text
    assert "Task exception was never retrieved" in found
    assert "the thread side ended with an error" in found
    assert "an error where none can be raised" in found
    for told in ("failed here\n", "100 %\n", "lost there\n"):
        assert told in found
    for kind in ("ValueError", "ZeroDivisionError", "KeyError", "TypeError"):
        assert f"\n{kind}" in found
    assert SECRET not in found


def caught_in_thread() -> None:
    raise ZeroDivisionError(SECRET)


def test_what_was_set_up_before_is_set_up_again() -> None:
    before = (logging.getLogRecordFactory(), threading.excepthook, sys.unraisablehook)
    level = logging.getLogger("uvicorn.error").level
    with private_logs(), private_logs():
        assert logging.getLogRecordFactory() is not before[0]
    assert (logging.getLogRecordFactory(), threading.excepthook, sys.unraisablehook) == before
    assert logging.getLogger("uvicorn.error").level == level


def test_names_of_files_are_for_who_chose_them(tmp_path: Path, written: Any, librivox: list[Clip]) -> None:
    path = tmp_path / f"{SECRET}.wav"
    media.save(media.load(librivox[1].path), path.with_suffix(".mp3"))
    broken = bytearray(path.with_suffix(".mp3").read_bytes())
    for at in range(2000, len(broken), 4000):
        broken[at : at + 1500] = bytes(1500)
    path.with_suffix(".mp3").write_bytes(broken)
    with private_logs():
        media.load(path.with_suffix(".mp3"))
    assert "damaged packets" in written.text
    assert SECRET not in written.text
    assert file_name(SECRET) == repr(SECRET)


# --- recordings ---


class Ear(Recognizer):
    languages = frozenset({"en"})

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error

    def run(self, items: Sequence[SpeechWindow]) -> list[Segment]:
        if self.error:
            raise self.error
        said = (f"{SECRET}", "has", "a", "glossary.")
        words = tuple(Word(text, n / 2, n / 2 + 0.4, 0.9) for n, text in enumerate(said))
        return [Segment(0.0, item.audio.duration_s, " ".join(said), "en", words) for item in items]


class Upper(Translator):
    name = "upper"
    pairs: Mapping[tuple[str, str], Tier] = {("en", "pt"): Tier.GOOD}

    def __init__(self, kind: type[Exception] | None = None) -> None:
        self.kind = kind

    def run(self, items: Sequence[Sentence]) -> list[str]:
        if self.kind:
            raise self.kind(f"cannot translate {items[0].text!r}")
        return [item.text.upper() for item in items]


class Beep(Synthesizer):
    name = "beep"
    voices: Mapping[str, Sequence[str]] = {"pt": ("beep",)}

    def __init__(self, kind: type[Exception] | None = None) -> None:
        self.kind = kind

    def run(self, items: Sequence[SpeechRequest]) -> list[Audio]:
        if self.kind:
            raise self.kind(f"cannot say {items[0].text!r}")
        return [Audio(np.full(2400, 0.1, np.float32), self.rate_hz) for _ in items]


@pytest.mark.parametrize(
    ("ear", "upper", "beep", "told"),
    [
        (Ear(RuntimeError(SECRET)), Upper(), Beep(), SECRET),
        (Ear(StageError(SECRET)), Upper(), Beep(), SECRET),
        (Ear(), Upper(RuntimeError), Beep(), "cannot translate"),
        (Ear(), Upper(StageError), Beep(), "cannot translate"),
        (Ear(), Upper(), Beep(RuntimeError), "cannot say"),
        (Ear(), Upper(), Beep(StageError), "cannot say"),
        (Ear(), Upper(), Beep(), None),
    ],
)
def test_a_recording_that_fails_is_told_to_its_owner_alone(
    ear: Ear, upper: Upper, beep: Beep, told: str | None, librivox: list[Clip], written: Any
) -> None:
    glossary = Glossary([Term("glossary", f"{SECRET}s")])
    engines = Engines(ear, translators=[upper], synthesizers=[beep])
    with engines, SpeechTranslator("pt", engines, source="en", glossary=glossary) as translate:
        if told is None:
            translate(librivox[0].path)
        else:
            with pytest.raises(MmpipeError) as failed:
                translate(librivox[0].path)
            assert SECRET in str(failed.value).lower() and told in str(failed.value)
    assert SECRET not in written.text.lower()


def test_a_damaged_journal_is_told_of_by_where_it_lies(written: Any, librivox: list[Clip], tmp_path: Path) -> None:
    path = librivox[0].path
    first = Journal(path, {}, resume=False, root=tmp_path)
    said = Segment(0.0, 1.0, SECRET, "en", (), avg_logprob=-0.1)
    speech = Audio(np.zeros(10, np.float32), 24_000)
    first.add(TranslatedSegment(said, Translation(SECRET, SECRET, "en", "pt", (), Tier.GOOD), speech), resume_s=1.0)
    first.close()
    (folder,) = tmp_path.iterdir()
    os.truncate(folder / "speech.pcm", 10)
    Journal(path, {}, resume=True, root=tmp_path)
    assert "is damaged" in written.text
    assert SECRET not in written.text


# --- real models, which log what they do ---


def test_whisper_tells_how_much_it_dropped_and_not_what(librivox: list[Clip], written: Any) -> None:
    options = WhisperOptions(silence_avg_logprob=0.0, max_no_speech=-1.0, min_avg_logprob=0.0)
    whisper = Whisper("whisper-base", options)
    audio = media.load(librivox[1].path)
    (segment,) = whisper.run([SpeechWindow(audio)])
    assert segment.text == ""
    found = written.text
    assert "characters as no speech" in found
    assert "decoded again" in found
    assert not [word for word in librivox[1].text.lower().split() if len(word) > 4 and word in found.lower()]


def test_kokoro_tells_how_many_signs_it_has_no_sound_for(written: Any) -> None:
    Kokoro()._tokens("☃☂")
    assert "no symbols for 2" in written.text
    assert "☃" not in written.text
