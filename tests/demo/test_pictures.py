"""The tab for pictures: in the browser with real models, and its parts alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar

import gradio as gr
import numpy as np
import pytest
from axe_core_python.sync_playwright import Axe
from numpy.typing import NDArray
from PIL import Image as Pillow
from playwright.sync_api import Page, expect

from mmpipe.demo import pictures_tab, pictures_view
from mmpipe.demo.image_chat_session import ChatTurn, ImageChatSession, checked
from mmpipe.demo.models import DemoModels
from mmpipe.errors import ImageError, InputError, MissingDependencyError
from mmpipe.pipelines.multimodal_qa import AnswerStream, Evidence, PictureEvidence
from mmpipe.types import Answer, Image, TextLine

T = TypeVar("T")


@pytest.fixture
def pictures(page: Page) -> Page:
    page.get_by_role("tab", name="Pictures").click()
    return page


def give(page: Page, *files: Path) -> None:
    page.locator("#pic-list input[type=file]").set_input_files(files)


def ask(page: Page, question: str) -> str:
    """The answer, as the page shows it."""
    field = page.get_by_role("textbox", name="Question")
    field.fill(question)
    field.press("Enter")
    return str(turn_of(page, question).locator(".pic-text").inner_text())


def turn_of(page: Page, asked: str) -> Any:
    """The last turn in which ``asked`` was asked, when it is over."""
    turn = page.locator(".pic-turn", has=page.locator(".pic-asked", has_text=asked)).last
    expect(turn).to_be_visible()
    expect(turn.locator(".pic-waiting")).to_have_count(0, timeout=60_000)
    return turn


def pixels(path: Path) -> NDArray[np.uint8]:
    with Pillow.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


# --- in the browser ---


def test_a_picture_is_asked_about_in_several_turns_and_the_evidence_is_shown(
    pictures: Page, data: Path, tmp_path: Path
) -> None:
    page = pictures
    (tmp_path / "cat.jpg").write_text("I am a cat. " * 50)
    give(page, tmp_path / "cat.jpg")
    problem = page.locator("#pic-rejected").get_by_role("alert")
    expect(problem).to_contain_text("'cat.jpg' is text, whatever its name says")
    expect(page.locator(".pic-list img")).to_have_count(0)

    give(page, data / "pictures" / "koala.jpg")
    expect(page.locator(".pic-list img")).to_have_count(1)
    expect(problem).to_have_count(0)
    page.get_by_label("Speak the answers").check()
    assert "koala" in ask(page, "What is this?").lower()
    page.wait_for_function("document.querySelector('.pic-reply audio').duration > 0.3")
    page.get_by_label("Speak the answers").uncheck()
    assert ask(page, "Is it an animal?").lower().startswith("yes")
    expect(page.locator(".pic-thumbs img")).to_have_count(1)  # shown once, remembered

    page.get_by_role("button", name="Show evidence").click()
    turn = turn_of(page, "What does that answer rest on?")
    expect(turn.get_by_role("columnheader", name="Token of the answer")).to_be_visible()
    page.wait_for_function(
        "[...document.querySelectorAll('.pic-reply figure img')].every((img) => img.naturalWidth > 400)"
    )
    assert not [v["id"] for v in Axe().run(page)["violations"] if v["impact"] in ("serious", "critical")]


def test_text_is_read_and_translated_in_its_place(pictures: Page) -> None:
    page = pictures
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("button", name="Read the text").click()
    expect(page.get_by_role("alert")).to_contain_text("There is no picture yet")

    page.get_by_role("button", name="Sign", exact=True).click()
    expect(page.locator(".pic-list img")).to_have_count(1)
    page.get_by_role("button", name="Read the text").click()
    lines = turn_of(page, "Read the text.").locator(".pic-lines li")
    assert [line.split("\n")[0] for line in lines.all_inner_texts()] == [
        "MUSEUM", "Open every day except Monday", "Please do not touch the pictures",
    ]  # fmt: skip
    page.get_by_role("button", name="Translate the text").click()
    link = turn_of(page, "Translate the text into Portuguese.").get_by_role("link", name="Download PNG")
    with page.expect_download() as found:
        link.click()
    translated = pixels(Path(found.value.path()))
    assert translated.shape == (300, 640, 3)
    original = pixels(pictures_tab.EXAMPLES / "sign.png")
    assert (translated[100:260] != original[100:260]).any(axis=-1).mean() > 0.1
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0


def test_a_question_is_spoken_into_the_microphone(pictures: Page) -> None:
    """What Chromium's microphone says is no question; it is heard and answered as one."""
    page = pictures
    page.get_by_role("button", name="Macaw", exact=True).click()
    expect(page.locator(".pic-list img")).to_have_count(1)
    page.get_by_role("button", name="Speak", exact=True).click()
    page.get_by_role("button", name="Stop 0:04").click()
    turn = turn_of(page, "cold-hearted")
    expect(turn.locator(".pic-heard")).to_be_visible()
    expect(turn.locator(".pic-text")).to_be_visible()


