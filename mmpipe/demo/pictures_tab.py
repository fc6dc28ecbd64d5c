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
from mmpipe.demo.live_tab import mounted
from mmpipe.demo.models import DemoModels
from mmpipe.demo.pairs import pairs_here
from mmpipe.demo.pictures_desk import MAX_PICTURE_BYTES, MAX_PICTURES, Desk, checked
from mmpipe.demo.recording_tab import EXAMPLES
from mmpipe.demo.recording_view import problem
from mmpipe.demo.visitors import Visitors
from mmpipe.errors import InputError, MmpipeError

if TYPE_CHECKING:
    from mmpipe.pipelines.multimodal_qa import AskOptions

#: (what the button says, file)
_EXAMPLES = (("Koala", "koala.jpg"), ("Macaw", "macaw.jpg"), ("Coffee", "coffee.jpg"), ("Sign", "sign.png"))
_QUESTIONS = ("What is this?", "Is it an animal?", "What does it say?")
#: Visitors who are answered at the same time; they share the batches of the model.
AT_ONCE = 24
_AS_ASKED = ("As the question", "")
_LIMITS = f"Up to {MAX_PICTURES} pictures of {MAX_PICTURE_BYTES // 2**20} MB. They stay on this machine."

#: As Gradio's gallery gives pictures: (path, caption).
Pictures = list[tuple[str, str | None]] | None


