from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmpipe import SpeechTranslator
from mmpipe.audio import media
from mmpipe.errors import InputError, LanguageError, MediaError, OutputError, StageError
from mmpipe.evaluate.clips import Clip
from mmpipe.pipelines.engines import Engines
from mmpipe.pipelines.jobs import Outputs, translate_recording
from mmpipe.pipelines.journal import Journal
from mmpipe.stage import Recognizer, Synthesizer, Translator
from mmpipe.translate import Glossary, Term
from mmpipe.types import Audio, Segment, Sentence, SpeechRequest, SpeechWindow, Tier, Word


class Ear(Recognizer):
    """Hears a numbered sentence in every window."""

    languages = frozenset({"en", "de"})

    def __init__(self, language: str = "en") -> None:
        self.language = language
        self.windows = 0

    def run(self, items: Sequence[SpeechWindow]) -> list[Segment]:
        found = []
        for item in items:
            self.windows += 1
            language = "en" if item.options.task == "translate" else self.language
            text = f"Sentence of {item.audio.duration_s:.0f} seconds ({item.options.task})."
            words = text.split()
            step_s = item.audio.duration_s / len(words)
            timed = tuple(Word(word, n * step_s, (n + 1) * step_s, 0.9) for n, word in enumerate(words))
            found.append(Segment(0.0, item.audio.duration_s, text, language, timed, language_probability=0.99))
        return found


class Upper(Translator):
    name = "upper"
    pairs: Mapping[tuple[str, str], Tier] = {("en", "pt"): Tier.GOOD}

    def __init__(self) -> None:
        self.failing_on: str | None = None

    def run(self, items: Sequence[Sentence]) -> list[str]:
        if self.failing_on and any(self.failing_on in item.text for item in items):
            raise RuntimeError("cannot translate this")
        return [item.text.upper() for item in items]


class Beep(Synthesizer):
    """A tenth of a second for each word, divided by the speed."""

    name = "beep"
    rate_hz = 24_000
    voices: Mapping[str, Sequence[str]] = {"pt": ("beep",), "en": ("beep",)}

    def __init__(self, per_word_s: float = 0.1) -> None:
        self.per_word_s = per_word_s
        self.speeds: list[float] = []

    def run(self, items: Sequence[SpeechRequest]) -> list[Audio]:
        self.speeds += [item.speed for item in items]
        return [self.tone(self.per_word_s * len(item.text.split()) / item.speed) for item in items]

    def tone(self, duration_s: float) -> Audio:
        at = np.arange(round(duration_s * self.rate_hz)) / self.rate_hz
        return Audio((0.3 * np.sin(2 * np.pi * 440 * at)).astype(np.float32), self.rate_hz)


@pytest.fixture
def talk(tmp_path: Path, librivox: list[Clip]) -> Path:
    """Five sentences with three seconds between them."""
    pause = np.zeros(48_000, np.float32)
    pieces = [part for clip in librivox for part in (media.load(clip.path).samples, pause)]
    path = tmp_path / "talk.wav"
    media.save(Audio(np.concatenate(pieces)), path)
    return path


def translator(ear: Ear | None = None, upper: Upper | None = None, beep: Beep | None = None) -> SpeechTranslator:
    engines = Engines(ear or Ear(), translators=[upper or Upper()], synthesizers=[beep or Beep()])
    return SpeechTranslator("pt", engines, source="en")


def test_own_engines_run_in_the_pipeline(talk: Path) -> None:
    with translator() as translate:
        result = translate(talk)
    assert len(result.segments) == 5
    first = result.segments[0]
    assert first.translation.text == first.source.text.upper()
    assert first.translation.route == ("upper en>pt",)
    assert first.speech is not None
    assert first.speech.duration_s > 0.2
    starts = [segment.source.start_s for segment in result.segments]
    assert starts == sorted(starts)


def test_sentences_come_while_later_ones_are_still_being_worked_on(talk: Path) -> None:
    """While the first sentence is held up in the voice, all others are recognized and translated."""
    gate = threading.Event()

    class Slow(Beep):
        def run(self, items: Sequence[SpeechRequest]) -> list[Audio]:
            gate.wait(10)
            return super().run(items)

    ear = Ear()
    with translator(ear, beep=Slow()) as translate, ThreadPoolExecutor(1) as pool:
        found = pool.submit(lambda: list(translate.stream(talk)))
        while ear.windows < 5:
            assert not found.done()
            gate.wait(0.01)
        gate.set()
        assert len(found.result().copy()) == 5


def test_whoever_watches_sees_how_far_each_stage_is(talk: Path) -> None:
    seen: list[tuple[str, float]] = []
    with translator() as translate:
        sentences = list(translate.stream(talk, watch=lambda step, end_s: seen.append((step, end_s))))
        ends_s = sorted(sentence.source.end_s for sentence in sentences)
        for step in ("recognized", "translated", "spoken"):
            assert sorted(end_s for told, end_s in seen if told == step) == ends_s
        seen.clear()
        list(translate.stream(talk, speak=False, watch=lambda step, end_s: seen.append((step, end_s))))
    assert {step for step, _ in seen} == {"recognized", "translated"}


