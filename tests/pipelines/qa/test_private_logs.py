"""What is asked, answered, heard and read is written down nowhere, however the engines fail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from mmpipe import MultimodalQA
from mmpipe.errors import MmpipeError, StageError
from mmpipe.evaluate.clips import Clip
from mmpipe.logs import private_logs
from mmpipe.types import Image, Sentence, SpeechRequest, SpeechWindow, TextLine

SECRET = "xylotomy"
QUESTION = f"Is it {SECRET}?"


def failing(kind: type[Any], error: type[Exception], quoted: Callable[[Any], str]) -> Any:
    """An engine of ``kind`` that fails on everything, with what it was given in the message."""

    class Failing(kind):  # type: ignore[misc]
        def run(self, items: Sequence[Any]) -> list[Any]:
            raise error(f"failed on {quoted(items[0])!r}")

    return Failing()


@pytest.mark.parametrize("error", [StageError, RuntimeError])
@pytest.mark.parametrize("stage", ["recognizer", "translators", "synthesizers", "reader", "model", "none"])
def test_no_word_of_a_question_is_in_any_log(
    stage: str,
    error: type[Exception],
    make: Callable[..., MultimodalQA],
    parts: Any,
    librivox: list[Clip],
    written: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    spoken = librivox[1].path

    def heard(_: SpeechWindow) -> str:
        return SECRET

    def sentence(item: Sentence | SpeechRequest) -> str:
        return item.text

    def page(_: Image) -> str:
        return SECRET

    broken: dict[str, Any] = {
        "recognizer": lambda: failing(parts.Ear, error, heard),
        "translators": lambda: [failing(parts.Zed, error, sentence)],
        "synthesizers": lambda: [failing(parts.Beep, error, sentence)],
        "reader": lambda: failing(parts.Page, error, page),
    }
    options = {"recognizer": parts.Ear(QUESTION), "reader": parts.Page(SECRET)}
    qa = make(**options | ({stage: broken[stage]()} if stage in broken else {}))
    if stage == "model":

        def forward(*_: Any, **__: Any) -> Any:
            raise error(f"cannot go on from {SECRET!r}")

        monkeypatch.setattr("mmpipe.generation.scheduler.Scheduler._forward", forward)
    ways: dict[str, Callable[[], Any]] = {
        "recognizer": lambda: qa.ask(spoken, parts.RED, max_new_tokens=3),
        "translators": lambda: qa.ask(f"Isto é {SECRET}, ou não?", parts.RED, language="pt", max_new_tokens=3),
        "synthesizers": lambda: qa.ask(QUESTION, parts.RED, speak=True, choices=(f"{SECRET} here", f"{SECRET} there")),
        "reader": lambda: qa.ask(f"What does the {SECRET} sign say?", parts.RED, max_new_tokens=3),
        "model": lambda: qa.ask(QUESTION, parts.RED, max_new_tokens=3),
    }
    with private_logs():
        if stage == "none":
            assert [way() for way in ways.values()]
        else:
            with pytest.raises(MmpipeError) as failed:
                ways[stage]()
            assert SECRET in str(failed.value), "who asked is told"
        assert SECRET not in written.text


def test_a_line_of_text_is_not_logged(parts: Any, make: Callable[..., MultimodalQA], written: Any) -> None:
    qa = make(reader=parts.Page(SECRET))
    lines: tuple[TextLine, ...] = qa.read(parts.RED)
    assert lines[0].text == SECRET
    assert SECRET not in written.text
