"""Kokoro-82M by ONNX Runtime: a StyleTTS 2 voice of 82 million parameters, 54 voices in eight languages.

Model and voices: https://huggingface.co/hexgrad/Kokoro-82M; its export to ONNX, int8:
https://github.com/thewh1teagle/kokoro-onnx (model files v1.0).
"""

from __future__ import annotations

import json
import logging
import re
from functools import lru_cache
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mmpipe.audio.synthesis.kokoro_phonemes import phonemiser
from mmpipe.audio.synthesis.onnx_session import OnnxSession
from mmpipe.errors import InputError, WeightsError
from mmpipe.stage import Synthesizer
from mmpipe.types import Audio, SpeechRequest
from mmpipe.weights import fetch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

#: What the model takes at once, without the padding token at each end (its context is 512).
MAX_TOKENS = 510
_STYLES_SHAPE = (510, 256)  # one style vector for each length of input in tokens
_PAD = 0

#: language -> the first letters of its voices' names, the default accent first
_ACCENTS = {"en": "ab", "es": "e", "fr": "f", "hi": "h", "it": "i", "ja": "j", "pt": "p", "zh": "z"}
# In Portuguese the one that Whisper understands best (docs/synthesis.md), elsewhere the model's authors' own choice.
_DEFAULT_VOICES = frozenset(
    {"af_heart", "ef_dora", "ff_siwis", "hf_alpha", "if_sara", "jf_alpha", "pm_santa", "zf_xiaobei"}
)
# Where a text that is too long is cut best: after a mark, else after a space.
_CUTS = (re.compile(r"[.!?…;:,—]+[”)]? "), re.compile(" "))


class Kokoro(Synthesizer):
    """Voices of good quality at a fraction of real time on two cores.

    ``weights``: a folder with ``model.onnx``, ``vocab.json`` and ``voices/NAME.bin`` (float32, (510, 256)); None:
    the known weights ``kokoro``. ``threads``: of the session; more than four gain little.

    Raises:
        WeightsError: the folder does not hold the model and at least one voice.
    """

    name = "kokoro"
    rate_hz = 24_000
    # The quality falls off in long texts, and the first sound is heard only when all of it is computed.
    max_chars = 250
    languages: ClassVar[frozenset[str]] = frozenset(_ACCENTS)

    def __init__(self, weights: Path | None = None, threads: int = 2) -> None:
        self._folder = weights or fetch("kokoro")
        self.voices: Mapping[str, Sequence[str]] = _voices(self._folder)
        try:
            vocabulary = json.loads((self._folder / "vocab.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise WeightsError(f"No Kokoro model in {self._folder}: {error}. Fetch it: mmpipe pull kokoro") from error
        self._session = OnnxSession(self._folder / "model.onnx", threads)
        self._ids: dict[str, int] = vocabulary.get("vocab", vocabulary)
        self._phonemiser = lru_cache(phonemiser)
        self._style = lru_cache(self._load_style)

    def run(self, items: Sequence[SpeechRequest]) -> list[Audio]:
        """The audio of each item, one after the other: the exported graph takes one text at a time.

        Raises:
            InputError: an item's voice is unknown or does not speak its language.
            MissingDependencyError: the phonemes of the language need an extra.
        """
        return [self._speak(item) for item in items]

    def phonemes(self, item: SpeechRequest) -> str:
        """What the model would read for ``item``, in misaki's alphabet."""
        return self._phonemiser(self._voice(item)[0])(item.text)

    def warmup(self) -> None:
        language = next(iter(self.voices))
        self.run([SpeechRequest("1", language)])

    def _speak(self, item: SpeechRequest) -> Audio:
        styles = self._style(self._voice(item))
        parts = [
            self._infer(ids, styles, item.speed) for text in split(self.phonemes(item)) if (ids := self._tokens(text))
        ]
        return Audio(np.concatenate([np.zeros(0, np.float32), *parts]), self.rate_hz)

    def _infer(self, ids: list[int], styles: NDArray[np.float32], speed: float) -> NDArray[np.float32]:
        (samples,) = self._session.run(
            {
                "tokens": np.array([[_PAD, *ids, _PAD]], np.int64),
                "style": styles[len(ids) - 1][np.newaxis],
                "speed": np.array([speed], np.float32),
            },
            ["audio"],
        )
        return np.asarray(samples, np.float32)

    def _tokens(self, text: str) -> list[int]:
        """Token ids; none when nothing in ``text`` can be spoken (the model makes a noise of marks alone)."""
        if unknown := len(set(text) - self._ids.keys()):
            logger.debug("Kokoro has no symbols for %d of the signs", unknown)
        known = [sign for sign in text if sign in self._ids]
        return [self._ids[sign] for sign in known] if any(map(str.isalpha, known)) else []

    def _voice(self, item: SpeechRequest) -> str:
        voices = self.voices.get(item.language, ())
        voice = item.voice or (voices[0] if voices else "")
        if voice not in voices:
            raise InputError(
                f"Kokoro has no voice {voice!r} for {item.language!r}; it has "
                f"{', '.join(voices) or 'voices for ' + ', '.join(self.voices)}"
            )
        return voice

    def _load_style(self, voice: str) -> NDArray[np.float32]:
        path = self._folder / "voices" / f"{voice}.bin"
        try:
            return np.fromfile(path, np.float32).reshape(_STYLES_SHAPE)
        except (OSError, ValueError) as error:
            raise WeightsError(f"{path} is no Kokoro voice: {error}. Fetch it again: mmpipe pull kokoro") from error


def split(sounds: str) -> list[str]:
    """Pieces of at most :data:`MAX_TOKENS` symbols, cut after a mark or a space if there is one.

    A safety net, so that nothing is ever dropped: callers cut by ``max_chars``, which a language with many sounds
    to a character can outgrow.
    """
    pieces = []
    while len(sounds) > MAX_TOKENS:
        ends = (max((cut.end() for cut in cuts.finditer(sounds[:MAX_TOKENS])), default=0) for cuts in _CUTS)
        end = next(filter(None, ends), MAX_TOKENS)
        pieces.append(sounds[:end])
        sounds = sounds[end:]
    return [*pieces, sounds]


def _voices(folder: Path) -> dict[str, tuple[str, ...]]:
    names = sorted(path.stem for path in (folder / "voices").glob("*.bin"))
    voices: dict[str, tuple[str, ...]] = {}
    for language, accents in _ACCENTS.items():
        own = [name for name in names if name[0] in accents]
        own.sort(key=lambda name: name not in _DEFAULT_VOICES)  # stable
        if own:
            voices[language] = tuple(own)
    if not voices:
        raise WeightsError(f"No voices in {folder / 'voices'}. Fetch them: mmpipe pull kokoro")
    return voices