def test_a_failing_engine_fails_its_recording_and_names_the_cause(talk: Path, librivox: list[Clip]) -> None:
    upper = Upper()
    upper.failing_on = "of 7 seconds"
    with translator(upper=upper) as translate:
        with pytest.raises(StageError, match="cannot translate this"):
            translate(librivox[0].path)
        assert translate(librivox[1].path).segments  # the next one is not harmed


def test_a_missing_voice_is_said_before_any_work(talk: Path) -> None:
    ear = Ear()

    class Mute(Beep):
        voices: Mapping[str, Sequence[str]] = {"en": ("beep",)}

    with translator(ear, beep=Mute()) as translate, pytest.raises(LanguageError, match="no voice"):
        translate(talk)
    assert ear.windows == 0


def test_no_way_between_the_languages_says_what_would_open_one(talk: Path) -> None:
    translate = SpeechTranslator("fi", Engines(Ear(), translators=[Upper()]), source="en")
    with translate, pytest.raises(LanguageError, match="Finnish"):
        translate(talk, speak=False)


def test_a_language_without_text_route_goes_through_english_speech(talk: Path) -> None:
    ear = Ear("de")
    with SpeechTranslator("pt", Engines(ear, translators=[Upper()], synthesizers=[Beep()])) as translate:
        (first, *_) = translate(talk).segments
    assert "(TRANSLATE)" in first.translation.text
    assert first.translation.source == "de"
    assert first.translation.source_text == ""
    assert first.translation.route == ("whisper de>en", "upper en>pt")


def test_the_same_language_is_left_as_it_is(talk: Path) -> None:
    with SpeechTranslator("en", Engines(Ear(), translators=[Upper()], synthesizers=[Beep()])) as translate:
        (first, *_) = translate(talk).segments
    assert first.translation.text == first.source.text
    assert first.translation.route == ()


def test_dubbing_speaks_faster_where_the_slot_is_short(talk: Path) -> None:
    slow, fast = Beep(per_word_s=0.1), Beep(per_word_s=3.0)
    with translator(beep=slow) as translate:
        translate(talk, dub=True)
    with translator(beep=fast) as translate:
        translate(talk, dub=True)
    assert set(slow.speeds) == {1.0}
    assert max(fast.speeds) == pytest.approx(1.5)  # and no faster than that


def test_a_job_writes_everything_that_was_asked_for(tmp_path: Path, talk: Path) -> None:
    outputs = Outputs(
        subtitles=(tmp_path / "out.srt", tmp_path / "out.json"),
        speech=tmp_path / "out.wav",
        video=tmp_path / "out.mkv",
        bilingual=True,
    )
    with translator() as translate:
        report = translate_recording(translate, talk, outputs)
    assert report.sentences == 5
    assert report.routes == ("upper en>pt",)
    assert report.tier is Tier.GOOD
    assert "SENTENCE OF 7 SECONDS" in (tmp_path / "out.srt").read_text()
    assert report.duration_s == pytest.approx(media.probe(talk).duration_s)
    # dubbed for the video: as long as the recording, each sentence at its time
    speech = media.load(tmp_path / "out.wav", 24_000)
    assert speech.duration_s == pytest.approx(report.duration_s, abs=0.05)
    assert media.probe(tmp_path / "out.mkv").duration_s == pytest.approx(report.duration_s, abs=0.5)


def interrupted(talk: Path, tmp_path: Path, after: int) -> None:
    """Run a job that is stopped after some sentences."""

    class Stopped(Exception):
        pass

    seen = []

    def stop(item: object) -> None:
        seen.append(item)
        if len(seen) == after:
            raise Stopped

    with translator() as translate, pytest.raises(Stopped):
        translate_recording(translate, talk, Outputs((tmp_path / "out.txt",), tmp_path / "out.wav"), on_item=stop)


@pytest.fixture
def jobs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Journals go to a place of the test's own."""
    original = Journal.__init__

    def here(self: Journal, *args: object, **options: object) -> None:
        original(self, *args, **(options | {"root": tmp_path / "jobs"}))  # type: ignore[arg-type]

    monkeypatch.setattr(Journal, "__init__", here)
    yield