def test_without_its_extras_the_tab_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    async def build() -> list[Any]:  # Gradio makes a loop where there is none, and leaves it open
        with gr.Blocks() as blocks, gr.Tab("Pictures"):
            pictures_tab.build(DemoModels())
        return [part for part in blocks.blocks.values() if isinstance(part, gr.HTML | gr.Button)]

    def tab(*missing: str) -> tuple[str, dict[str, bool]]:
        monkeypatch.setattr(pictures_tab, "find_spec", lambda name: None if name in missing else object())
        parts = run(build())
        told = " ".join(str(part.value) for part in parts if isinstance(part, gr.HTML))
        return told, {part.value: part.interactive for part in parts if isinstance(part, gr.Button)}

    told, buttons = tab("torch")
    assert "pip install &#x27;mmpipe[qa]&#x27;" in told
    assert not buttons["What is this?"]
    assert buttons["Read the text"]
    told, buttons = tab("rapidocr")
    assert "pip install &#x27;mmpipe[ocr]&#x27;" in told
    assert buttons["What is this?"]
    assert not buttons["Read the text"]


# --- the conversation alone ---


class Talk:
    """In place of a Conversation: says each of ``pieces``."""

    def __init__(self, pieces: list[str], error: Exception | None = None) -> None:
        self.pieces, self.error = pieces, error
        self.asked: list[tuple[Any, list[Path]]] = []

    def stream(self, question: Any, images: list[Path], **options: Any) -> AnswerStream:
        self.asked.append((question, images))
        out = AnswerStream()
        for piece in self.pieces:
            out.push(piece)
        if self.error:
            out.fail(self.error)
        else:
            text = "".join(self.pieces)
            out.finish(Answer(text=text, question=str(question), language="en", said=text, confidence=0.8))
        return out


def models(*talks: Talk) -> Any:
    left = iter(talks)
    return SimpleNamespace(qa=SimpleNamespace(conversation=lambda: next(left)))


def test_a_picture_is_decoded_and_read_once_to_be_translated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded, read = list[object](), list[Image]()
    line = TextLine("Exit", ((0, 0), (9, 0), (9, 9), (0, 9)), 0.9)
    image = Image(np.zeros((10, 10, 3), np.uint8))

    def load(given: object) -> Image:
        decoded.append(given)
        return image

    monkeypatch.setattr("mmpipe.pipelines.multimodal_qa.image_encoding.load_in_full", load)

    class Reader:
        def read(self, given: Image) -> tuple[TextLine, ...]:
            read.append(given)
            return (line,)

        def translate(self, given: Image, to: str, *, lines: tuple[TextLine, ...]) -> Image:
            assert given is image
            assert (to, lines) == ("pt", (line,))
            return given

    session = ImageChatSession(tmp_path)
    follow(lambda: session.translate(SimpleNamespace(reader=Reader()), [Path("sign.png")], "pt"))  # type: ignore[arg-type]
    assert session.turns[-1].problem == ""
    assert len(session.turns[-1].drawn) == len(decoded) == len(read) == 1


def follow(way: Callable[[], AsyncIterator[None]], look: Callable[[], object] = lambda: None) -> list[object]:
    async def through() -> list[object]:
        return [look() async for _ in way()]

    return run(through())


