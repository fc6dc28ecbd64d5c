"""``mmpipe live``: captions in two languages, and a voice, while somebody is talking."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterable, Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table
from rich.text import Text

from mmpipe.cli.console import err, guarded, out, results
from mmpipe.errors import StageError
from mmpipe.files import writing


@guarded
def live(
    to: Annotated[
        str | None, typer.Option("--to", help="Target language (ISO 639-1). Without it: captions only.")
    ] = None,
    source: Annotated[str, typer.Option("--from", help="Spoken language (ISO 639-1), or auto to detect it.")] = "auto",
    between: Annotated[
        tuple[str, str] | None,
        typer.Option(help="Two-way mode: two languages, each translated into the other.", show_default=False),
    ] = None,
    input_: Annotated[
        str | None,
        typer.Option("--input", help="File, URL, or - for 16-bit PCM from standard input. Default: the microphone."),
    ] = None,
    realtime: Annotated[bool, typer.Option(help="Replay a file at real-time pace.")] = False,
    rate: Annotated[int, typer.Option(help="Sample rate of PCM from standard input, in Hz.")] = 16_000,
    device: Annotated[str | None, typer.Option(help="Microphone: its number or part of its name.")] = None,
    list_devices: Annotated[bool, typer.Option("--list-devices", help="List the audio devices and exit.")] = False,
    mute: Annotated[bool, typer.Option("--mute", help="Captions only, without voice.")] = False,
    headphones: Annotated[
        bool, typer.Option("--headphones", help="Keep listening while the voice speaks; speech interrupts it.")
    ] = False,
    voice: Annotated[str | None, typer.Option(help="Voice name; see `mmpipe speak --list`.")] = None,
    hotword: Annotated[list[str] | None, typer.Option(help="Name or term to expect. Repeatable.")] = None,
    glossary: Annotated[Path | None, typer.Option(help="TSV file of terms and their translations.")] = None,
    events: Annotated[Path | None, typer.Option(help="JSON Lines file for all events.")] = None,
    model: Annotated[
        str, typer.Option(help="Whisper weights, a folder, or your own engine as module:Class.")
    ] = "whisper-base",
) -> None:
    """Live captions, translation and voice."""
    from mmpipe.audio import devices

    if list_devices:
        for found in devices.list_devices():
            out.print(str(found), markup=False)
        return
    from mmpipe.pipelines.engines import Engines
    from mmpipe.pipelines.live import EndedEvent, InterruptedEvent, LiveModels, LiveOptions, LiveSession, SpokenEvent
    from mmpipe.pipelines.live.sources import pcm, recording
    from mmpipe.translate import Glossary, language_code
    from mmpipe.types import Audio

    # a file or a pipe is nobody who listens: the voice is only logged there
    listener = input_ is None
    options = LiveOptions(
        to=language_code(to) if to else None,
        source=None if source == "auto" else language_code(source),
        between=(language_code(between[0]), language_code(between[1])) if between else None,
        speak=bool(to or between) and not mute and (listener or events is not None),
        voice=voice,
        headphones=headphones or not listener,
        barge_in=None if listener else False,
        hotwords=tuple(hotword or ()),
    )

    async def run() -> None:
        with ExitStack() as stack:
            log = _event_log(stack, events)
            loudspeaker = stack.enter_context(devices.Loudspeaker()) if options.speak and listener else None
            sound: AsyncIterable[Audio]
            if input_ == "-":
                sound = pcm(sys.stdin.buffer, rate)
            elif input_ is not None:
                sound = recording(input_, realtime=realtime)
            else:
                named = int(device) if device and device.isdigit() else device
                sound = stack.enter_context(devices.Microphone(named))
            engines = stack.enter_context(Engines(model, interactive=True))
            models = stack.enter_context(LiveModels(engines, glossary=Glossary.load(glossary) if glossary else None))
            await models.warmup(options.pairs, options.voices)
            session = LiveSession(models, options)
            show = stack.enter_context(Screen(options.target))
            feeding = asyncio.create_task(session.listen(sound, lambda: loudspeaker.playing if loudspeaker else None))

            async def follow() -> str:
                """What happens, until the session ends. Gives why it did."""
                reason = ""
                async for event in session.events():
                    log(event.as_dict())
                    show(event)
                    if loudspeaker and isinstance(event, SpokenEvent):
                        loudspeaker.play(event.audio)
                    elif loudspeaker and isinstance(event, InterruptedEvent):
                        loudspeaker.stop()
                    elif isinstance(event, EndedEvent):
                        reason = event.reason
                return reason

            try:
                try:
                    reason = await follow()
                except asyncio.CancelledError:  # Ctrl-C: what was said is finished; a second one ends at once
                    feeding.cancel()
                    session.finish()
                    await follow()
                    raise
                await feeding  # what was wrong with the source
                if reason != "finished":
                    raise StageError(f"The session ended: {reason}")
            finally:
                feeding.cancel()
                await session.close()

    asyncio.run(run())


def _event_log(stack: ExitStack, path: Path | None) -> Callable[[dict[str, Any]], None]:
    if path is None:
        return lambda event: None
    with writing(path):
        file = path.open("w", encoding="utf-8")

    @stack.callback
    def close() -> None:
        with writing(path):  # it tries once more to write what could not be written
            file.close()

    def write(event: dict[str, Any]) -> None:
        with writing(path):
            file.write(json.dumps(event, ensure_ascii=False) + "\n")
            file.flush()

    return write


class Screen:
    """Prints what is final, sentence by sentence, each with its translation behind it. On a terminal, two columns below
    show what is being said: what is final is firm, what may change is dim.

    ``target``: the language that what is said in another is translated into; None: no translation will come.
    """

    def __init__(self, target: Callable[[str], str | None]) -> None:
        self._target = target
        self._said = self._tail = self._draft = ""  # final, not printed yet; what may change; its translation
        self._waits = False  # for the translation of what was said
        self._live = Live(console=err, refresh_per_second=8, transient=True) if err.is_terminal else None

    def __call__(self, event: Any) -> None:
        kind = event.type
        if kind == "committed":
            self._committed(event)
        elif kind == "partial":
            self._tail = event.text
            if not (event.text or self._waits):  # nobody is speaking any more
                self._print_said()
        elif kind == "translated" and not event.final:
            self._draft = event.text
        elif kind == "translated":
            self._translated(event)
        elif kind == "language":
            err.print(f"Language: {event.language}", markup=False, style="dim")
        elif kind == "warning":
            err.print(event.text, markup=False, style="yellow")
        elif kind == "ended":
            self._print_said()
        if self._live:
            self._live.update(self._table())

    def _committed(self, event: Any) -> None:
        # not before they are needed: they load slowly
        from mmpipe.pipelines.sentences import SentenceOptions, ends_sentence
        from mmpipe.types import UNSPACED

        space = "" if event.language in UNSPACED else " "
        self._said, self._tail = f"{self._said}{space}{event.text}".strip(), ""
        self._waits = self._target(event.language) is not None
        ended = not self._waits and ends_sentence(self._said, event.language)
        # No sentence is longer: a translation of all this cannot be on its way any more.
        if ended or len(self._said) > SentenceOptions().max_chars:
            self._print_said()

    def _translated(self, event: Any) -> None:
        """Print a sentence and its translation; before them what has not been translated, if anything."""
        before, found, after = self._said.partition(event.source_text)
        if found:
            self._said = before
            self._print_said()
            results().print(found, markup=False)
            self._said = after.strip()  # may have been committed with the sentence
        results().print(f"    {event.text}", markup=False, style="bold")
        self._draft = ""

    def _print_said(self) -> None:
        if self._said.strip():
            results().print(self._said.strip(), markup=False)
        self._said = ""

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2), expand=True)
        table.add_column(ratio=1)
        table.add_column(ratio=1)
        said = Text.assemble(self._said, " ", (self._tail, "dim"))
        table.add_row(self._end_of(said), self._end_of(Text(self._draft, style="dim")))
        return table

    def _end_of(self, text: Text) -> Text:
        """As much of ``text`` as a column has room for: the newest words are wanted most."""
        return Text("\n").join(text.wrap(err, max(err.width // 2 - 2, 1))[-max(err.height - 1, 1) :])

    def __enter__(self) -> Screen:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live:
            self._live.stop()
