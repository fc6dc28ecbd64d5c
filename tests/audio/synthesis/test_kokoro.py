import random

import numpy as np
import pytest

from mmpipe.audio.synthesis import Kokoro
from mmpipe.audio.synthesis.kokoro import MAX_TOKENS, split
from mmpipe.errors import InputError, WeightsError
from mmpipe.types import SpeechRequest


@pytest.fixture(scope="module")
def kokoro():
    return Kokoro()


def test_every_language_has_its_voices_the_default_first(kokoro):
    assert {language: voices[0] for language, voices in kokoro.voices.items()} == {
        "en": "af_heart",
        "es": "ef_dora",
        "fr": "ff_siwis",
        "hi": "hf_alpha",
        "it": "if_sara",
        "ja": "jf_alpha",
        "pt": "pm_santa",
        "zh": "zf_xiaobei",
    }
    assert sum(map(len, kokoro.voices.values())) == 54


def test_the_result_is_speech_of_the_expected_length_and_rate(kokoro):
    (audio,) = kokoro.run([SpeechRequest("A porta está aberta.", "pt")])
    assert audio.rate_hz == kokoro.rate_hz == 24_000
    assert audio.samples.dtype == np.float32
    assert 1.0 < audio.duration_s < 3.5
    assert 0.05 < np.abs(audio.samples).max() <= 1.0


def test_speed_and_voice_are_honoured(kokoro):
    slow, fast, other = kokoro.run(
        [
            SpeechRequest("The door is open.", "en", "af_heart", 0.8),
            SpeechRequest("The door is open.", "en", "af_heart", 1.6),
            SpeechRequest("The door is open.", "en", "bm_george", 1.6),
        ]
    )
    assert slow.duration_s > 1.3 * fast.duration_s
    assert fast.samples.shape != other.samples.shape or not np.allclose(fast.samples, other.samples)


@pytest.mark.parametrize("text", ["", "  ", "...", "?!", "—"])
def test_nothing_to_speak_gives_no_noise(kokoro, text):
    (audio,) = kokoro.run([SpeechRequest(text, "pt")])
    assert len(audio.samples) == 0


def test_a_text_over_the_model_s_context_is_spoken_whole(kokoro):
    request = SpeechRequest("não acaba nunca, " * 27, "pt", None, 3.0)  # so fast only to be computed soon
    assert len(kokoro.phonemes(request)) > MAX_TOKENS
    (audio,) = kokoro.run([request])
    assert audio.duration_s > 8


def test_splitting_keeps_every_sound_and_prefers_marks_to_spaces():
    sounds = "aa bb, " * 200
    pieces = split(sounds)
    assert "".join(pieces) == sounds
    assert all(len(piece) <= MAX_TOKENS for piece in pieces)
    assert all(piece.endswith(", ") for piece in pieces[:-1])
    assert [len(piece) for piece in split("a" * 1100)] == [510, 510, 80]


@pytest.mark.parametrize(
    ("text", "language", "voice", "sounds"),
    [
        ("The little button is better.", "en", "af_heart", "ðə lˈɪTᵊl bˈʌtn ɪz bˈɛTəɹ."),
        ("nowhere near", "en", "bf_emma", "nˈQwɛː nˈiə"),
        ("¿Dónde está el baño?", "es", None, "¿dˈonde estˈa el βˈaɲo?"),
        ("la pizza", "it", None, "la pˈiʦːa"),
        # misaki's conventions; "é" and "há" stressed; a pronoun apart from its verb, its lh as lj
        ("Você é jovem.", "pt", None, "vosˌe ˈɛ ʒˈɔvAŋ."),
        ("não há", "pt", None, "nˌɐ̃ʊ̃ ˈa"),
        ("dar-lhe", "pt", None, "dˈar ljˈi"),
        ("alto", "pt", None, "ˈawtʊ"),
        # a name that no Portuguese rule can read
        ("o John disse à Mary, hoje.", "pt", None, "ʊ ʤˈɑn ʤˈisj ˌaː mˈɛɹi, ˈoʒy."),
    ],
)
def test_sounds_are_written_as_the_model_learnt_them(kokoro, text, language, voice, sounds):
    assert kokoro.phonemes(SpeechRequest(text, language, voice)) == sounds


def test_portuguese_words_are_not_taken_for_foreign_ones(kokoro):
    text = "Ontem à noite choveu e ninguém saiu do hotel em Belém; jovens, atriz, álbum, ônix, lápis, ser, mal, sãos"
    sounds = kokoro.phonemes(SpeechRequest(text, "pt"))
    assert not set(sounds) & set("ɹʌɑT"), sounds  # sounds of English alone


def test_foreign_words_take_their_places_whatever_stands_around_them(kokoro):
    around = ["a", "à", "e", "é", "não", "Olá,", "casa", "(sim)", "dar-lhe", "—", "às", "um"]
    generator = random.Random(17)
    for _ in range(100):
        words = generator.choices([*around, "Washington", "York!", "Kate"], k=9)
        sounds = kokoro.phonemes(SpeechRequest(" ".join(words), "pt"))
        assert "uzuz" not in sounds
        assert sounds.count("wˈɑʃɪŋtən") == words.count("Washington")
        assert sounds.count("jˈɔɹk!") == words.count("York!")
        assert sounds.count("kˈAt") == words.count("Kate")


def test_a_voice_of_another_language_is_refused(kokoro):
    with pytest.raises(InputError, match="pm_santa"):
        kokoro.run([SpeechRequest("Bom dia", "pt", "af_heart")])
    with pytest.raises(InputError, match="en"):
        kokoro.run([SpeechRequest("Guten Tag", "de")])


def test_a_folder_without_the_model_is_refused(tmp_path):
    with pytest.raises(WeightsError, match="mmpipe pull kokoro"):
        Kokoro(tmp_path)
    (tmp_path / "voices").mkdir()
    (tmp_path / "voices" / "af_heart.bin").write_bytes(b"")
    with pytest.raises(WeightsError, match="mmpipe pull kokoro"):
        Kokoro(tmp_path)
