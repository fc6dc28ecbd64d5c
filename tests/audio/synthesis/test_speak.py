from threading import Thread

import numpy as np
import pytest

from mmpipe.audio.synthesis import TextToSpeech
from mmpipe.audio.synthesis.clauses import SENTENCE_PAUSE_S
from mmpipe.errors import InputError, LanguageError
from mmpipe.stage import Synthesizer
from mmpipe.types import Audio, SpeechRequest


class Beeper(Synthesizer):
    """A tenth of a second of tone for each character, between silences; remembers what it was asked."""

    name = "beeper"
    rate_hz = 8_000
    max_chars = 40
    voices = {"pt": ("ana", "rui"), "en": ("sam",)}  # noqa: RUF012

    def __init__(self):
        self.calls = []

    def run(self, items):
        self.calls.append([item.text for item in items])
        return [self._beep(item) for item in items]

    def _beep(self, item):
        time_s = np.arange(round(0.1 * len(item.text) / item.speed * self.rate_hz)) / self.rate_hz
        tone = 0.3 * np.sin(2 * np.pi * 200 * time_s)
        silence = np.zeros(self.rate_hz)
        return Audio(np.concatenate([silence, tone, silence]).astype(np.float32), self.rate_hz)


@pytest.fixture
def beeper():
    return Beeper()


@pytest.fixture
def speaker(beeper):
    return TextToSpeech([beeper])


def test_text_is_written_out_and_cut_into_clauses_before_the_engine_hears_it(speaker, beeper):
    speaker.speak("O Sr. Rui tem 2 casas. E daí?", "pt")
    assert beeper.calls == [["O senhor Rui tem duas casas.", "E daí?"]]


def test_the_engine_s_silence_is_replaced_by_the_pause_of_the_punctuation(speaker):
    audio = speaker.speak("aaaaaaaaa. bbbbbbbbb.", "pt")
    assert audio.rate_hz == 8_000
    assert audio.duration_s == pytest.approx(2 * 1.0 + SENTENCE_PAUSE_S, abs=0.25)


def test_the_pause_gets_shorter_with_speed(speaker):
    normal, fast = (speaker.speak("aaaaaaaaa. bbbbbbbbb.", "pt", speed=speed).duration_s for speed in (1.0, 2.0))
    assert fast == pytest.approx(normal / 2, abs=0.15)


@pytest.mark.parametrize("text", ["", "  \n ", "...", "😀🎉", "?! —"])
def test_nothing_to_speak_is_no_sound_and_no_call(speaker, beeper, text):
    audio = speaker.speak(text, "pt")
    assert len(audio.samples) == 0
    assert audio.rate_hz == beeper.rate_hz
    assert list(speaker.stream(text, "pt")) == []
    assert beeper.calls == []


def test_a_stream_gives_each_clause_before_the_next_is_computed(speaker, beeper):
    stream = speaker.stream("Um. Dois. Três.", "pt")
    first = next(stream)
    assert beeper.calls == [["Um."]]
    rest = list(stream)
    assert beeper.calls == [["Um."], ["Dois."], ["Três."]]
    whole = speaker.speak("Um. Dois. Três.", "pt")
    np.testing.assert_allclose(np.concatenate([piece.samples for piece in [first, *rest]]), whole.samples)


def test_a_stream_refuses_before_it_begins(speaker):
    with pytest.raises(LanguageError):
        speaker.stream("Hallo", "de")


def test_many_texts_go_to_their_engine_in_one_call_and_come_back_in_order(beeper):
    other = Beeper()
    other.voices = {"fr": ("luc",)}
    calls = []

    def runner(engine, requests):
        calls.append((engine, len(requests)))
        return engine.run(requests)

    speaker = TextToSpeech([beeper, other], runner=runner)
    requests = [
        SpeechRequest("Olá! Bom dia.", "pt"),
        SpeechRequest("Salut, ça va bien ?", "fr"),
        SpeechRequest("Oi", "pt"),
    ]
    together = speaker.speak_many(requests)
    assert calls == [(beeper, 3), (other, 1)]
    for request, audio in zip(requests, together, strict=True):
        np.testing.assert_array_equal(audio.samples, speaker.speak(request.text, request.language).samples)


def test_the_first_engine_with_language_and_voice_is_chosen(beeper):
    other = Beeper()
    other.voices = {"pt": ("eva",), "fr": ("luc",)}
    speaker = TextToSpeech([beeper, other])
    assert speaker.choose("pt") == (beeper, "ana")
    assert speaker.choose("pt", "rui") == (beeper, "rui")
    assert speaker.choose("pt", "eva") == (other, "eva")
    assert speaker.choose("fr") == (other, "luc")
    assert speaker.voices("pt") == ["ana", "rui", "eva"]
    assert speaker.languages() == ["en", "fr", "pt"]


