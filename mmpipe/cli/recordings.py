"""``mmpipe transcribe``, ``translate`` and ``align``."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from mmpipe.cli.console import INTERRUPTED, err, fail, guarded, out, results
from mmpipe.errors import InputError, MmpipeError
from mmpipe.files import writing
from mmpipe.subtitles import clock
from mmpipe.types import RecognitionOptions, Segment, TranslatedSegment, Word

if TYPE_CHECKING:
    from mmpipe.pipelines.jobs import Report
    from mmpipe.stage import Translator

#: Recordings that are worked on at the same time. Their windows share batches, so more gain nothing.
AT_ONCE = 4

R = TypeVar("R")

Files = Annotated[list[Path], typer.Argument(help="Audio or video files, any format.", show_default=False)]
Language = Annotated[str, typer.Option("--language", "-l", help="Spoken language (ISO 639-1), or auto to detect it.")]
Model = Annotated[str, typer.Option("--model", help="Whisper weights, a folder, or your own engine as module:Class.")]
OutFile = Path | None


def _file_option(help_text: str, *names: str) -> Any:
    return typer.Option(*names, help=help_text, show_default=False)


Srt = Annotated[OutFile, _file_option("Write SRT subtitles. With several recordings: a folder.", "--srt")]
Vtt = Annotated[OutFile, _file_option("Write WebVTT subtitles.", "--vtt")]
Json = Annotated[OutFile, _file_option("Write the full result as JSON.", "--json")]
Txt = Annotated[OutFile, _file_option("Write the text.", "--txt")]
Prompt = Annotated[str | None, typer.Option(help="Initial prompt: preceding text that sets names and style.")]
Hotwords = Annotated[list[str] | None, typer.Option(help="Name or term to expect. Repeatable.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Do not print the recognized text.")]


def _language(name: str) -> str | None:
    return None if name == "auto" else name.lower()


def _make_folders(sources: Sequence[Path], paths: Iterable[Path | None]) -> None:
    """Where there are several ``sources``, each of ``paths`` is a folder: make it, before any work.

    Raises:
        InputError: two recordings would be written to one file, or there is a file where a folder should be.
        OutputError: a folder cannot be made.
    """
    folders = list(filter(None, paths))
    if len(sources) < 2 or not folders:
        return
    named: dict[str, Path] = {}
    for source in sources:
        if (other := named.setdefault(source.stem, source)) is not source:
            raise InputError(
                f"What {str(other)!r} and {str(source)!r} give would have one name, {source.stem!r}, and overwrite "
                "each other. Run mmpipe once for each, or rename one."
            )
    for folder in folders:
        if folder.exists() and not folder.is_dir():
            raise InputError(f"{str(folder)!r} is a file: for several recordings, name a folder.")
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)


def _subtitle_paths(source: Path, several: bool, given: Sequence[tuple[str, Path | None]]) -> tuple[Path, ...]:
    return tuple(_output(source, several, path, kind) for kind, path in given if path)


def _output(source: Path, several: bool, path: Path, suffix: str) -> Path:
    """Where the output of ``source`` goes: ``path``, or a file in it when it is a folder."""
    return path / f"{source.stem}{suffix}" if several or path.is_dir() else path


class _Stopped(Exception):  # noqa: N818  (no error: the person wants it)
    """Ctrl-C was pressed while a recording was worked on in another thread."""


def _work(sources: Sequence[Path], job: Callable[[Path, Callable[[float], None]], R]) -> list[R]:
    """Run ``job`` for every source, a few at once, under a progress bar each. One that fails does not stop the others.

    ``job`` gets a function to which it reports how far it is, in seconds.
    """
    from mmpipe.audio.media import probe

    stop = threading.Event()
    failed = 0
    done: list[R] = []
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bars, ThreadPoolExecutor(AT_ONCE) as pool:

        def run(source: Path) -> R:
            task = bars.add_task(source.name, total=probe(source).duration_s)

            def report(done_s: float) -> None:
                if stop.is_set():
                    raise _Stopped
                bars.update(task, completed=done_s)

            try:
                return job(source, report)
            finally:
                bars.remove_task(task)

        futures = {source: pool.submit(run, source) for source in sources}
        try:
            for source, future in futures.items():
                try:
                    done.append(future.result())
                except MmpipeError as error:
                    failed += 1
                    fail(error, where=f"{source.name}: " if len(sources) > 1 else "")
        except KeyboardInterrupt:
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if failed:
        raise typer.Exit(1)
    return done


def _line(item: Segment | TranslatedSegment, name: str) -> Text:
    """What is printed of ``item``. To be printed in one piece: several recordings are worked on at the same time."""
    source = item if isinstance(item, Segment) else item.source
    line = Text.assemble(name, (f"{clock(source.start_s, '.')} ", "dim"))
    if isinstance(item, Segment):
        return line.append(item.text)
    indent = " " * len(line)
    if item.translation.source_text:
        line.append(f"{item.translation.source_text}\n{indent}")
    return line.append(item.translation.text, "bold")


def _timed(word: Word) -> str:
    return f"{word.start_s:9.2f} {word.end_s:9.2f}  {word.probability:.2f}  {word.text}"


@guarded
def transcribe(
    files: Files,
    language: Language = "auto",
    words: Annotated[bool, typer.Option(help="Print word timestamps and probabilities.")] = False,
    entropy: Annotated[bool, typer.Option(help="Add the mean entropy of each segment to the JSON.")] = False,
    srt: Srt = None,
    vtt: Vtt = None,
    json: Json = None,
    txt: Txt = None,
    task: Annotated[Literal["transcribe", "translate"], typer.Option(help="translate: into English.")] = "transcribe",
    beam: Annotated[int, typer.Option(help="Beam size; 1 for greedy decoding.", min=1, max=20)] = 1,
    prompt: Prompt = None,
    hotword: Hotwords = None,
    model: Model = "whisper-base",
    quiet: Quiet = False,
) -> None:
    """Transcribe recordings."""
    from mmpipe.pipelines.engines import Engines
    from mmpipe.pipelines.jobs import Outputs, transcribe_recording
    from mmpipe.pipelines.transcription import Transcriber

    options = RecognitionOptions(
        language=_language(language),
        task=task,
        word_timestamps=True,
        entropy=entropy,
        beam_size=beam,
        initial_prompt=prompt,
        hotwords=tuple(hotword or ()),
    )
    several = len(files) > 1
    given = ((".srt", srt), (".vtt", vtt), (".json", json), (".txt", txt))
    _make_folders(files, (srt, vtt, json, txt))
    with Engines(model) as engines, Transcriber(engines) as transcriber:

        def job(source: Path, report: Callable[[float], None]) -> None:
            def show(segment: Segment) -> None:
                report(segment.end_s)
                lines = [] if quiet else [_line(segment, f"{source.name}: " if several else "")]
                if words:
                    lines += [Text(f"    {_timed(word)}") for word in segment.words]
                if lines:
                    results().print(Text("\n").join(lines))

            outputs = Outputs(_subtitle_paths(source, several, given))
            transcribe_recording(transcriber, source, outputs, options, on_item=show)

        _work(files, job)


@guarded
def translate(
    files: Annotated[
        list[Path] | None, typer.Argument(help="Recordings. Without any: text from standard input.")
    ] = None,
    to: Annotated[str, typer.Option("--to", help="Target language (ISO 639-1).")] = "",
    source: Annotated[str, typer.Option("--from", help="Source language (ISO 639-1), or auto to detect it.")] = "auto",
    text: Annotated[str | None, typer.Option(help="Translate this text instead of a recording.")] = None,
    speak: Annotated[OutFile, _file_option("Write the translation as speech.", "--speak")] = None,
    voice: Annotated[str | None, typer.Option(help="Voice name; see `mmpipe speak --list`.")] = None,
    speed: Annotated[float, typer.Option(help="Speaking rate.", min=0.5, max=2.0)] = 1.0,
    dub: Annotated[bool, typer.Option(help="Align each spoken sentence with the original.")] = False,
    mux: Annotated[OutFile, _file_option("Write the video with dubbed speech and subtitles.", "--mux")] = None,
    srt: Srt = None,
    vtt: Vtt = None,
    json: Json = None,
    txt: Txt = None,
    bilingual: Annotated[bool, typer.Option(help="Write subtitles in both languages.")] = False,
    glossary: Annotated[OutFile, _file_option("TSV file of terms and their translations.", "--glossary")] = None,
    via: Annotated[
        Literal["auto", "text", "speech"],
        typer.Option(help="Route into English: by way of text, or straight from speech."),
    ] = "auto",
    resume: Annotated[bool, typer.Option(help="Resume an interrupted run.")] = False,
    translator: Annotated[
        list[str] | None,
        typer.Option(
            help="Preferred engine: your own as module:Class, hf:OWNER/NAME or a folder (CTranslate2). Repeatable."
        ),
    ] = None,
    prompt: Prompt = None,
    hotword: Hotwords = None,
    model: Model = "whisper-base",
    quiet: Quiet = False,
) -> None:
    """Translate recordings or text, optionally as speech."""
    if not to:
        raise InputError("Say which language to translate into: --to pt, for example. See mmpipe languages.")
    to = to.lower()
    if text is not None or not files or files == [Path("-")]:
        if text is not None and files:
            raise InputError("Give either recordings or --text, not both.")
        of_recordings: dict[str, object] = {"--srt": srt, "--vtt": vtt, "--json": json, "--txt": txt, "--mux": mux}
        of_recordings |= {"--dub": dub, "--bilingual": bilingual, "--resume": resume}
        of_recordings |= {"--prompt": prompt, "--hotword": hotword}
        if given_for_nothing := [name for name, value in of_recordings.items() if value]:
            raise InputError(
                f"{', '.join(given_for_nothing)}: for recordings only. A text's translation is printed, "
                "to keep in a file by > FILE."
            )
        _translate_text(text, _language(source), to, glossary, speak, voice, speed, _engines(translator))
        return
    from mmpipe.pipelines.engines import Engines
    from mmpipe.pipelines.jobs import Outputs, translate_recording
    from mmpipe.pipelines.speech_translation import SpeechTranslator
    from mmpipe.translate import Glossary

    several = len(files) > 1
    given = ((".srt", srt), (".vtt", vtt), (".json", json), (".txt", txt))
    _make_folders(files, (srt, vtt, json, txt, speak, mux))
    options = RecognitionOptions(initial_prompt=prompt, hotwords=tuple(hotword or ()))
    engines = Engines(model, translators=_engines(translator))
    pipeline = SpeechTranslator(
        to,
        engines,
        source=_language(source),
        glossary=Glossary.load(glossary) if glossary else None,
        voice=voice,
        speed=speed,
        via=via,
        options=options,
    )
    with engines, pipeline:

        def job(path: Path, report: Callable[[float], None]) -> Report:
            def show(item: TranslatedSegment) -> None:
                if not quiet:
                    results().print(_line(item, f"{path.name}: " if several else ""))
                report(item.source.end_s)

            outputs = Outputs(
                subtitles=_subtitle_paths(path, several, given),
                speech=_output(path, several, speak, ".wav") if speak else None,
                video=_output(path, several, mux, ".mp4") if mux else None,
                bilingual=bilingual,
                dub=dub,
            )
            return translate_recording(pipeline, path, outputs, resume=resume, on_item=show)

        try:
            reports = _work(files, job)
        except KeyboardInterrupt:
            err.print("[yellow]Stopped.[/] What was finished is kept: add --resume to go on from there.")
            raise typer.Exit(INTERRUPTED) from None
    for report in reports:
        _print_report(report)


def _engines(names: list[str] | None) -> list[Translator] | None:
    """The engines of these names before those that are installed; None: only those."""
    if not names:
        return None
    from mmpipe.extras import load_engine
    from mmpipe.stage import Translator
    from mmpipe.translate.ct2 import CTranslate2Translator
    from mmpipe.translate.engines import installed_engines

    def load(name: str) -> Translator:
        own: Translator
        if ":" in name and not name.startswith("hf:"):
            own = load_engine(name, Translator)
        else:
            own = CTranslate2Translator(name)
        return own

    return [*map(load, names), *installed_engines()]


def _print_report(report: Report) -> None:
    import resource

    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines = [
        f"{report.source.name}: {report.language} to {report.target}, {report.sentences} sentences"
        + (f" ({report.resumed} from an earlier run)" if report.resumed else ""),
        f"  by way of  {', '.join(report.routes) or 'nothing: same language'}"
        + (f" ({report.tier})" if report.tier else ""),
        f"  recording  {report.duration_s:.1f} s" + (f", speech {report.speech_s:.1f} s" if report.speech_s else ""),
        f"  took       {report.took_s:.1f} s, real-time factor {report.took_s / report.duration_s:.2f}, "
        f"peak memory {peak_mb:.0f} MB",
    ]
    if report.max_lag_s > 0.5:
        lines.append(f"  dubbing    at worst {report.max_lag_s:.1f} s behind the source")
    for line in lines:
        err.print(line, markup=False)


def _translate_text(
    text: str | None,
    source: str | None,
    to: str,
    glossary: Path | None,
    speak: Path | None,
    voice: str | None,
    speed: float,
    engines: list[Translator] | None,
) -> None:
    from mmpipe.translate import Glossary, TextTranslator

    terms = Glossary.load(glossary) if glossary else None
    with TextTranslator(engines, glossary=terms) as translator, _track(speak) as track:
        for translation in translator.stream(_checked(_lines(text), source), source, to):
            out.print(translation.text, markup=False, end="")
            track(translation.text, to, voice, speed)


def _lines(text: str | None) -> Iterator[str]:
    if text is not None:
        yield text + "\n"
        return
    if sys.stdin.isatty():
        err.print("Reading text from standard input; end it with Ctrl-D.")
    yield from sys.stdin


def _checked(lines: Iterator[str], source: str | None) -> Iterator[str]:
    """``lines`` as they are, once their beginning was seen not to be in a language other than ``source``."""
    from mmpipe.translate import check_language

    held = []
    if source:
        for line in lines:
            held.append(line)
            if sum(map(len, held)) > 500:
                break
        check_language("".join(held), source)
    yield from held
    yield from lines


@contextmanager
def _track(path: Path | None) -> Iterator[Callable[[str, str, str | None, float], None]]:
    if path is None:
        yield lambda text, language, voice, speed: None
        return
    from mmpipe.audio.media import AudioWriter
    from mmpipe.audio.synthesis import TextToSpeech

    text_to_speech = TextToSpeech()
    with AudioWriter(path, 24_000) as writer:

        def write(text: str, language: str, voice: str | None, speed: float) -> None:
            for piece in text_to_speech.stream(text, language, voice, speed):
                writer.write(piece)

        yield write


@guarded
def align(
    file: Annotated[Path, typer.Argument(help="The recording.")],
    text: Annotated[Path, typer.Argument(help="Text file with the transcript.")],
    language: Annotated[str, typer.Option("--language", "-l", help="Language of the text.")] = "en",
    srt: Srt = None,
    vtt: Vtt = None,
    json: Json = None,
    model: Model = "whisper-base",
) -> None:
    """Align a transcript with a recording, word by word."""
    from mmpipe.audio.recognition.whisper import Whisper
    from mmpipe.pipelines.alignment import align as run
    from mmpipe.pipelines.jobs import Outputs
    from mmpipe.subtitles import SubtitleWriter

    try:
        content = text.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {str(text)!r} as UTF-8 text: {error}") from error
    paths = tuple(path for path in (srt, vtt, json) if path)
    Outputs(paths).check(file)
    segments = run(file, content, language, Whisper(model))
    for path in paths:
        with SubtitleWriter(path) as writer:
            for segment in segments:
                writer.write(segment)
    for segment in segments:
        for word in segment.words:
            out.print(_timed(word), markup=False)
