"""``mmpipe ask``: questions about pictures."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mmpipe.cli.console import downloading, err, fail, guarded, out, results
from mmpipe.errors import InputError, MmpipeError, OutputError
from mmpipe.files import reason
from mmpipe.types import Answer

if TYPE_CHECKING:
    from mmpipe.pipelines.multimodal_qa import AnswerStream, AskOptions, Conversation, MultimodalQA, Question

#: What tells a picture that is not there from a question.
_PICTURES = frozenset(
    {".avif", ".bmp", ".gif", ".heic", ".ico", ".jp2", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
)
_SOUNDS = frozenset({".aac", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".wav", ".webm", ".wma"})
#: What answers: fetched, if need be, before it is loaded.
_MODELS = ("efficientnet-lite2", "smollm2-135m")
#: Lines of a batch that are under way at once: enough for full batches, however long the file.
_AHEAD = 48
#: What a line of a batch may have besides.
_EXTRAS = {"choices": list, "schema": dict, "language": str, "to": str}


@guarded
def ask(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE... [QUESTION]",
            help="Images, then a question or a recording of one. Without a question, start a conversation.",
            show_default=False,
        ),
    ] = None,
    choices: Annotated[str | None, typer.Option(help="Allowed answers, comma-separated.")] = None,
    schema: Annotated[Path | None, typer.Option(help="JSON Schema file that the answer must follow.")] = None,
    to: Annotated[str | None, typer.Option("--to", help="Language of the answer (ISO 639-1).")] = None,
    source: Annotated[str | None, typer.Option("--from", help="Language of the question or text (ISO 639-1).")] = None,
    voice: Annotated[bool, typer.Option("--voice", help="Ask through the microphone and hear the answer.")] = False,
    speak: Annotated[Path | None, typer.Option(help="Write the answer as speech.")] = None,
    evidence: Annotated[
        Path | None,
        typer.Option(help="Write the evidence for the answer: a PNG, with the numbers in a JSON file beside it."),
    ] = None,
    read: Annotated[bool, typer.Option("--read", help="Print the text in the images.")] = False,
    translate: Annotated[
        str | None, typer.Option(help="Translate the text in the image, in place, into this language.")
    ] = None,
    out_file: Annotated[Path | None, typer.Option("--out", help="PNG file for --translate.")] = None,
    batch: Annotated[
        Path | None,
        typer.Option(help='File of questions, one a line: {"image": ..., "question": ...}; see docs/questions.md.'),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the full result as JSON.")] = False,
    max_tokens: Annotated[int, typer.Option(help="Maximum length of an answer.", min=1)] = 128,
    threshold: Annotated[
        float | None,
        typer.Option(help="Withhold answers less likely than this to be right; 0 gives all of them.", min=0, max=1),
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="Adapter folder written by `mmpipe train fusion`.")] = None,
) -> None:
    """Answer questions about images."""
    images, question = _parted(what or [])
    modes = [name for name, on in (("--read", read), ("--translate", translate), ("--batch", batch)) if on]
    if len(modes) > 1:
        raise InputError(f"{' and '.join(modes)} are different things to do. Give one of them.")
    if (bool(images) or question is not None) == bool(batch):
        raise InputError("Give pictures, and a question about them, or --batch with a file of questions.")
    if read or translate:
        if question is not None:
            raise InputError(f"{modes[0]} takes pictures only; {str(question)!r} is none.")
        _read(images, as_json) if read else _translate(images, str(translate), source, out_file)
        return
    if out_file is not None:
        raise InputError("--out belongs to --translate. Answers go to standard output.")
    if speak and question is None:
        raise InputError("--speak writes the answer to one question: give it, or hear the answers with --voice.")
    if evidence and (question is None or choices or schema):
        raise InputError("--evidence is for one question that is answered in own words: leave the rest out.")
    options: AskOptions = {"max_new_tokens": max_tokens}
    if choices is not None:
        options["choices"] = [choice.strip() for choice in choices.split(",")]
    if schema is not None:
        options["schema"] = _json_file(schema)
    if to is not None:
        options["to"] = to
    if source is not None:
        options["language"] = source
    if speak or voice:
        options["speak"] = True
    with _loaded(adapter, threshold) as qa:
        if batch:
            _batch(qa, batch, options)
        elif evidence is not None and question is not None:
            explained = qa.explain(question, images, **options)
            explained.save(evidence)
            _tell(explained.answer, as_json, speak)
            err.print(f"{evidence}, {evidence.with_suffix('.json')}", markup=False)
        elif question is not None:
            _show(qa.stream(question, images, **options), as_json, speak, aloud=voice)
        elif voice:
            _talk(qa, images, options, as_json)
        else:
            _converse(qa.conversation(), images, options, as_json)


@contextmanager
def _loaded(adapter: Path | None, threshold: float | None) -> Iterator[MultimodalQA]:
    """What answers. The first time it takes minutes, and whoever waits sees what for."""
    from mmpipe.pipelines.engines import Engines
    from mmpipe.pipelines.multimodal_qa import MultimodalQA
    from mmpipe.weights import fetch

    with downloading() as report:
        for model in _MODELS:
            fetch(model, progress=report)
    engines = Engines(fused_model=adapter, interactive=True)
    with err.status("Loading the models"):
        qa = MultimodalQA(engines, threshold=threshold)
    with qa as ready, engines:  # closed first, so that what is being answered when somebody presses Ctrl-C is given up
        yield ready


def _parted(what: Sequence[str]) -> tuple[list[Path], str | Path | None]:
    """Pictures, and the question or its recording after them, if there is one."""
    *images, last = what or [""]
    path = Path(last)
    if path.suffix.lower() in _SOUNDS:
        return list(map(Path, images)), path
    if path.suffix.lower() in _PICTURES or _exists(path) or not last:
        return list(map(Path, filter(None, what))), None
    return list(map(Path, images)), last


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a question is longer than any name may be
        return False


def _json_file(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"Cannot read {str(path)!r} as JSON: {reason(error)}.") from error


# -- text in pictures -------------------------------------------------------------------------------------------


def _read(images: Sequence[Path], as_json: bool) -> None:
    from mmpipe.pipelines.multimodal_qa import PictureReader

    with PictureReader() as reader:
        for image in images:
            lines = reader.read(image)
            if as_json:
                _print_json({"image": str(image), "lines": [line.as_dict() for line in lines]})
            else:
                for line in lines:
                    _print(line.text)
                if not lines:
                    err.print(f"{image}: no text that can be read", markup=False)


def _translate(images: Sequence[Path], to: str, source: str | None, path: Path | None) -> None:
    from mmpipe.pipelines.multimodal_qa import PictureReader
    from mmpipe.vision.images import save

    if len(images) != 1 or path is None:
        raise InputError("--translate takes one picture, and --out to say where the translated one goes.")
    if path.suffix.lower() != ".png":
        raise InputError(f"Pictures are written as PNG: call it {path.with_suffix('.png').name!r}.")
    if path.exists() and path.samefile(images[0]):
        raise OutputError(f"Writing {str(path)!r} would overwrite the picture itself. Use another name.")
    with PictureReader() as reader:
        save(reader.translate(images[0], to, source), path)
    err.print(str(path), markup=False)


# -- one question -----------------------------------------------------------------------------------------------


def _show(stream: AnswerStream, as_json: bool, speak: Path | None = None, *, aloud: bool = False) -> None:
    """Print an answer as it comes."""
    try:
        if not as_json:
            for piece in stream:
                _print(piece, end="")
            _print("")
        _tell(stream.result(), as_json, speak, aloud=aloud, printed=True)
    except KeyboardInterrupt:
        stream.cancel()
        raise


def _tell(
    answer: Answer, as_json: bool, speak: Path | None = None, *, aloud: bool = False, printed: bool = False
) -> None:
    """What is to be known of an answer besides its text, and the text if it was not ``printed`` before."""
    if as_json:
        _print_json(answer.as_dict())
    else:
        if not printed:
            _print(answer.text)
        for text, probability in answer.choices.items():
            err.print(f"  {probability:6.1%}  {text}", markup=False)
        doubt = f"; the likeliest: {answer.said}" if answer.refused and answer.said != answer.text else ""
        err.print(f"  {answer.confidence:.0%} sure{doubt}", markup=False, style="dim")
    if answer.speech is not None and speak is not None:
        from mmpipe.audio import media

        media.save(answer.speech, speak)
        err.print(f"{speak}: {answer.speech.duration_s:.1f} s", markup=False)
    if answer.speech is not None and aloud:
        _play(answer)


def _play(answer: Answer) -> None:
    from mmpipe.audio.devices import Loudspeaker

    assert answer.speech is not None
    with Loudspeaker() as loudspeaker:
        loudspeaker.play(answer.speech)
        asyncio.run(_silence(loudspeaker))


async def _silence(loudspeaker: Any) -> None:
    while loudspeaker.playing:
        await asyncio.sleep(0.05)


# -- conversations ----------------------------------------------------------------------------------------------


def _converse(conversation: Conversation, images: Sequence[Path], options: AskOptions, as_json: bool) -> None:
    """Questions from the keyboard, or line by line from a pipe, until they end."""
    if sys.stdin.isatty():
        err.print("Ask about the pictures; Ctrl-D ends.", style="dim")
    shown = False
    for question in _typed():
        if not question.strip():
            continue
        try:
            _show(conversation.stream(question, () if shown else list(images), **options), as_json)
            shown = True
        except MmpipeError as error:
            fail(error)


def _typed() -> Iterator[str]:
    if not sys.stdin.isatty():
        try:
            yield from sys.stdin
        except UnicodeDecodeError as error:
            raise InputError(f"The questions are not text in UTF-8: {error}.") from error
        return
    while True:
        try:
            yield input("> ")
        except EOFError:
            return


def _talk(qa: MultimodalQA, images: Sequence[Path], options: AskOptions, as_json: bool) -> None:
    """Questions by microphone, answers by loudspeaker, until Ctrl-C."""
    from mmpipe.audio import devices

    conversation = qa.conversation()
    while True:
        err.print("Ask; Ctrl-C ends.", style="dim")
        with devices.Microphone() as microphone:
            spoken = asyncio.run(qa.listen(microphone))
        try:
            stream = conversation.stream(spoken, () if conversation.messages else list(images), **options)
            _show(stream, as_json, aloud=True)
        except MmpipeError as error:
            fail(error)


# -- batches ----------------------------------------------------------------------------------------------------


def _batch(qa: MultimodalQA, path: Path, options: AskOptions) -> None:
    """Answer the questions in ``path``: for each of its lines one of JSON, in order, printed as soon as it is there."""
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {str(path)!r}: {reason(error)}.") from error
    waiting: deque[tuple[int, Callable[[], Answer]]] = deque()
    failed = 0
    columns = (TextColumn("questions"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True, disable=not err.is_terminal) as bars:
        task = bars.add_task("", total=len(lines))

        def take() -> None:
            nonlocal failed
            number, result = waiting.popleft()
            try:
                _print_json({"line": number, **result().as_dict()})
            except MmpipeError as error:
                failed += 1
                _print_json({"line": number, "error": str(error)})
            bars.advance(task)

        for number, line in enumerate(lines, start=1):
            if not line.strip():
                bars.advance(task)
                continue
            if len(waiting) == _AHEAD:
                take()
            waiting.append((number, _submitted(qa, line, path.parent, options)))
        while waiting:
            take()
    if failed:
        err.print(f"{failed} of {len(lines)} lines could not be answered.")
        raise typer.Exit(1)


def _submitted(qa: MultimodalQA, line: str, folder: Path, options: AskOptions) -> Callable[[], Answer]:
    """What waits for the answer to ``line``, or raises what is wrong with it."""
    try:
        return qa.submit(_question(line, folder, options)).result
    except MmpipeError as error:
        wrong = error

    def give_up() -> Answer:
        raise wrong

    return give_up


def _question(line: str, folder: Path, options: AskOptions) -> Question:
    """``{"image": path or list of them, "question": ...}``, and what else :data:`_EXTRAS` names, if wanted."""
    from mmpipe.pipelines.multimodal_qa import Question

    try:
        row = json.loads(line)
        images, text = row.pop("image"), row.pop("question")
        paths = [folder / image for image in ([images] if isinstance(images, str) else images)]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError('The line is not {"image": ..., "question": ...}.') from error
    given = {key: value for key, value in row.items() if value is not None}
    wrong = [key for key, value in given.items() if key not in _EXTRAS or not isinstance(value, _EXTRAS[key])]
    if wrong or not isinstance(text, str):
        raise InputError(f"Unknown in the line, or of the wrong kind: {', '.join(sorted(wrong)) or 'question'}.")
    return Question.about(text, paths, **{**options, **given})


# -- output -----------------------------------------------------------------------------------------------------


def _print_json(data: Any) -> None:
    results().print(json.dumps(data, ensure_ascii=False), markup=False, emoji=False)


def _print(text: str, end: str = "\n") -> None:
    out.print(text, markup=False, emoji=False, end=end)
