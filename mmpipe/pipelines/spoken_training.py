"""Spoken questions to train an audio projector with: spoken by synthetic voices, heard by the encoder, kept in a file.

Speaking, encoding and asking the teacher take as long as the training; a run that is resumed or repeated with the same
settings reads them from the file.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mmpipe.audio import media
from mmpipe.audio.synthesis import TextToSpeech
from mmpipe.audio.vad import SileroVad
from mmpipe.files import writing
from mmpipe.fusion.audio.distillation import Recordings, Spoken, Taught, teach
from mmpipe.fusion.audio.projector import stack_frames
from mmpipe.fusion.audio.questions import SpokenQuestion, questions
from mmpipe.pipelines.audio_fusion import encode, speech_in
from mmpipe.types import SPEECH_RATE_HZ, Audio, SpeechRequest

if TYPE_CHECKING:
    from torch import Tensor

    from mmpipe.audio.recognition.encoder import SpeechEncoder
    from mmpipe.fusion.audio.config import SpokenConfig
    from mmpipe.generation.language_model import LanguageModel

logger = logging.getLogger(__name__)

_FILE = "recordings.safetensors"
_LAYOUT = 2  #: of the file: another one is made anew
_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class QuestionClip:
    """A question as one voice says it at one speed."""

    question: SpokenQuestion
    voice: str
    speed: float = 1.0


def clips(config: SpokenConfig, asked: Sequence[SpokenQuestion] | None = None) -> list[QuestionClip]:
    """Those to train on, and behind them those held out that judge meanwhile, by the same voices."""
    speech, asked = config.speech, asked or questions()
    found = [
        QuestionClip(one, speech.voices[at % len(speech.voices)], speech.speeds[at % len(speech.speeds)])
        for at, one in enumerate(one for one in asked if not one.held_out for _ in range(speech.clips_per_question))
    ]
    held = [one for one in asked if one.held_out][: speech.validation_clips]
    return found + [QuestionClip(one, speech.voices[at % len(speech.voices)]) for at, one in enumerate(held)]


def recordings(
    config: SpokenConfig,
    encoder: SpeechEncoder,
    language_model: LanguageModel,
    folder: Path,
    text_to_speech: TextToSpeech,
) -> Recordings:
    """What :class:`~mmpipe.fusion.audio.distillation.Distiller` is trained with, from ``folder`` if it is there."""
    wanted = clips(config)
    path, key = folder / _FILE, _key(wanted, config, encoder, language_model)
    tensors = _kept(path, key)
    if tensors is None:
        tensors = _made(wanted, config, encoder, language_model, text_to_speech)
        folder.mkdir(parents=True, exist_ok=True)
        with writing(path):
            save_file(tensors, path, {"key": key})
    taught = dict(zip(dict.fromkeys(clip.question.text for clip in wanted), _taught(tensors), strict=True))
    stacked = _split(tensors["stacked"], tensors["stacked_lengths"])
    items = [Spoken(one, taught[clip.question.text]) for clip, one in zip(wanted, stacked, strict=True)]
    held = sum(clip.question.held_out for clip in wanted)
    return Recordings(items[: len(items) - held], items[len(items) - held :], config.seed)


def speak(text_to_speech: TextToSpeech, some: Sequence[QuestionClip]) -> list[Audio]:
    """The sound of each, at 16 kHz."""
    wanted = [SpeechRequest(clip.question.text, "en", clip.voice, clip.speed) for clip in some]
    return [media.resample(sound, SPEECH_RATE_HZ) for sound in text_to_speech.speak_many(wanted)]


def _made(
    wanted: Sequence[QuestionClip],
    config: SpokenConfig,
    encoder: SpeechEncoder,
    language_model: LanguageModel,
    text_to_speech: TextToSpeech,
) -> dict[str, Tensor]:
    vad, stacked = SileroVad(), list[torch.Tensor]()
    for start in range(0, len(wanted), _AT_ONCE):
        sounds = speak(text_to_speech, wanted[start : start + _AT_ONCE])
        # as questions will be cut; where a synthetic voice passes for noise, as they are
        said = [speech if len((speech := speech_in(sound, vad)).samples) else sound for sound in sounds]
        frames = encode(encoder, said)
        stacked += [stack_frames(torch.from_numpy(one), config.projector.stack).half() for one in frames]
        logger.info("%d of %d recordings", len(stacked), len(wanted))
    taught = teach(language_model, [clip.question.text for clip in wanted], config.speech.answer_tokens)
    logger.info("%d answers of the teacher", len(taught))
    return {
        "stacked": torch.cat(stacked),
        "stacked_lengths": torch.tensor([len(one) for one in stacked]),
        "tokens": torch.cat([one.token_ids for one in taught.values()]),
        "hidden": torch.cat([one.hidden for one in taught.values()]),
        "answer_lengths": torch.tensor([len(one.token_ids) for one in taught.values()]),
    }


def _taught(tensors: dict[str, Tensor]) -> list[Taught]:
    lengths = tensors["answer_lengths"]
    parts = zip(_split(tensors["tokens"], lengths), _split(tensors["hidden"], lengths), strict=True)
    return [Taught(tokens, hidden) for tokens, hidden in parts]


def _split(flat: Tensor, lengths: Tensor) -> list[Tensor]:
    edges = [0, *lengths.cumsum(0).tolist()]
    return [flat[start:stop] for start, stop in pairwise(edges)]


def _kept(path: Path, key: str) -> dict[str, Tensor] | None:
    if not path.is_file():
        return None
    with safe_open(path, "pt") as stream:
        if (stream.metadata() or {}).get("key") != key:
            return None
        return {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118


def _key(
    wanted: Sequence[QuestionClip], config: SpokenConfig, encoder: SpeechEncoder, language_model: LanguageModel
) -> str:
    """Of all that the file depends on."""
    said = [(clip.question.text, clip.voice, clip.speed) for clip in wanted]
    depends = [
        _LAYOUT,
        said,
        config.projector.stack,
        config.speech.answer_tokens,
        encoder.identity,
        language_model.revision,
    ]
    return hashlib.sha256(json.dumps(depends).encode()).hexdigest()
