"""Whisper's encoder on its own, on real speech."""

from __future__ import annotations

import numpy as np
import pytest

from mmpipe.audio import media
from mmpipe.audio.recognition.encoder import ENCODED_FRAMES_PER_S, SpeechEncoder
from mmpipe.errors import InputError
from mmpipe.evaluate.clips import Clip
from mmpipe.types import Audio


@pytest.fixture(scope="module")
def encoder() -> SpeechEncoder:
    return SpeechEncoder("whisper-tiny.en")


def test_fifty_frames_a_second_and_none_for_the_padding(encoder: SpeechEncoder, prompts: list[Clip]) -> None:
    sounds = [media.load(clip.path) for clip in prompts[:2]]
    for sound, frames in zip(sounds, encoder.run(sounds), strict=True):
        assert frames.dtype == np.float32
        assert frames.shape[1] == encoder.hidden_size == 384
        assert abs(len(frames) - ENCODED_FRAMES_PER_S * sound.duration_s) < 1


def test_frames_do_not_depend_on_the_batch(encoder: SpeechEncoder, prompts: list[Clip]) -> None:
    sounds = [media.load(clip.path) for clip in prompts[:2]]
    for one, together in zip(sounds, encoder.run(sounds), strict=True):
        (alone,) = encoder.run([one])
        assert np.abs(alone - together).max() < 0.05 * np.abs(alone).max()


def test_encoders_of_equal_weights_have_equal_identities(encoder: SpeechEncoder) -> None:
    assert encoder.identity == SpeechEncoder("whisper-tiny.en").identity
    assert "1a5afae06a4d" in encoder.identity


@pytest.mark.parametrize("sound", [Audio(np.zeros(0, np.float32)), Audio(np.zeros(31 * 16_000, np.float32))])
def test_what_the_encoder_cannot_hear_is_refused(encoder: SpeechEncoder, sound: Audio) -> None:
    with pytest.raises(InputError, match=r"up to 30 s at 16000 Hz"):
        encoder.run([sound])
    with pytest.raises(InputError, match="at 8000 Hz"):
        encoder.run([Audio(np.zeros(8_000, np.float32), 8_000)])
