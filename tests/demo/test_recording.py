"""The tab for recordings: in the browser with real models, and its job alone with engines made up for it."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from axe_core_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from mmpipe import Engines, SpeechTranslator
from mmpipe.audio import media
from mmpipe.demo import pictures_tab, recording_job, recording_tab, recording_view
from mmpipe.demo.models import DemoModels
from mmpipe.demo.recording_job import JobState, RecordingJob, Wanted
from mmpipe.evaluate.clips import Clip
from mmpipe.stage import Recognizer, Synthesizer, Translator
from mmpipe.types import (
    Audio,
    Segment,
    Sentence,
    SpeechRequest,
    SpeechWindow,
    Tier,
    TranslatedSegment,
    Translation,
    Word,
)

WORDS = "he was not an ill disposed young man unless to be rather cold hearted"


@pytest.fixture
def recording(page: Page) -> Page:
    page.get_by_role("tab", name="Recordings").click()
    return page


def give(page: Page, *files: Path) -> None:
    page.locator("#rec-given input[type=file]").set_input_files(files)


def translate(page: Page) -> None:
    page.get_by_role("button", name="Translate", exact=True).click()
    expect(page.get_by_text("Done:")).to_be_visible(timeout=60_000)


def download(page: Page, kind: str) -> Path:
    with page.expect_download() as found:
        page.get_by_role("link", name=kind).first.click()
    return Path(found.value.path())


def plain(text: str) -> str:
    return " ".join("".join(c if c.isalpha() else " " for c in text.lower()).split())


# --- in the browser ---


def test_a_recording_is_heard_translated_played_and_taken_home(recording: Page, data: Path, tmp_path: Path) -> None:
    page, clip = recording, tmp_path / "novel.wav"
    novel = data / "librivox"
    pause = np.zeros(24_000, np.float32)
    sounds = [media.load(novel / f"sense_and_sensibility_{number}.wav").samples for number in ("0880", "0890")]
    media.save(Audio(np.concatenate([sounds[0], pause, sounds[1]])), clip)
    give(page, clip)
    expect(page.locator(".mm-chosen")).to_contain_text("novel.wav")
    translate(page)

    said = page.locator(".rec-said")
    words, heard = WORDS.split(), plain(" ".join(said.all_inner_texts())).split()
    assert sum(map(str.__eq__, words, heard)) >= len(words) - 1  # the recognizer may hear a word otherwise
    translated = page.locator(".rec-translation[lang=pt]")
    assert translated.count() == said.count() == 2
    assert any("não" in text for text in translated.all_inner_texts())

    player = page.get_by_label("The recording", exact=True)
    page.locator(".rec-time").nth(1).click()
    page.wait_for_function("time => document.querySelector('.rec-media audio').currentTime >= time", arg=4)
    assert float(player.evaluate("player => player.duration")) == pytest.approx(media.probe(clip).duration_s, abs=0.2)
    assert page.locator(".rec-strip").evaluate("""canvas => {
        const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        return pixels.some((value) => value > 0);
    }""")

    srt = download(page, "Subtitles, SRT: Portuguese").read_text("utf-8")
    assert plain("".join(line for line in srt.split("\n\n")[0].splitlines()[2:])) in plain(
        translated.first.inner_text()
    )
    assert download(page, "Subtitles, VTT: both").read_text("utf-8").startswith("WEBVTT")
    items = json.loads(download(page, "Data").read_text("utf-8"))
    assert [item["translation"]["text"] for item in items] == translated.all_inner_texts()
    spoken = media.load(download(page, "Sound: Portuguese"))
    assert np.abs(spoken.samples).max() > 0.05
    assert not [v["id"] for v in Axe().run(page)["violations"] if v["impact"] in ("serious", "critical")]


def test_what_is_no_recording_is_told_and_a_video_comes_back_with_a_voice(recording: Page, tmp_path: Path) -> None:
    page = recording
    (tmp_path / "speech.wav").write_text("This is text. " * 50)
    give(page, tmp_path / "speech.wav")
    problem = page.get_by_role("alert")
    expect(problem).to_contain_text("'speech.wav' cannot be read as sound or video")
    assert str(tmp_path) not in problem.inner_text()

    page.get_by_role("button", name="Video, English").click()
    expect(page.get_by_text("Done:")).to_be_visible(timeout=60_000)
    expect(problem).to_have_count(0)
    page.wait_for_function("document.querySelector('.rec-media video').videoWidth > 0")
    with av.open(str(download(page, "Video: with Portuguese voice"))) as video:
        assert [stream.type for stream in video.streams] == ["video", "audio", "audio", "subtitle"]
    page.get_by_role("group", name="Which voice to play").get_by_role("button", name="Portuguese").click()
    page.wait_for_function("document.querySelector('.rec-media video').currentSrc.endsWith('audio_book.pt.mp4')")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") == 0


def test_visitors_at_the_same_time_see_their_own(browser: Browser, server: Any, data: Path) -> None:
    pages = [browser.new_context(locale="en-GB").new_page() for _ in range(2)]
    clips = ("0880", "0930")
    for page, clip in zip(pages, clips, strict=True):
        page.goto(server.url)
        page.get_by_role("tab", name="Recordings").click()
        page.get_by_label("Speak the translation", exact=True).and_(page.locator(":visible")).uncheck()
        give(page, data / "librivox" / f"sense_and_sensibility_{clip}.wav")
        expect(page.locator(".mm-chosen")).to_be_visible()
    for page in pages:
        page.get_by_role("button", name="Translate", exact=True).click()
    texts = []
    for page in pages:
        expect(page.get_by_text("Done:")).to_be_visible(timeout=60_000)
        texts.append(plain(" ".join(page.locator(".rec-said").all_inner_texts())))
        page.context.close()
    assert "young man" in texts[0] and "amiable" not in texts[0]
    assert "amiable" in texts[1] and "young man" not in texts[1]


# --- the job alone ---


@pytest.fixture
def talk(tmp_path: Path, librivox: list[Clip]) -> Path:
    """Five sentences with three seconds between them."""
    pause = np.zeros(48_000, np.float32)
    pieces = [part for clip in librivox for part in (media.load(clip.path).samples, pause)]
    path = tmp_path / "talk.wav"
    media.save(Audio(np.concatenate(pieces)), path)
    return path


class Ear(Recognizer):
    languages = frozenset({"en"})

    def run(self, items: Sequence[SpeechWindow]) -> list[Segment]:
        return [
            Segment(
                0.0, item.audio.duration_s, "Said so.", "en", (Word("Said", 0.1, 0.4, 0.9), Word("so.", 0.4, 0.8, 0.9))
            )
            for item in items
        ]


class Upper(Translator):
    pairs: Mapping[tuple[str, str], Tier] = {("en", "pt"): Tier.GOOD}

    def run(self, items: Sequence[Sentence]) -> list[str]:
        return [item.text.upper() for item in items]


class Beep(Synthesizer):
    voices: Mapping[str, Sequence[str]] = {"pt": ("beep",)}

    def run(self, items: Sequence[SpeechRequest]) -> list[Audio]:
        return [Audio(np.full(4800, 0.3, np.float32), 24_000) for _ in items]


class Models:
    """In place of DemoModels."""

    def __init__(self, voice: Synthesizer | None = None) -> None:
        self.engines = Engines(Ear(), translators=[Upper()], synthesizers=[voice or Beep()])

    def translator(self, to: str, *, source: str | None = None) -> SpeechTranslator:
        return SpeechTranslator(to, self.engines, source=source, via="text")


def run(source: Path, folder: Path, wanted: Wanted | None = None, models: Any = None) -> RecordingJob:
    job = RecordingJob(source, folder, wanted or Wanted("pt", "en"))
    job.run(models or Models())
    return job


def test_every_stage_tells_how_far_it_is_and_ends_at_the_end(talk: Path, tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []
    job = RecordingJob(
        talk,
        tmp_path / "out",
        Wanted("pt", "en"),
        lambda: seen.append(job.snapshot().done_s),
    )
    job.run(Models())
    now = job.snapshot()
    assert now.state is JobState.DONE
    assert now.done_s == dict.fromkeys(("decoded", "recognized", "translated", "spoken"), now.duration_s)
    for stage in now.stages:
        way = [done[stage] for done in seen]
        assert way == sorted(way)
        assert len(set(way)) > 3
    assert len(now.peaks) == pytest.approx(now.duration_s * recording_job.PEAKS_PER_S, abs=1)
    shown = recording_view.player(job, now)
    assert shown is not None
    assert shown["rows"][0]["words"][0] == [
        "Said",
        pytest.approx(now.segments[0].source.start_s + 0.1, abs=0.3),
        pytest.approx(0.4, abs=0.5),
    ]


def test_what_was_finished_before_it_was_stopped_is_kept(talk: Path, tmp_path: Path) -> None:
    gate = threading.Event()

    class Slow(Beep):
        def run(self, items: Sequence[SpeechRequest]) -> list[Audio]:
            assert gate.wait(10)
            return super().run(items)

    def watch() -> None:
        if job.snapshot().segments:
            job.cancel()
        gate.set()

    job = RecordingJob(talk, tmp_path / "out", Wanted("pt", "en"), watch)
    job.run(Models(Slow()))
    now = job.snapshot()
    assert now.state is JobState.STOPPED
    assert 1 <= len(now.segments) < 5
    files = {file.path.suffix: file.path for file in now.downloads}
    assert files[".srt"].read_text("utf-8")
    assert json.loads(files[".json"].read_text("utf-8"))[0]["translation"]["text"] == "SAID SO."
    assert media.load(files[".mp3"]).duration_s > 0.1
    assert "kept" in recording_view.stages(now)


def test_a_job_that_nobody_wants_any_more_leaves_nothing(talk: Path, tmp_path: Path) -> None:
    def watch() -> None:
        if job.snapshot().segments:
            job.discard()

    job = RecordingJob(talk, tmp_path / "out", Wanted("pt", "en"), watch)
    job.run(Models())
    assert not job.folder.exists()
    assert not job.snapshot().downloads
    finished = run(talk, tmp_path / "again")
    assert finished.folder.exists()
    finished.discard()
    assert not finished.folder.exists()


def test_without_a_voice_it_stays_text(data: Path, tmp_path: Path) -> None:
    now = run(
        data / "librivox" / "sense_and_sensibility_0880.wav", tmp_path / "out", Wanted("pt", "en", speak=False)
    ).snapshot()
    assert "spoken" not in now.stages
    assert {file.kind for file in now.downloads} == {"Subtitles, SRT", "Subtitles, VTT", "Data"}


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "'bad.wav' is empty"),
        (b"text " * 100, "'bad.wav' cannot be read as sound or video"),
        (b"RIFF\xff\xff\xff\x7fWAVEfmt broken", "'bad.wav' cannot be read"),
    ],
)
def test_what_cannot_be_read_is_called_by_its_name(content: bytes, told: str, tmp_path: Path) -> None:
    source = tmp_path / "bad.wav"
    source.write_bytes(content)
    now = run(source, tmp_path / "out").snapshot()
    assert now.state is JobState.FAILED
    assert told in now.error
    assert str(tmp_path) not in now.error
    assert 'role="alert"' in recording_view.stages(now)


def test_silence_is_told_before_anything_is_recognized(tmp_path: Path) -> None:
    media.save(Audio(np.zeros(32_000, np.float32)), tmp_path / "quiet.wav")
    now = run(tmp_path / "quiet.wav", tmp_path / "out").snapshot()
    assert "is silent" in now.error


def test_what_is_too_long_is_refused_at_once(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recording_job, "MAX_DURATION_S", 20.0)
    now = run(data / "sense_and_sensibility.flac", tmp_path / "out").snapshot()
    assert "mmpipe translate" in now.error
    assert not now.peaks


def test_an_engine_that_fails_on_the_way_leaves_what_was_before_it(talk: Path, tmp_path: Path) -> None:
    class Failing(Beep):
        spoken = 0

        def run(self, items: Sequence[SpeechRequest]) -> list[Audio]:
            self.spoken += len(items)
            if self.spoken > 2:
                raise RuntimeError("the voice is gone")
            return super().run(items)

    now = run(talk, tmp_path / "out", models=Models(Failing())).snapshot()
    assert now.state is JobState.FAILED
    assert now.segments
    assert now.downloads
    assert "the voice is gone" in now.error


def test_what_whisper_wrote_in_english_is_not_called_what_was_said(data: Path, tmp_path: Path) -> None:
    said = Segment(0.0, 1.0, "Good day.", "en")
    item = TranslatedSegment(said, Translation("", "BOM DIA.", "de", "pt"))
    job = run(data / "librivox" / "sense_and_sensibility_0880.wav", tmp_path / "out")
    shown = recording_view.player(job, replace(job.snapshot(), segments=(item,)))
    assert shown is not None
    assert shown["source"] == {"code": "en", "name": "English, from spoken German"}


def test_the_examples_are_shipped_and_small() -> None:
    files = {file for _, file, _ in recording_tab._EXAMPLES} | {file for _, file in pictures_tab._EXAMPLES}
    shipped = {path.name: path.stat().st_size for path in recording_tab.EXAMPLES.iterdir()}
    assert shipped.keys() == files | {"README.md"}
    assert sum(shipped.values()) < 700_000
    told = (recording_tab.EXAMPLES / "README.md").read_text("utf-8")
    assert all(f"`{file}`" in told for file in files)


def test_texts_are_never_markup(data: Path, tmp_path: Path) -> None:
    source = tmp_path / "<img src=x onerror=alert(1)>.wav"
    source.write_bytes(b"no sound")
    assert "<img" not in recording_view.stages(run(source, tmp_path / "out").snapshot())


def test_a_pair_is_told_with_what_it_is_worth() -> None:
    with DemoModels() as models:
        pairs = models.pairs
    assert "good: close to" in pairs.quality("en", "pt")
    assert pairs.targets("en")[0] == ("Portuguese (good)", "pt")
    assert "No voice here" in pairs.quality("en", "ast")
    assert "best from English (good)" in pairs.quality(None, "pt")
