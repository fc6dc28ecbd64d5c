"""``mmpipe speak`` and ``languages``."""

from __future__ import annotations

import sys
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from mmpipe.cli.console import err, guarded, out
from mmpipe.errors import InputError


@guarded
def speak(
    text: Annotated[str | None, typer.Argument(help="What to say; none: standard input.")] = None,
    language: Annotated[str, typer.Option("--language", "-l", help="Language of the text (ISO 639-1).")] = "en",
    voice: Annotated[str | None, typer.Option(help="Voice; see --list.")] = None,
    speed: Annotated[float, typer.Option(help="Pace of the voice.", min=0.5, max=2.0)] = 1.0,
    output: Annotated[Path, typer.Option("--output", "-o", help="Where to write it; the suffix is the format.")] = Path(
        "speech.wav"
    ),
    list_voices: Annotated[bool, typer.Option("--list", help="List the voices of the language.")] = False,
) -> None:
    """Say a text: write it as speech."""
    from mmpipe.audio.media import AudioWriter
    from mmpipe.audio.synthesis import TextToSpeech

    with TextToSpeech() as speaker:
        if list_voices:
            for name in speaker.voices(language):
                out.print(name, markup=False)
            return
        words = sys.stdin.read() if text is None else text
        if not words.strip():
            raise InputError("There is nothing to say: give a text, or pipe one in.")
        speaker.check(language, voice)
        pieces = speaker.stream(words, language, voice, speed)
        first = next(pieces, None)  # what cannot be spoken leaves no file behind
        if first is None:
            raise InputError("There is nothing in this text that could be said.")
        written_s = 0.0
        with AudioWriter(output, first.rate_hz) as writer:
            for piece in chain([first], pieces):
                writer.write(piece)
                written_s += piece.duration_s
    err.print(f"{output}: {written_s:.1f} s", markup=False)


@guarded
def languages(
    source: Annotated[str | None, typer.Option("--from", help="Only from this language.")] = None,
    target: Annotated[str | None, typer.Option("--to", help="Only into this language.")] = None,
) -> None:
    """Which languages can be translated into which, by what route, and how well; and which can be spoken."""
    from mmpipe.audio.synthesis import TextToSpeech
    from mmpipe.translate import TextTranslator

    table = Table("from", "to", "quality", "route", box=None, pad_edge=False, header_style="bold")
    with TextTranslator() as translator:
        for route in translator.languages():
            if source not in (None, route.source) or target not in (None, route.target):
                continue
            table.add_row(route.source, route.target, str(route.tier), " + ".join(route.steps))
    out.print(table)
    with TextToSpeech() as speaker:
        out.print(
            "\n[bold]voices[/] " + ", ".join(f"{name} ({len(speaker.voices(name))})" for name in speaker.languages())
        )
