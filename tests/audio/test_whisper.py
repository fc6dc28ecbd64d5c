from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmpipe.audio import media
from mmpipe.audio.recognition import load_recognizer
from mmpipe.audio.recognition import whisper as module
from mmpipe.audio.recognition.whisper import Whisper, WhisperOptions
from mmpipe.errors import InputError, LanguageError
from mmpipe.evaluate.clips import Clip
from mmpipe.evaluate.metrics import word_error_rate
from mmpipe.types import Audio, RecognitionOptions, SpeechWindow

ENGLISH = RecognitionOptions(language="en")


def window(clip: Clip, **options: Any) -> SpeechWindow:
    return SpeechWindow(media.load(clip.path), RecognitionOptions(**options))


def test_real_speech_is_recognized_in_one_batch(whisper: Whisper, librivox: list[Clip]) -> None:
    segments = whisper.run([window(clip, language="en") for clip in librivox])
    texts = [segment.text for segment in segments]
    assert word_error_rate([clip.text for clip in librivox], texts, "en") <= 0.06


def test_a_batch_gives_what_its_windows_give_alone(whisper: Whisper, librivox: list[Clip]) -> None:
    windows = [window(clip, language="en") for clip in librivox]
    together = [segment.text for segment in whisper.run(windows)]
    alone = [whisper.run([one])[0].text for one in windows]
    # padding to the longest window may change a comma, never the words
    assert word_error_rate(alone, together, "en") <= 0.02


def test_the_language_is_detected_for_each_window(whisper: Whisper, data: Any) -> None:
    paths = [data / "prompts" / language / "queue-periodic-announce.wav" for language in ("en", "es", "fr")]
    segments = whisper.run([SpeechWindow(media.load(path)) for path in paths])
    assert [segment.language for segment in segments] == ["en", "es", "fr"]
    assert all((segment.language_probability or 0) > 0.5 for segment in segments)


def test_windows_of_different_languages_share_a_batch_and_get_words(whisper: Whisper, data: Any) -> None:
    paths = [data / "prompts" / language / "queue-periodic-announce.wav" for language in ("en", "es", "fr")]
    windows = [SpeechWindow(media.load(path), RecognitionOptions(word_timestamps=True)) for path in paths]
    assert len({whisper.group(one) for one in windows}) == 1
    for segment in whisper.run(windows):
        assert "".join(word.text for word in segment.words) == segment.text.replace(" ", "")


def test_speech_is_translated_into_english(whisper: Whisper, data: Any) -> None:
    audio = media.load(data / "prompts" / "es" / "queue-youarenext.wav")
    (segment,) = whisper.run([SpeechWindow(audio, RecognitionOptions(language="es", task="translate"))])
    assert segment.language == "en"
    assert "first in line" in segment.text.lower()


def test_words_have_times_in_order_and_probabilities(whisper: Whisper, librivox: list[Clip]) -> None:
    (segment,) = whisper.run([window(librivox[0], language="en", word_timestamps=True)])
    words = segment.words
    assert " ".join(word.text for word in words) == segment.text
    assert all(0 < word.probability <= 1 for word in words)
    assert all(word.start_s <= word.end_s for word in words)
    assert all(a.end_s <= b.start_s + 1e-6 for a, b in pairwise(words))
    assert segment.start_s >= 0
    assert segment.end_s <= media.load(librivox[0].path).duration_s
    (leisure,) = [word for word in words if word.text == "leisure"]
    assert leisure.start_s == pytest.approx(2.05, abs=0.25)  # heard with one's own ears


def test_entropy_is_higher_where_the_sound_is_worse(whisper: Whisper, librivox: list[Clip]) -> None:
    clean = window(librivox[0], language="en", entropy=True)
    noise = np.random.default_rng(0).standard_normal(len(clean.audio.samples)).astype(np.float32)
    noisy = replace(clean, audio=Audio(clean.audio.samples + 0.05 * noise))
    first, second = whisper.run([clean, noisy])
    assert first.entropy_nats is not None
    assert second.entropy_nats is not None
    assert 0 < first.entropy_nats < second.entropy_nats < np.log(51_865)


def test_entropy_is_that_of_the_distribution() -> None:
    probabilities = np.array([0.5, 0.25, 0.25, 0.0])
    with np.errstate(divide="ignore"):
        logits = np.log(probabilities).astype(np.float32) + 3
    assert module._mean_entropy([logits]) == pytest.approx(1.5 * np.log(2), abs=1e-6)
    assert module._mean_entropy([logits, np.zeros(4, np.float32)]) == pytest.approx(
        (1.5 * np.log(2) + np.log(4)) / 2, abs=1e-6
    )


def test_hotwords_help_with_names(whisper: Whisper, librivox: list[Clip]) -> None:
    clip = librivox[0]
    (plain,) = whisper.run([window(clip, language="en")])
    (helped,) = whisper.run([window(clip, language="en", hotwords=("Jon Dashwoode",))])
    assert "Dashwoode" not in plain.text
    assert "Dashwoode" in helped.text


