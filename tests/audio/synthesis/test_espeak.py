from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from mmpipe.audio.synthesis import Espeak
from mmpipe.errors import InputError
from mmpipe.types import SpeechRequest


@pytest.fixture(scope="module")
def espeak():
    return Espeak()


def test_it_has_voices_for_more_than_a_hundred_languages(espeak):
    assert len(espeak.voices) > 100
    assert espeak.voices["pt"][:2] == ("pt-br", "pt")
    assert espeak.voices["en"][0] == "en-us"
    assert espeak.voices["fr"][0] == "fr"
    assert espeak.voices["zh"][0] == "cmn"
    assert espeak.voices["no"] == ("nb",)


def test_the_result_is_speech_at_the_stated_rate(espeak):
    (audio,) = espeak.run([SpeechRequest("Die Tür ist offen.", "de")])
    assert audio.rate_hz == espeak.rate_hz
    assert 0.8 < audio.duration_s < 3.0
    assert 0.1 < np.abs(audio.samples).max() <= 1.0


def test_speed_is_honoured_and_does_not_stick(espeak):
    normal = SpeechRequest("Die Tür ist offen.", "de")
    before, fast, after = espeak.run([normal, SpeechRequest(normal.text, "de", None, 2.0), normal])
    assert fast.duration_s < 0.7 * before.duration_s
    assert before.duration_s == pytest.approx(after.duration_s, abs=0.05)


def test_threads_do_not_mix_their_sound(espeak):
    requests = [SpeechRequest("casa " * n, "es") for n in range(1, 9)]
    alone = [len(audio.samples) for audio in espeak.run(requests)]
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda request: len(espeak.run([request])[0].samples), requests)
    # The same text varies by some samples from call to call; one word more or less is thousands.
    assert list(together) == pytest.approx(alone, abs=300)


def test_a_voice_of_another_language_is_refused(espeak):
    with pytest.raises(InputError, match="pt-br"):
        espeak.run([SpeechRequest("Bom dia", "pt", "de")])
    with pytest.raises(InputError):
        espeak.run([SpeechRequest("Bom dia", "xx")])
