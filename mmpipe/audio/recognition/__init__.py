"""Speech to text: the engines."""

from __future__ import annotations

from pathlib import Path

from mmpipe.extras import load_engine
from mmpipe.stage import Recognizer


def load_recognizer(name: str | Path) -> Recognizer:
    """The recognizer of this name: Whisper weights, a folder with a converted Whisper, or "module:Class" of your own.

    Raises:
        WeightsError: there are no weights of this name.
        InputError: the class cannot be imported, or is no recognizer.
    """
    if isinstance(name, str) and ":" in name and not name.startswith("hf:"):
        engine: Recognizer = load_engine(name, Recognizer)
        return engine
    from mmpipe.audio.recognition.whisper import Whisper

    return Whisper(name)
