"""Piper voices by ONNX Runtime: VITS models, a quarter of Kokoro's cost, for where the first sound must come fast.

The model file is run directly, as https://github.com/rhasspy/piper (MIT) runs it; the ``piper-tts`` package is not
needed. Any voice of https://huggingface.co/rhasspy/piper-voices works from a local folder.
"""

from __future__ import annotations

import json
import unicodedata
from typing import TYPE_CHECKING, Any

import numpy as np

from mmpipe.audio.synthesis.onnx_session import OnnxSession
from mmpipe.audio.synthesis.phonemes import phonemes
from mmpipe.errors import InputError, WeightsError
from mmpipe.stage import Synthesizer
from mmpipe.types import Audio, SpeechRequest
from mmpipe.weights import fetch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_BEGIN, _END, _PAD = "^", "$", "_"


class Piper(Synthesizer):
    """One Piper voice, of one or more speakers.

    ``weights``: a folder with one ``NAME.onnx`` and its ``NAME.onnx.json``; None: the known weights
    ``piper-en-joe``. ``threads``: of the session. The model draws noise: the same text sounds a little different
    each time.

    Raises:
        WeightsError: the folder does not hold one Piper voice.
    """

    name = "piper"
    max_chars = 300

    def __init__(self, weights: Path | None = None, threads: int = 2) -> None:
        model, config = _load_config(weights or fetch("piper-en-joe"))
        self._session = OnnxSession(model, threads)
        try:
            self.rate_hz = int(config["audio"]["sample_rate"])
            self._ids: dict[str, list[int]] = config["phoneme_id_map"]
            self._espeak_voice: str | None = None if config.get("phoneme_type") == "text" else config["espeak"]["voice"]
            language = config.get("language", {}).get("family") or config["espeak"]["voice"][:2]
        except (KeyError, TypeError, ValueError) as error:
            raise WeightsError(f"{model} is no Piper voice that can be used: {error!r}") from error
        inference = config.get("inference", {})
        self._noise = float(inference.get("noise_scale", 0.667))
        self._length = float(inference.get("length_scale", 1.0))
        self._noise_w = float(inference.get("noise_w", 0.8))
        self._substitutes: dict[str, list[str]] = config.get("phoneme_map") or {}
        self._speakers: dict[str, int] = config.get("speaker_id_map") or {}
        self._several = int(config.get("num_speakers") or 1) > 1
        names = tuple(self._speakers) or (str(config.get("dataset") or model.stem),)
        self.voices: Mapping[str, Sequence[str]] = {language: names}

    def run(self, items: Sequence[SpeechRequest]) -> list[Audio]:
        """The audio of each item, one after the other: a batch is padded to its longest, and the exported graph does
        not say where each item ends.

        Raises:
            InputError: an item's voice or language is not this one.
            MissingDependencyError: the extra ``espeak`` is not installed.
        """
        return [self._speak(item) for item in items]

    def warmup(self) -> None:
        self.run([SpeechRequest("1", next(iter(self.voices)))])

    def _speak(self, item: SpeechRequest) -> Audio:
        names = self.voices.get(item.language, ())
        voice = item.voice or (names[0] if names else "")
        if voice not in names:
            raise InputError(f"This Piper model has no voice {voice!r} for {item.language!r}; it has {self.voices}")
        ids = self._tokens(item.text)
        if not ids:
            return Audio(np.zeros(0, np.float32), self.rate_hz)
        inputs = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array([self._noise, self._length / item.speed, self._noise_w], np.float32),
        }
        if self._several:
            inputs["sid"] = np.array([self._speakers.get(voice, 0)], np.int64)
        (samples,) = self._session.run(inputs)
        return Audio(np.asarray(samples, np.float32).reshape(-1), self.rate_hz)

    def _tokens(self, text: str) -> list[int]:
        """Ids with a pad after each, between the marks of beginning and end; none if there is nothing to speak."""
        sounds = text if self._espeak_voice is None else phonemes(text, self._espeak_voice)
        signs = unicodedata.normalize("NFD", sounds)
        if not any(sign.isalpha() for sign in signs):
            return []
        ids = [*self._ids[_BEGIN], *self._ids[_PAD]]
        for sign in signs:
            for symbol in self._substitutes.get(sign, [sign]):
                if symbol in self._ids:
                    ids += [*self._ids[symbol], *self._ids[_PAD]]
        return [*ids, *self._ids[_END]]


def _load_config(folder: Path) -> tuple[Path, dict[str, Any]]:
    models = sorted(folder.glob("*.onnx"))
    if len(models) != 1:
        raise WeightsError(
            f"{folder} holds {len(models)} .onnx files; a Piper voice is a folder with one and its .onnx.json"
        )
    path = models[0].with_name(models[0].name + ".json")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"A Piper voice needs its settings in {path}: {error}") from error
    if not isinstance(config, dict):
        raise WeightsError(f"{path} holds no Piper settings")
    return models[0], config