def run(work: Coroutine[Any, Any, T]) -> T:
    """On a thread of its own: on this one runs the loop of the browser."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def test_an_answer_grows_as_it_comes(tmp_path: Path) -> None:
    session = ImageChatSession(tmp_path)
    talk = Talk(["It is a cat. ", "It sleeps."])
    seen = follow(
        lambda: session.ask(models(talk), "What is this?", [Path("cat.jpg")], {}), lambda: session.turns[-1].text
    )
    assert seen == ["", "It is a cat. ", "It is a cat. It sleeps.", "It is a cat. It sleeps."]
    assert session.turns[-1].done


def test_pictures_are_shown_once_and_one_that_is_taken_away_begins_anew(tmp_path: Path) -> None:
    session, cat, dog = ImageChatSession(tmp_path), Path("cat.jpg"), Path("dog.jpg")
    first, second = Talk(["A."]), Talk(["B."])
    both = models(first, second)
    for pictures in ([cat], [cat], [cat, dog], [dog]):
        follow(lambda given=pictures: session.ask(both, "What?", given, {}))
    assert [[image.content for image in images] for _, images in first.asked] == [[cat], [], [dog]]
    assert [[image.content for image in images] for _, images in second.asked] == [[dog]]


def test_what_goes_wrong_is_told_in_its_place_and_the_next_question_is_answered(tmp_path: Path) -> None:
    session, picture = ImageChatSession(tmp_path), tmp_path / "secret" / "cat.jpg"
    failing = Talk([], ImageError("'cat.jpg' is damaged."))
    follow(lambda: session.ask(models(failing), "What?", [picture], {}))
    html = pictures_view.conversation(session.turns)
    assert "cat.jpg&#x27; is damaged." in html
    failing.error = None
    follow(lambda: session.ask(models(), "What?", [picture], {}))
    (given,) = failing.asked[-1][1]
    assert (given.content, given.name) == (picture, "cat.jpg")  # it was not remembered as shown
    assert not session.turns[-1].problem


def test_a_missing_extra_is_told_with_its_command(tmp_path: Path) -> None:
    class Missing:
        @property
        def qa(self) -> Any:
            raise MissingDependencyError("Asking needs PyTorch. Install it: pip install 'mmpipe[qa]'")

    session = ImageChatSession(tmp_path)
    follow(lambda: session.ask(Missing(), "What?", [Path("cat.jpg")], {}))  # type: ignore[arg-type]
    assert "pip install" in session.turns[-1].problem


def test_one_thing_after_the_other(tmp_path: Path) -> None:
    session = ImageChatSession(tmp_path)

    async def twice() -> None:
        first = session.ask(models(Talk(["A."])), "What?", [Path("cat.jpg")], {})
        await anext(first)
        with pytest.raises(InputError, match="still on its way"):
            await anext(session.ask(models(), "And?", [Path("cat.jpg")], {}))
        async for _ in first:
            pass

    run(twice())
    assert [turn.text for turn in session.turns] == ["A."]
    assert not session.busy


def test_a_conversation_may_be_forgotten_while_it_goes_on(tmp_path: Path) -> None:
    session = ImageChatSession(tmp_path)
    follow(lambda: session.ask(models(Talk(["A.", "B."])), "What?", [Path("cat.jpg")], {}), session.forget)
    assert session.turns == []
    follow(lambda: session.ask(models(Talk(["C."])), "What?", [Path("cat.jpg")], {}))
    assert [turn.text for turn in session.turns] == ["C."]


def test_whatever_is_said_or_read_is_never_markup() -> None:
    evil = "<img src=x onerror=alert(1)>"
    corners = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))
    answer = Answer(text=evil, question=evil, language='"><b', said=evil, confidence=0.5, refused=True)
    evidence = Evidence(
        answer,
        (evil,),
        -1.0,
        (
            PictureEvidence(
                Image(np.zeros((2, 2, 3), np.uint8)),
                evil,
                0.5,
                None,
                np.ones((5, 5), np.float32),
                np.ones((1, 4), np.float32) / 8,
            ),
        ),
    )
    turns = [
        ChatTurn(evil, (Path(f"{evil}.png"),), text=evil, answer=answer, done=True),
        ChatTurn("read", lines=(TextLine(evil, corners, 0.9),), done=True),
        ChatTurn("why", evidence=evidence, drawn=(Path(f"{evil}.png"),), done=True),
        ChatTurn("no", problem=evil, done=True),
    ]
    html = pictures_view.conversation(turns)
    assert "onerror=alert(1)>" not in html
    assert "<b" not in html.replace("<br", "")


def test_evidence_names_the_parts_that_count_and_what_they_cost() -> None:
    occlusion = np.zeros((5, 5), np.float32)
    occlusion[1, 2], occlusion[4, 0] = 0.7, 0.005
    picture = PictureEvidence(
        Image(np.zeros((2, 2, 3), np.uint8)), "koala", 0.7, None, occlusion, np.full((2, 4), 0.05, np.float32)
    )
    answer = Answer(text="A koala.", question="What?", language="en", said="A koala.", confidence=0.7)
    html = pictures_view.conversation(
        [ChatTurn("why", evidence=Evidence(answer, ("A", " koala"), -0.3, (picture,)), done=True)]
    )
    assert "<td>upper centre</td><td>50% less likely</td>" in html
    assert "bottom left" not in html
    assert html.count("20.0%</td>") == 2
    nothing = replace(picture, occlusion=np.zeros((5, 5), np.float32))
    turn = ChatTurn("why", evidence=Evidence(answer, ("A", " koala"), -0.3, (nothing,)), done=True)
    assert "No part decides alone" in pictures_view.conversation([turn])


def test_a_picture_that_browsers_do_not_show_becomes_one_that_they_do(tmp_path: Path) -> None:
    Pillow.new("RGB", (20, 10), "red").save(tmp_path / "scan.tiff")
    shown = checked(tmp_path / "scan.tiff")
    assert shown.suffix == ".png"
    assert pixels(shown).shape == (10, 20, 3)


def test_a_broken_picture_is_called_by_its_name(tmp_path: Path, data: Path) -> None:
    (tmp_path / "half.jpg").write_bytes((data / "pictures" / "koala.jpg").read_bytes()[:3000])
    with pytest.raises(ImageError, match=r"^'half.jpg' is damaged"):
        checked(tmp_path / "half.jpg")