def test_refusals_name_what_is_near(speaker):
    with pytest.raises(InputError, match="did you mean ana"):
        speaker.speak("Olá", "pt", "anna")
    with pytest.raises(InputError, match="it speaks en"):
        speaker.speak("Olá", "pt", "sam")
    with pytest.raises(LanguageError, match="did you mean pt"):
        speaker.speak("Olá", "pt-BR")
    with pytest.raises(InputError, match=r"0\.5 to 2\.0"):
        speaker.speak("Olá", "pt", speed=5.0)


def test_an_engine_is_called_from_one_thread_at_a_time():
    class Jealous(Beeper):
        busy = False

        def run(self, items):
            assert not self.busy
            self.busy = True
            sounds = super().run(items)
            self.busy = False
            return sounds

    speaker = TextToSpeech([Jealous()])
    lengths = []
    threads = [
        Thread(target=lambda: lengths.append(len(speaker.speak("Um dois. Três.", "pt").samples))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(lengths) == 8
    assert len(set(lengths)) == 1


def test_closing_leaves_the_engines_of_others_open(beeper):
    closed = []
    beeper.close = lambda: closed.append(beeper)
    with TextToSpeech([beeper]) as speaker:
        speaker.speak("Olá", "pt")
    assert closed == []


@pytest.fixture(scope="module")
def built_in():
    with TextToSpeech() as speaker:
        yield speaker


def test_built_in_engines_are_chosen_by_language_and_voice(built_in):
    assert [engine.name for engine, _ in (built_in.choose("pt"), built_in.choose("de"))] == ["kokoro", "espeak"]
    assert built_in.choose("en", "joe")[0].name == "piper"
    assert built_in.choose("pt", "pt-br")[0].name == "espeak"
    assert {"pf_dora", "pt-br"} <= set(built_in.voices("pt"))
    assert "joe" in built_in.voices("en")
    with pytest.raises(LanguageError, match="mmpipe languages"):
        built_in.check("qqq")


def test_built_in_languages_are_told_without_loading_a_model(built_in, monkeypatch):
    engines = [built_in.choose(language)[0] for language in ("pt", "de")]
    monkeypatch.setattr("mmpipe.audio.synthesis.kokoro.OnnxSession", None)
    with TextToSpeech() as speaker:
        assert speaker.languages() == sorted({language for engine in engines for language in engine.voices})


def test_estimates_are_near_what_is_spoken(built_in):
    text = "O médico disse que ela deve descansar e beber bastante água. Depois, volta para casa."
    for speed in (1.0, 1.5):
        spoken_s = built_in.speak(text, "pt", speed=speed).duration_s
        assert built_in.estimate_s(text, "pt", speed=speed) == pytest.approx(spoken_s, rel=0.25)


def test_estimates_learn_the_pace_of_a_voice_and_include_pauses(speaker):
    text = "Uma frase de quarenta letras mais ou menos. Outra frase."
    spoken_s = speaker.speak(text, "pt", "rui").duration_s  # ten characters a second, slower than people speak
    assert speaker.estimate_s(text, "pt", "rui") < 0.8 * spoken_s
    for _ in range(30):
        speaker.speak(text, "pt", "rui", 1.5)
    assert speaker.estimate_s(text, "pt", "rui") == pytest.approx(spoken_s, rel=0.1)
    assert speaker.estimate_s(text, "pt", "rui", 2.0) == pytest.approx(spoken_s / 2, rel=0.1)
    assert speaker.estimate_s(text, "pt") == speaker.estimate_s(text, "pt", "rui")
    assert speaker.estimate_s("😀", "pt", "rui") == 0.0


def test_portuguese_speech_is_heard_as_it_was_written(built_in, whisper):
    from mmpipe.audio.media import resample
    from mmpipe.types import SPEECH_RATE_HZ, RecognitionOptions, SpeechWindow

    text = "O senhor não está disponível. Por favor, tente novamente mais tarde."
    audio = resample(built_in.speak(text, "pt"), SPEECH_RATE_HZ)
    (segment,) = whisper.run([SpeechWindow(audio, RecognitionOptions(language="pt"))])
    words = "".join(sign if sign.isalnum() else " " for sign in segment.text.lower()).split()
    assert words == ["o", "senhor", "não", "está", "disponível", "por", "favor", "tente", "novamente", "mais", "tarde"]
