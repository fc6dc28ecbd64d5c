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
    text: Annotated[str | None, typer.Argument(help="Text to speak. Default: standard input.")] = None,
    language: Annotated[str, typer.Option("--language", "-l", help="Language of the text (ISO 639-1).")] = "en",
    voice: Annotated[str | None, typer.Option(help="Voice name; see --list.")] = None,
    speed: Annotated[float, typer.Option(help="Speaking rate.", min=0.5, max=2.0)] = 1.0,
    output: Annotated[Path, typer.Option("--output", "-o", help="Output file; its suffix sets the format.")] = Path(
        "speech.wav"
    ),
    list_voices: Annotated[bool, typer.Option("--list", help="List the voices of the language.")] = False,
) -> None:
    """Synthesize speech from text."""
    from mmpipe.audio.media import AudioWriter
    from mmpipe.audio.synthesis import TextToSpeech

    with TextToSpeech() as text_to_speech:
        if list_voices:
            for name in text_to_speech.voices(language):
                out.print(name, markup=False)
            return
        words = sys.stdin.read() if text is None else text
        if not words.strip():
            raise InputError("There is nothing to say: give a text, or pipe one in.")
        text_to_speech.check(language, voice)
        pieces = text_to_speech.stream(words, language, voice, speed)
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
    source: Annotated[str | None, typer.Option("--from", help="Only pairs from this source language.")] = None,
    target: Annotated[str | None, typer.Option("--to", help="Only pairs into this target language.")] = None,
) -> None:
    """List the language pairs with their routes and quality, and the voices of each language."""
    from mmpipe.audio.synthesis import TextToSpeech
    from mmpipe.translate import TextTranslator

    table = Table("from", "to", "quality", "route", box=None, pad_edge=False, header_style="bold")
    with TextTranslator() as translator:
        for route in translator.languages():
            if source not in (None, route.source) or target not in (None, route.target):
                continue
            table.add_row(route.source, route.target, str(route.tier), " + ".join(route.steps))
    out.print(table)
    voices = Table("language", "voices", box=None, pad_edge=False, header_style="bold")
    with TextToSpeech() as text_to_speech:
        for language in text_to_speech.languages():
            voices.add_row(language, ", ".join(text_to_speech.voices(language)))
    out.print()
    out.print(voices)
