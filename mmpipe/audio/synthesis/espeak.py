"""espeak-ng's own voice: a formant synthesizer, robotic, instant, for more than a hundred languages.

Its use is where no better voice is: every language that espeak-ng knows can be heard. It is GPL-3, hence an extra.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmpipe.audio.synthesis.espeakng import espeak_ng
from mmpipe.errors import InputError
from mmpipe.stage import Synthesizer
from mmpipe.types import Audio

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mmpipe.types import SpeechRequest

_INT16_SCALE = np.float32(1 / 32768)


class Espeak(Synthesizer):
    """Voices are named as espeak-ng names them: "pt-br", "en-gb-scotland".

    Raises:
        MissingDependencyError: the extra ``espeak`` is not installed.
    """

    name = "espeak"
    max_chars = 600  # no limit of its own; this keeps the first sound near

    def __init__(self) -> None:
        self._library = espeak_ng()
        self.rate_hz = self._library.rate_hz
        self.voices: Mapping[str, Sequence[str]] = self._library.voices

    def run(self, items: Sequence[SpeechRequest]) -> list[Audio]:
        """The audio of each item. The library serves one call at a time, whatever the number of engines.

        Raises:
            InputError: an item's voice is unknown or does not speak its language.
        """
        return [Audio(self._speak(item) * _INT16_SCALE, self.rate_hz) for item in items]

    def _speak(self, item: SpeechRequest) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        voices = self.voices.get(item.language, ())
        voice = item.voice or (voices[0] if voices else "")
        if voice not in voices:
            raise InputError(
                f"espeak-ng has no voice {voice!r} for {item.language!r}"
                + (f"; it has {', '.join(voices)}" if voices else "")
            )
        return self._library.speak(item.text, voice, item.speed).astype(np.float32)
