import json

import numpy as np
import pytest

from mmpipe.audio.synthesis import Piper
from mmpipe.errors import InputError, WeightsError
from mmpipe.types import SpeechRequest


@pytest.fixture(scope="module")
def piper():
    return Piper()


def test_the_result_is_speech_of_the_expected_length_and_rate(piper):
    (audio,) = piper.run([SpeechRequest("The door is open and the light is on.", "en")])
    assert piper.voices == {"en": ("joe",)}
    assert audio.rate_hz == piper.rate_hz == 22_050
    assert audio.samples.dtype == np.float32
    assert 1.2 < audio.duration_s < 4.0
    assert 0.05 < np.abs(audio.samples).max() <= 1.5


def test_speed_is_honoured(piper):
    slow, fast = piper.run([SpeechRequest("The door is open.", "en", "joe", speed) for speed in (0.7, 1.4)])
    assert slow.duration_s > 1.5 * fast.duration_s


@pytest.mark.parametrize("text", ["", " ", "..."])
def test_nothing_to_speak_gives_no_noise(piper, text):
    assert len(piper.run([SpeechRequest(text, "en")])[0].samples) == 0


def test_another_language_or_voice_is_refused(piper):
    with pytest.raises(InputError, match="joe"):
        piper.run([SpeechRequest("Bom dia", "pt")])
    with pytest.raises(InputError, match="joe"):
        piper.run([SpeechRequest("Good day", "en", "amy")])


def test_a_folder_that_is_no_voice_is_refused(tmp_path):
    with pytest.raises(WeightsError, match=r"0 \.onnx files"):
        Piper(tmp_path)
    (tmp_path / "voice.onnx").write_bytes(b"not a model")
    with pytest.raises(WeightsError, match="settings"):
        Piper(tmp_path)
    (tmp_path / "voice.onnx.json").write_text(json.dumps({"audio": {"sample_rate": 22050}, "phoneme_id_map": {}}))
    with pytest.raises(WeightsError):
        Piper(tmp_path)