def test_what_looks_like_a_loop_is_decoded_again_with_full_context(
    whisper: Whisper, librivox: list[Clip], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[int, bool]] = []
    decode = Whisper._decode

    def spy(self: Whisper, items: Any, *, full_context: bool, beam_size: int) -> Any:
        calls.append((len(items), full_context))
        found = decode(self, items, full_context=full_context, beam_size=beam_size)
        if not full_context:
            found[1].text = "and so on " * 30
        return found

    monkeypatch.setattr(Whisper, "_decode", spy)
    segments = whisper.run([window(clip, language="en") for clip in librivox[:3]])
    assert calls == [(3, False), (1, True)]
    assert word_error_rate([librivox[1].text], [segments[1].text], "en") <= 0.15


def test_a_loop_that_stays_is_dropped(whisper: Whisper, librivox: list[Clip], monkeypatch: pytest.MonkeyPatch) -> None:
    decode = Whisper._decode

    def looping(self: Whisper, items: Any, **how: Any) -> Any:
        found = decode(self, items, **how)
        found[0].text = "thank you " * 40
        return found

    monkeypatch.setattr(Whisper, "_decode", looping)
    (segment,) = whisper.run([window(librivox[0], language="en")])
    assert segment.text == ""


def test_silence_gives_no_words(whisper: Whisper) -> None:
    silence = Audio(np.zeros(16_000 * 5, np.float32))
    noise = Audio((0.01 * np.random.default_rng(0).standard_normal(16_000 * 5)).astype(np.float32))
    assert [
        segment.text for segment in whisper.run([SpeechWindow(silence, ENGLISH), SpeechWindow(noise, ENGLISH)])
    ] == [
        "",
        "",
    ]


def test_a_window_of_ten_milliseconds_is_no_problem(whisper: Whisper) -> None:
    (segment,) = whisper.run([SpeechWindow(Audio(np.zeros(160, np.float32)), replace(ENGLISH, word_timestamps=True))])
    assert segment.text == ""


def test_the_longest_window_fits_and_a_longer_one_is_refused(whisper: Whisper) -> None:
    whisper.run([SpeechWindow(Audio(np.zeros(16_000 * 30, np.float32)), ENGLISH)])
    with pytest.raises(InputError, match="at most 30 s"):
        whisper.run([SpeechWindow(Audio(np.zeros(16_000 * 31, np.float32)), ENGLISH)])
    with pytest.raises(InputError, match="16000 Hz"):
        whisper.run([SpeechWindow(Audio(np.zeros(8_000, np.float32), 8_000), ENGLISH)])


def test_an_unknown_language_is_named_with_those_that_are_known(whisper: Whisper) -> None:
    with pytest.raises(LanguageError, match=r"'xx'.*en.*pt"):
        whisper.run([SpeechWindow(Audio(np.zeros(16_000, np.float32)), RecognitionOptions(language="xx"))])


def test_cost_is_the_sound_that_is_encoded(whisper: Whisper) -> None:
    short = SpeechWindow(Audio(np.zeros(16_000, np.float32)))
    long = SpeechWindow(Audio(np.zeros(16_000 * 20, np.float32)))
    assert whisper.cost(short) == WhisperOptions().min_context_s
    assert whisper.cost(long) == 22.0


def test_given_text_is_aligned_to_its_sound(whisper: Whisper, librivox: list[Clip]) -> None:
    clip = librivox[0]
    (recognized,) = whisper.run([window(clip, language="en", word_timestamps=True)])
    (words,) = whisper.align([window(clip, language="en")], [recognized.text])
    assert [word.text for word in words] == [word.text for word in recognized.words]
    for ours, theirs in zip(words, recognized.words, strict=True):
        assert ours.start_s == pytest.approx(theirs.start_s, abs=0.1)


def test_alignment_shows_words_that_were_not_said(whisper: Whisper, librivox: list[Clip]) -> None:
    text = librivox[1].text.replace("young", "purple")
    (words,) = whisper.align([window(librivox[1], language="en")], [text])
    probability = {word.text: word.probability for word in words}
    assert probability["purple"] < 0.01 < 0.3 < probability["man"]


def test_alignment_without_a_language_is_refused(whisper: Whisper) -> None:
    with pytest.raises(InputError, match="needs the language"):
        whisper.align([SpeechWindow(Audio(np.zeros(16_000, np.float32)))], ["hello"])


def test_a_wrong_device_or_type_is_an_input_error() -> None:
    with pytest.raises(InputError, match="int3"):
        Whisper("whisper-base", WhisperOptions(compute_type="int3"))


def test_a_folder_without_its_tokenizer_says_which_file_to_copy(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"as the converter leaves it")
    with pytest.raises(InputError, match=r"no tokenizer\.json.*copy it there"):
        Whisper(tmp_path)


def test_engines_of_ones_own_are_loaded_by_name() -> None:
    with pytest.raises(InputError, match=r"no_such_module.*module:Class"):
        load_recognizer("no_such_module:Engine")
    with pytest.raises(InputError, match=r"not a subclass of mmpipe\.Recognizer"):
        load_recognizer("pathlib:Path")