def build(models: DemoModels) -> None:
    """Everything of the tab, with ``models`` behind it."""
    pairs, visitors = pairs_here(), Visitors(Desk)
    missing = _missing()
    answers, reads = "qa" not in missing, "ocr" not in missing

    for text in missing.values():
        gr.HTML(problem(text))
    with gr.Row(elem_classes="pic-columns"):
        with gr.Column(scale=2, min_width=300):
            gallery = gr.Gallery(
                label="Pictures", columns=3, height=260, object_fit="cover", interactive=True,
                sources=["upload", "webcam", "clipboard"], type="filepath", buttons=[], elem_id="pic-gallery",
            )  # fmt: skip
            gr.HTML(f'<p class="mm-hint">{_LIMITS}</p>', elem_classes="mm-hint-block")
            rejected = gr.HTML("", elem_id="pic-rejected")
            with gr.Row(elem_classes="mm-examples"):
                gr.HTML('<span class="mm-hint">Try one:</span>', elem_classes="mm-examples-label")
                examples = [gr.Button(says, size="sm", elem_classes="mm-example") for says, _ in _EXAMPLES]
            with gr.Row(elem_classes="pic-reading"):
                read = gr.Button("Read the text", size="md", interactive=reads, elem_id="pic-read")
                translate = gr.Button("Translate the text", size="md", interactive=reads, elem_id="pic-translate")
                into = gr.Dropdown(pairs.targets(), value="pt", label="Into", elem_id="pic-into", min_width=120)
            with gr.Row(elem_classes="pic-answering"):
                language = gr.Dropdown(
                    [_AS_ASKED, *pairs.targets("en")],
                    value="",
                    label="Answer in",
                    elem_id="pic-language",
                    min_width=120,
                )
                speak = gr.Checkbox(False, label="Speak answers", elem_id="pic-speak", min_width=120)
        with gr.Column(scale=3, min_width=300):
            log = gr.HTML(view.conversation(()), js_on_load=mounted("pictures.js"), elem_id="pic-conversation")
            with gr.Row(elem_classes="mm-examples"):
                questions = [
                    gr.Button(text, size="sm", elem_classes="mm-example", interactive=answers) for text in _QUESTIONS
                ]
            question = gr.MultimodalTextbox(
                label="Question", placeholder="Ask about the picture", sources=["microphone"], max_lines=4,
                interactive=answers, elem_id="pic-question", max_plain_text_length=4000,
            )  # fmt: skip
            with gr.Row(elem_classes="pic-actions"):
                explain = gr.Button("Show evidence", size="sm", interactive=False, elem_id="pic-explain")
                new = gr.Button("New conversation", size="sm", elem_id="pic-new")

    outputs = [log, explain]

    async def follow(request: gr.Request, way: Callable[[Desk], AsyncIterator[None]]) -> AsyncIterator[tuple[Any, Any]]:
        """Show the conversation as it grows."""
        desk = visitors.of(request)
        try:
            async for _ in way(desk):
                yield view.conversation(desk.turns), gr.update(interactive=answers and desk.can_explain)
        except MmpipeError as error:  # it did not even begin
            yield view.conversation(desk.turns) + problem(told(error)), gr.skip()

    async def ask(
        given: str | dict[str, Any], pictures: Pictures, to: str, speaks: bool, request: gr.Request
    ) -> AsyncIterator[tuple[Any, Any]]:
        text = given if isinstance(given, str) else given["text"].strip()
        spoken = [] if isinstance(given, str) else given["files"]
        options: AskOptions = {"speak": speaks}
        if to:
            options["to"] = to

        def way(desk: Desk) -> AsyncIterator[None]:
            asked = text if text or not spoken else visitors.claim(request, spoken[0])
            if not asked:
                raise InputError("There is no question. Type one, or press the microphone and speak.")
            return desk.ask(models, asked, _paths(pictures), options)

        async for update in follow(request, way):
            yield update

    async def read_text(pictures: Pictures, request: gr.Request) -> AsyncIterator[tuple[Any, Any]]:
        async for update in follow(request, lambda desk: desk.read(models, _paths(pictures))):
            yield update

    async def translate_text(pictures: Pictures, to: str, request: gr.Request) -> AsyncIterator[tuple[Any, Any]]:
        async for update in follow(request, lambda desk: desk.translate(models, _paths(pictures), to)):
            yield update

    async def show_evidence(request: gr.Request) -> AsyncIterator[tuple[Any, Any]]:
        async for update in follow(request, lambda desk: desk.explain(models)):
            yield update

    def forget(request: gr.Request) -> tuple[Any, Any]:
        visitors.of(request).forget()
        return view.conversation(()), gr.update(interactive=False)

    def take(pictures: Pictures, request: gr.Request) -> tuple[Any, str]:
        """Of what was put into the gallery, keep what are pictures, and say what is wrong with the rest."""
        kept: list[str] = []
        problems: dict[str, None] = {}
        for upload, _ in pictures or []:
            if len(kept) == MAX_PICTURES:
                problems[f"These are more than {MAX_PICTURES} pictures: the first {MAX_PICTURES} are kept."] = None
                break
            try:
                kept.append(str(checked(visitors.claim(request, upload))))
            except Exception as error:
                problems[told(error)] = None
        return kept or None, "".join(map(problem, problems))

    def example(file: str) -> Callable[[gr.Request], tuple[Any, str]]:
        def load(request: gr.Request) -> tuple[Any, str]:
            own = visitors.of(request).folder / file
            shutil.copyfile(EXAMPLES / file, own)
            return [str(own)], ""

        return load

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    shared: dict[str, Any] = {"concurrency_limit": AT_ONCE, "concurrency_id": "pictures", **quiet}
    asking = [gallery, language, speak]
    question.submit(ask, [question, *asking], outputs, **shared)
    question.submit(lambda: {"text": "", "files": []}, None, [question], queue=False, **quiet)
    for button in questions:
        button.click(ask, [button, *asking], outputs, **shared)
    read.click(read_text, [gallery], outputs, **shared)
    translate.click(translate_text, [gallery, into], outputs, **shared)
    explain.click(show_evidence, None, outputs, **shared)
    new.click(forget, None, outputs, queue=False, **quiet)
    gallery.upload(take, [gallery], [gallery, rejected], concurrency_limit=AT_ONCE, **quiet)
    for button, (_, file) in zip(examples, _EXAMPLES, strict=True):
        button.click(example(file), None, [gallery, rejected], **quiet)
    page = Context.root_block
    assert page is not None
    page.unload(visitors.left)


def _paths(pictures: Pictures) -> list[Path]:
    if not pictures:
        raise InputError("There is no picture yet. Add one on the left, or try one of the examples.")
    return [Path(path) for path, _ in pictures]


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