@pytest.mark.usefixtures("jobs_here")
def test_an_interrupted_job_keeps_what_was_finished_and_goes_on_from_there(tmp_path: Path, talk: Path) -> None:
    interrupted(talk, tmp_path, after=3)
    kept = (tmp_path / "out.txt").read_text().splitlines()
    assert len(kept) == 3
    assert media.load(tmp_path / "out.wav", 24_000).duration_s > 1.0

    ear = Ear()
    with translator(ear) as translate:
        report = translate_recording(
            translate, talk, Outputs((tmp_path / "out.txt",), tmp_path / "out.wav"), resume=True
        )
        whole = translate(talk)
    assert report.resumed == 3
    assert report.sentences == 5
    assert ear.windows - 5 <= 3  # only the rest was recognized (five windows more for the whole, to compare)
    assert (tmp_path / "out.txt").read_text().splitlines() == [s.translation.text for s in whole.segments]
    assert not list((tmp_path / "jobs").iterdir())


class OtherEar(Ear):
    pass


class Lower(Upper):
    name = "lower"


class Buzz(Beep):
    name = "buzz"


@pytest.mark.usefixtures("jobs_here")
def test_what_another_translator_finished_is_not_joined_to_a_job(tmp_path: Path, talk: Path) -> None:
    interrupted(talk, tmp_path, after=3)
    with translator(upper=Lower()) as translate:
        report = translate_recording(
            translate, talk, Outputs((tmp_path / "out.txt",), tmp_path / "out.wav"), resume=True
        )
    assert report.resumed == 0
    assert len((tmp_path / "out.txt").read_text().splitlines()) == 5


def test_models_and_glossaries_tell_jobs_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmpipe.pipelines.engines.load_recognizer", lambda name: Ear())

    def identity(**other: Any) -> str:
        glossary = other.pop("glossary", None)
        given = {"recognizer": Ear(), "translators": [Upper()], "synthesizers": [Beep()]}
        with SpeechTranslator("pt", Engines(**given | other), glossary=glossary) as translate:
            return json.dumps(translate.identity())

    assert identity() == identity()
    others = [
        {"recognizer": "whisper-base"},
        {"recognizer": "whisper-small"},
        {"recognizer": OtherEar()},
        {"translators": [Lower()]},
        {"translators": [Lower(), Upper()]},
        {"synthesizers": [Buzz()]},
        {"glossary": Glossary([Term("sentence", "frase")])},
        {"glossary": Glossary([Term("sentence", "oração")])},
    ]
    assert len({identity(), *(identity(**other) for other in others)}) == 1 + len(others)


def test_an_open_file_whose_language_would_have_to_be_found_out_first_is_refused(talk: Path) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

    ear = Ear()
    engines = Engines(ear, translators=[Upper()], synthesizers=[Beep()])
    with (
        SpeechTranslator("pt", engines) as translate,
        pytest.raises(InputError, match=r"read twice.*source=.*via='text'"),
    ):
        translate(Pipe(talk.read_bytes()), speak=False)
    assert ear.windows == 0
    for known in ({"source": "en"}, {"via": "text"}):
        with SpeechTranslator("pt", engines, **known) as translate:
            assert len(translate(Pipe(talk.read_bytes()), speak=False).segments) == 5


@pytest.mark.usefixtures("jobs_here")
def test_without_resume_a_job_begins_anew(tmp_path: Path, talk: Path) -> None:
    interrupted(talk, tmp_path, after=3)
    with translator() as translate:
        report = translate_recording(translate, talk, Outputs((tmp_path / "out.txt",), tmp_path / "out.wav"))
    assert report.resumed == 0


def test_silence_is_an_error_that_says_so(tmp_path: Path) -> None:
    path = tmp_path / "silence.wav"
    media.save(Audio(np.zeros(16_000 * 60, np.float32)), path)
    with translator() as translate, pytest.raises(MediaError, match="No speech detected"):
        translate_recording(translate, path, Outputs())


def test_outputs_are_refused_before_the_work(tmp_path: Path, talk: Path) -> None:
    ear = Ear()
    with translator(ear) as translate:
        with pytest.raises(OutputError, match="make it first"):
            translate_recording(translate, talk, Outputs((tmp_path / "missing" / "out.srt",)))
        with pytest.raises(OutputError, match="would overwrite the recording"):
            translate_recording(translate, talk, Outputs(speech=talk))
    assert ear.windows == 0
    assert media.probe(talk).duration_s


def test_several_recordings_at_once_do_not_mix(librivox: list[Clip]) -> None:
    with translator() as translate, ThreadPoolExecutor(5) as pool:
        alone = [translate(clip.path).text for clip in librivox]
        together = list(pool.map(lambda clip: translate(clip.path).text, librivox))
    assert together == alone


def test_english_speech_becomes_portuguese_speech(librivox: list[Clip], tmp_path: Path) -> None:
    """The real engines, once."""
    with SpeechTranslator("pt") as translate:
        result = translate(librivox[1].path)
    assert "jovem" in result.text
    assert result.segments[0].translation.source == "en"
    result.save_speech(tmp_path / "out.wav")
    speech = media.load(tmp_path / "out.wav", 24_000)
    assert 1.5 < speech.duration_s < 5
    assert np.sqrt(np.mean(speech.samples**2)) > 0.02
