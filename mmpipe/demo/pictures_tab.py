"""The tab for questions about pictures: what there is to choose, and what happens when it is chosen."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gradio as gr
from gradio.context import Context

from mmpipe.demo import pictures_view as view
from mmpipe.demo.errors import told
from mmpipe.demo.image_chat_session import MAX_PICTURE_BYTES, MAX_PICTURES, ImageChatSession, checked
from mmpipe.demo.live_tab import mounted
from mmpipe.demo.models import DemoModels
from mmpipe.demo.recording_tab import EXAMPLES, filled_by
from mmpipe.demo.recording_view import problem
from mmpipe.demo.session_store import SessionStore
from mmpipe.errors import InputError, MmpipeError

if TYPE_CHECKING:
    from mmpipe.pipelines.multimodal_qa import AskOptions

#: (what the button says, file)
_EXAMPLES = (("Koala", "koala.jpg"), ("Macaw", "macaw.jpg"), ("Coffee", "coffee.jpg"), ("Sign", "sign.png"))
_QUESTIONS = ("What is this?", "Is it an animal?", "What does it say?")
MAX_QUESTION_CHARS = 4000
#: Visitors who are answered at the same time; they share the batches of the model.
AT_ONCE = 24
_AS_ASKED = ("As the question", "")
_LIMITS = (
    f"Up to {MAX_PICTURES}, of {MAX_PICTURE_BYTES // 2**20} MB each. They stay on this server, and go when you leave."
)

#: As ``static/image_list.js`` gives them: "path" and "name" of each.
Pictures = list[dict[str, str]] | None


def build(models: DemoModels) -> None:
    """Everything of the tab, with ``models`` behind it."""
    pairs, sessions = models.pairs, SessionStore(ImageChatSession)
    missing = _missing()
    answers, reads = "qa" not in missing, "ocr" not in missing

    for text in missing.values():
        gr.HTML(problem(text))
    with gr.Row(elem_classes="pic-columns"):
        with gr.Column(min_width=0, elem_classes="mm-panel mm-desk pic-given"):
            image_list = filled_by("image_list.js", "pic-list", hint=_LIMITS)
            rejected = gr.HTML("", apply_default_css=False, elem_id="pic-rejected")
            with gr.Row(elem_classes="mm-examples"):
                gr.HTML('<span class="mm-hint">Or try one:</span>')
                examples = [gr.Button(says, size="sm", elem_classes="mm-example") for says, _ in _EXAMPLES]
        with gr.Column(min_width=0, elem_classes="mm-panel mm-desk pic-talk"):
            log = gr.HTML(
                view.conversation(()),
                apply_default_css=False,
                js_on_load=mounted("pictures.js"),
                elem_id="pic-conversation",
            )
            with gr.Row(elem_classes="mm-examples"):
                questions = [
                    gr.Button(text, size="sm", elem_classes="mm-example", interactive=answers) for text in _QUESTIONS
                ]
            question = filled_by("question.js", "pic-question", answers=answers, most=MAX_QUESTION_CHARS)
            with gr.Row(elem_classes="mm-actions"):
                explain = gr.Button("Show evidence", size="md", interactive=False, elem_id="pic-explain")
                new = gr.Button("New conversation", size="md", elem_id="pic-new")
        with gr.Column(min_width=0, elem_classes="mm-panel mm-desk pic-settings"):
            language = gr.Dropdown(
                [_AS_ASKED, *pairs.targets("en")], value="", label="Answer in", elem_id="pic-language"
            )
            speak = gr.Checkbox(False, label="Speak the answers", elem_id="pic-speak")
            into = gr.Dropdown(pairs.targets(), value="pt", label="Translate text in pictures into", elem_id="pic-into")
            with gr.Row(elem_classes="mm-actions"):
                read = gr.Button("Read the text", size="md", interactive=reads, elem_id="pic-read")
                translate = gr.Button("Translate the text", size="md", interactive=reads, elem_id="pic-translate")

    outputs = [log, explain]

    async def follow(
        request: gr.Request, way: Callable[[ImageChatSession], AsyncIterator[None]]
    ) -> AsyncIterator[tuple[Any, Any]]:
        """Show the conversation as it grows."""
        session = sessions.of(request)
        try:
            async for _ in way(session):
                yield view.conversation(session.turns), gr.update(interactive=answers and session.can_explain)
        except MmpipeError as error:  # it did not even begin
            yield view.conversation(session.turns) + problem(told(error)), gr.skip()

    def paths(pictures: Pictures, request: gr.Request) -> list[Path]:
        if not pictures:
            raise InputError("There is no picture yet. Add one, or try one of the examples.")
        return [sessions.claim(request, picture) for picture in _listed(pictures)]

    async def ask(
        given: str | dict[str, str], pictures: Pictures, to: str, speaks: bool, request: gr.Request
    ) -> AsyncIterator[tuple[Any, Any]]:
        options: AskOptions = {"speak": speaks}
        if to:
            options["to"] = to

        def way(session: ImageChatSession) -> AsyncIterator[None]:
            return session.ask(
                models, _asked(given, lambda upload: sessions.claim(request, upload)), paths(pictures, request), options
            )

        async for update in follow(request, way):
            yield update

    async def read_text(pictures: Pictures, request: gr.Request) -> AsyncIterator[tuple[Any, Any]]:
        async for update in follow(request, lambda session: session.read(models, paths(pictures, request))):
            yield update

    async def translate_text(pictures: Pictures, to: str, request: gr.Request) -> AsyncIterator[tuple[Any, Any]]:
        async for update in follow(request, lambda session: session.translate(models, paths(pictures, request), to)):
            yield update

    async def show_evidence(request: gr.Request) -> AsyncIterator[tuple[Any, Any]]:
        async for update in follow(request, ImageChatSession.explain):
            yield update

    def forget(request: gr.Request) -> tuple[Any, Any]:
        sessions.of(request).forget()
        return view.conversation(()), gr.update(interactive=False)

    def take(pictures: Pictures, request: gr.Request) -> tuple[Any, str]:
        """Of what was put into the tray, keep what are pictures, and say what is wrong with the rest."""
        kept: list[Path] = []
        problems: dict[str, None] = {}
        for picture in _listed(pictures or []):
            if len(kept) == MAX_PICTURES:
                problems[f"These are more than {MAX_PICTURES} pictures: the first {MAX_PICTURES} are kept."] = None
                break
            try:
                kept.append(checked(sessions.claim(request, picture)))
            except Exception as error:
                problems[told(error)] = None
        return _given(kept), "".join(map(problem, problems))

    def example(file: str) -> Callable[[gr.Request], tuple[Any, str]]:
        def load(request: gr.Request) -> tuple[Any, str]:
            own = sessions.of(request).folder / file
            shutil.copyfile(EXAMPLES / file, own)
            return _given([own]), ""

        return load

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    shared: dict[str, Any] = {"concurrency_limit": AT_ONCE, "concurrency_id": "pictures", **quiet}
    asking = [image_list, language, speak]
    question.submit(ask, [question, *asking], outputs, **shared)
    for button in questions:
        button.click(ask, [button, *asking], outputs, **shared)
    read.click(read_text, [image_list], outputs, **shared)
    translate.click(translate_text, [image_list, into], outputs, **shared)
    explain.click(show_evidence, None, outputs, **shared)
    new.click(forget, None, outputs, queue=False, **quiet)
    image_list.upload(take, [image_list], [image_list, rejected], concurrency_limit=AT_ONCE, **quiet)
    for button, (_, file) in zip(examples, _EXAMPLES, strict=True):
        button.click(example(file), None, [image_list, rejected], **quiet)
    page = Context.root_block
    assert page is not None
    page.unload(sessions.left)


def _given(pictures: list[Path]) -> list[dict[str, str]]:
    return [{"path": str(path), "name": path.name} for path in pictures]


def _listed(pictures: object) -> list[object]:
    """What a page sends is not to be believed.

    Raises:
        InputError: it is no list of pictures.
    """
    if not isinstance(pictures, list):
        raise InputError("These are no pictures that were uploaded here. Choose some again.")
    return pictures


def _asked(given: object, claim: Callable[[object], Path]) -> str | Path:
    """The question that was typed, or the recording of it.

    Raises:
        InputError: there is neither.
    """
    value = given if isinstance(given, dict) else {"text": given}
    text = value.get("text")
    if isinstance(text, str) and text.strip():
        return text.strip()
    if "path" not in value:
        raise InputError("There is no question. Type one, or press Speak and say it.")
    return claim(value)


def _missing() -> dict[str, str]:
    """The extras that are not installed, and what to do about it."""
    found = {}
    if find_spec("torch") is None or find_spec("transformers") is None:
        found["qa"] = (
            "Questions are not answered here: that needs PyTorch. Install it: pip install 'mmpipe[qa]'. "
            "Text in pictures is read and translated without it."
        )
    if find_spec("rapidocr") is None:
        found["ocr"] = "Text in pictures is not read here. Install what it takes: pip install 'mmpipe[ocr]'"
    return found
