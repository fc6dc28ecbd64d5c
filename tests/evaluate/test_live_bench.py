"""Replays, and what the benchmarks of live sessions make of them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmpipe.audio.recognition.whisper import Whisper
from mmpipe.errors import OutputError
from mmpipe.evaluate import live_bench
from mmpipe.evaluate.clips import Clip
from mmpipe.evaluate.reference import Utterance
from mmpipe.evaluate.replay import Pace, Replay, ReplayClock, replay
from mmpipe.evaluate.replay_log import measure, read_log
from mmpipe.pipelines.engines import Engines
from mmpipe.pipelines.live import LiveModels, LiveOptions
from mmpipe.stage import Recognizer
from mmpipe.types import Audio, RecognitionOptions, Segment, SpeechWindow, Word

OPTIONS = LiveOptions(source="en")


@pytest.fixture(scope="module")
def utterances(librivox: list[Clip], whisper: Whisper) -> list[Utterance]:
    return live_bench.align_clips(librivox[1:3], whisper)


def test_time_can_be_set_forward_and_can_stand_still() -> None:
    runs, stands = ReplayClock(), ReplayClock(stands_still=True)
    before_s = runs.now_s()
    runs.forward(100)
    assert runs.now_s() - before_s >= 100
    assert stands.now_s() == 0
    stands.forward(0.5)
    assert stands.now_s() == 0.5


def test_a_long_recording_says_each_clip_before_one_comes_again(utterances: list[Utterance]) -> None:
    audio, reference = live_bench.long_recording(utterances, 30)
    texts = [segment.text for segment in reference.segments]
    assert audio.duration_s >= 30
    assert len(texts) >= 4
    assert {texts[0], texts[1]} == {texts[2], texts[3]} == {utterance.segment.text for utterance in utterances}
    again, _ = live_bench.long_recording(utterances, 30)
    other, _ = live_bench.long_recording(utterances, 60, seed=3)
    assert np.array_equal(audio.samples, again.samples)
    assert not np.array_equal(audio.samples, other.samples[: len(audio.samples)])


@pytest.mark.parametrize("pace", [Pace.VIRTUAL, Pace.BUSY])
def test_sessions_that_are_replayed_together_each_say_their_own(
    pace: Pace, utterances: list[Utterance], whisper: Whisper, tmp_path: Path
) -> None:
    talks = [live_bench.join([utterance]) for utterance in utterances]
    logs = [tmp_path / "a.jsonl", tmp_path / "b.jsonl"]
    seconds: list[float] = []
    with LiveModels(Engines(whisper, interactive=True)) as models:
        replay(models, OPTIONS, [audio for audio, _ in talks], logs, Replay(pace, seconds.append))
    for log, (_, reference) in zip(logs, talks, strict=True):
        report = measure(read_log(log.read_text().splitlines()), reference)
        assert report.wer is not None
        assert report.wer < 0.2
        assert report.ended == "finished"
        assert report.commit is not None
        assert report.commit.count == len(report.commit_delays_s) == report.words.right
        if pace is Pace.VIRTUAL:  # what is shown rests on the sound so far, and on nothing else
            for event in read_log(log.read_text().splitlines()):
                assert event["emitted_s"] >= event.get("heard_until_s", 0) - 0.31  # the padding of the last window
            assert report.commit.max_s < 4
    assert len(seconds) == pytest.approx(max(audio.duration_s for audio, _ in talks), abs=2)
    assert seconds == sorted(seconds)


def test_a_log_that_cannot_be_written_is_named(utterances: list[Utterance], whisper: Whisper, tmp_path: Path) -> None:
    audio, _ = live_bench.join(utterances[:1])
    with LiveModels(Engines(whisper, interactive=True)) as models, pytest.raises(OutputError, match="nowhere"):
        replay(models, OPTIONS, [audio], [tmp_path / "nowhere" / "log.jsonl"], Replay(Pace.VIRTUAL))


def test_one_session_is_measured_from_its_log(librivox: list[Clip], tmp_path: Path) -> None:
    rows = {
        row["figure"]: row
        for row in live_bench.one_session(
            librivox[1:3],  # of one sentence again and again Whisper hears one time too few or too many
            tmp_path,
            length_s=8,
            options=LiveOptions("pt", "en", speak=True, headphones=True),
            pace=Pace.BUSY,
        )
    }
    assert rows["WER, %"]["value"] < 20
    assert rows["WER offline, %"]["value"] < 20
    assert rows["committed words changed"]["value"] == rows["other broken promises"]["value"] == 0
    assert rows["voice after its commit, sent, s"]["count"] >= 1
    assert rows["resident memory, MB, median"]["value"] > 100
    assert (tmp_path / "talk.wav").exists()
    log = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert log[-1]["type"] == "ended"
    assert (tmp_path / "memory.tsv").read_text().startswith("at_s\tresident_mb\n0\t")


def test_the_curve_has_a_row_for_each_system_and_number(librivox: list[Clip], tmp_path: Path) -> None:
    rows = list(
        live_bench.many_sessions(
            librivox[1:2], tmp_path, counts=[2], plain_counts=[1], length_s=4, options=OPTIONS, threads=1
        )
    )
    assert [(row["system"], row["sessions"]) for row in rows] == [
        ("faster-whisper, a loop each", 1),
        ("faster-whisper, one model", 1),
        ("mmpipe", 2),
    ]
    for row in rows:
        assert row["WER %"] < 20
        assert row["commit p50, s"] <= row["commit p95, s"]
        assert row["changed"] == 0


def test_plain_faster_whisper_gives_words_with_times(librivox: list[Clip], utterances: list[Utterance]) -> None:
    models = live_bench.PlainModels("whisper-base", 1, 1, shared=True)
    window = SpeechWindow(utterances[0].audio, RecognitionOptions(language="en", word_timestamps=True))
    segment = asyncio.run(models.recognize(window, None))
    models.close()
    assert "ill" in segment.text
    assert segment.words[-1].end_s <= utterances[0].audio.duration_s + 0.1
    assert all(word.text == word.text.strip() for word in segment.words)


def test_memory_that_grows_is_told_from_memory_that_warms_up() -> None:
    flat, grows = live_bench.Memory(), live_bench.Memory()
    for n in range(100):
        flat.resident_mb.append(500 if n < 10 else 1000)
        grows.resident_mb.append(1000 + 10 * n)
    assert flat.growth == 0
    assert grows.growth > 0.5


class Hallucinating(Recognizer):
    """Hears words in anything."""

    languages = frozenset({"en"})

    def run(self, items: Any) -> list[Segment]:
        return [Segment(0, 1, "thank you", "en", (Word("thank", 0, 0.5, 0.9), Word("you", 0.5, 1, 0.9))) for _ in items]


def test_noises_commit_nothing_and_speech_among_them_would(
    utterances: list[Utterance], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sounds = live_bench.noises(10)
    assert all(sound.duration_s == 10 for sound in sounds.values())
    assert all(np.abs(sound.samples).max() > 0.01 for name, sound in sounds.items() if name != "silence")
    monkeypatch.setattr("mmpipe.pipelines.engines.load_recognizer", lambda name: Hallucinating())
    speech = {"speech": Audio(utterances[0].audio.samples)}
    rows = {row["sound"]: row for row in live_bench.no_speech(sounds | speech, tmp_path, LiveOptions(source="en"))}
    assert {name: rows[name]["committed words"] for name in sounds} == dict.fromkeys(sounds, 0)
    assert rows["speech"]["committed words"] > 0
