from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import numpy as np
import pytest

from mmpipe.audio import media
from mmpipe.audio.recognition.whisper import Whisper
from mmpipe.errors import MediaError
from mmpipe.evaluate.clips import Clip
from mmpipe.evaluate.metrics import word_error_rate
from mmpipe.pipelines.alignment import align, distribute
from mmpipe.pipelines.engines import Engines
from mmpipe.pipelines.transcription import Transcriber
from mmpipe.stage import Recognizer
from mmpipe.types import Audio, RecognitionOptions, Segment, SpeechWindow


class Counting(Recognizer):
    """Says how long each window is; sure of its language from the ``sure_from``-th window on."""

    languages = frozenset({"en", "pt"})

    def __init__(self, sure_from: int = 0) -> None:
        self.sure_from = sure_from
        self.heard: list[SpeechWindow] = []

    def run(self, items: Sequence[SpeechWindow]) -> list[Segment]:
        found = []
        for item in items:
            self.heard.append(item)
            sure = len(self.heard) > self.sure_from
            language = item.options.language or ("pt" if sure else "en")
            probability = None if item.options.language else (0.9 if sure else 0.4)
            text = f"{item.audio.duration_s:.1f} seconds."
            found.append(Segment(0.0, item.audio.duration_s, text, language, language_probability=probability))
        return found


@pytest.fixture
def talk(tmp_path: Path, librivox: list[Clip]) -> Path:
    """The five sentences with three seconds between them: five windows."""
    pause = np.zeros(48_000, np.float32)
    pieces = [part for clip in librivox for part in (media.load(clip.path).samples, pause)]
    path = tmp_path / "talk.wav"
    media.save(Audio(np.concatenate(pieces)), path)
    return path


def test_a_recording_is_recognized_with_times_of_its_own(whisper: Whisper, talk: Path, librivox: list[Clip]) -> None:
    with Transcriber(Engines(whisper)) as transcribe:
        transcript = transcribe(talk)
    assert transcript.language == "en"
    assert transcript.duration_s == pytest.approx(media.probe(talk).duration_s)
    assert word_error_rate([" ".join(clip.text for clip in librivox)], [transcript.text], "en") <= 0.06
    starts = np.cumsum([0.0, *(media.load(clip.path).duration_s + 3.0 for clip in librivox[:-1])])
    assert len(transcript.segments) == len(librivox)
    for segment, start_s in zip(transcript.segments, starts, strict=True):
        assert segment.start_s == pytest.approx(start_s, abs=0.4)
    times = [word.start_s for word in transcript.words]
    assert times == sorted(times)


def test_the_bars_on_the_real_clips_are_met(whisper: Whisper, librivox: list[Clip], prompts: list[Clip]) -> None:
    options = RecognitionOptions(language="en")
    with Transcriber(Engines(whisper)) as transcribe, ThreadPoolExecutor(16) as pool:
        for clips, bar in ((librivox, 0.06), (prompts, 0.04)):
            texts = list(pool.map(lambda clip: transcribe(clip.path, options).text, clips))
            assert word_error_rate([clip.text for clip in clips], texts, "en") <= bar


def test_a_sure_first_window_settles_the_language(talk: Path) -> None:
    engine = Counting()
    with Transcriber(Engines(engine)) as transcribe:
        transcript = transcribe(talk)
    assert transcript.language == "pt"
    assert [window.options.language for window in engine.heard] == [None, "pt", "pt", "pt", "pt"]


def test_unsure_windows_are_counted_until_one_is_sure(talk: Path) -> None:
    engine = Counting(sure_from=1)
    with Transcriber(Engines(engine)) as transcribe:
        segments = list(transcribe.stream(talk))
    assert [window.options.language for window in engine.heard] == [None, None, "pt", "pt", "pt"]
    assert [segment.language for segment in segments] == ["en", "pt", "pt", "pt", "pt"]


def test_three_unsure_windows_settle_it_by_their_sum(talk: Path) -> None:
    engine = Counting(sure_from=99)
    with Transcriber(Engines(engine)) as transcribe:
        list(transcribe.stream(talk))
    assert [window.options.language for window in engine.heard] == [None, None, None, "en", "en"]


def test_a_later_start_gives_the_rest_with_the_same_times(talk: Path) -> None:
    with Transcriber(Engines(Counting())) as transcribe:
        whole = list(transcribe.stream(talk))
        rest = list(transcribe.stream(talk, start_s=whole[1].end_s + 1.0))
    assert len(rest) == 3
    for late, early in zip(rest, whole[2:], strict=True):
        assert late.start_s == pytest.approx(early.start_s, abs=0.3)
        assert late.end_s == pytest.approx(early.end_s, abs=0.3)


def test_windows_of_several_recordings_share_batches(talk: Path) -> None:
    sizes: list[int] = []
    gate = threading.Event()

    class Slow(Counting):
        def run(self, items: Sequence[SpeechWindow]) -> list[Segment]:
            sizes.append(len(items))
            if len(sizes) == 1:
                gate.wait(10)  # meanwhile the other recordings come in
            return super().run(items)

    engine = Slow()
    options = RecognitionOptions(language="en")
    with Transcriber(Engines(engine)) as transcribe, ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(lambda: list(transcribe.stream(talk, options))) for _ in range(4)]
        batcher = transcribe.engines.batchers.of(engine)
        while batcher.stats.submitted < 16:
            gate.wait(0.01)
        gate.set()
        assert all(len(future.result()) == 5 for future in futures)
    assert sum(sizes) == 20
    assert max(sizes) > 1


def test_leaving_early_cancels_what_was_ahead(talk: Path) -> None:
    engine = Counting()
    with Transcriber(Engines(engine)) as transcribe:
        stream = transcribe.stream(talk, RecognitionOptions(language="en"))
        next(stream)
        stream.close()
        assert transcribe.engines.batchers.of(engine).stats.failed == 0


def test_a_failing_recognizer_stops_only_its_own_recording(talk: Path, librivox: list[Clip]) -> None:
    class Picky(Counting):
        def run(self, items: Sequence[SpeechWindow]) -> list[Segment]:
            if any(item.audio.duration_s > 6.5 for item in items):
                raise RuntimeError("too long for me")
            return super().run(items)

    with Transcriber(Engines(Picky())) as transcribe:
        with pytest.raises(Exception, match="too long for me"):
            transcribe(librivox[0].path)
        assert transcribe(librivox[1].path).segments


def test_silence_gives_an_empty_transcript(tmp_path: Path, whisper: Whisper) -> None:
    path = tmp_path / "silence.wav"
    media.save(Audio(np.zeros(16_000 * 60, np.float32)), path)
    with Transcriber(Engines(whisper)) as transcribe:
        assert transcribe(path).segments == ()


def test_a_bad_file_is_named(tmp_path: Path) -> None:
    with Transcriber(Engines(Counting())) as transcribe, pytest.raises(MediaError, match=r"missing\.wav"):
        transcribe(tmp_path / "missing.wav")


def test_a_known_text_is_aligned_to_a_long_recording(whisper: Whisper, talk: Path, librivox: list[Clip]) -> None:
    text = " ".join(clip.text for clip in librivox)
    segments = align(talk, text, "en", whisper)
    assert " ".join(segment.text for segment in segments) == text
    assert len(segments) == 5
    with Transcriber(Engines(whisper)) as transcribe:
        heard = {word.text.strip(".,").lower(): word.start_s for word in transcribe(talk).words}
    aligned = {word.text: word.start_s for segment in segments for word in segment.words}
    for word in ("leisure", "selfish", "respectable", "himself"):
        assert aligned[word] == pytest.approx(heard[word], abs=0.3)


def test_text_is_distributed_over_what_was_heard() -> None:
    words = ["The", "quick,", "brown", "fox", "jumps;", "over", "the", "lazy", "dog", "today"]
    heard = [["the", "quick", "brown"], ["over", "a", "lazy", "dog"], ["hm"]]
    assert distribute(words, heard) == [words[:5], words[5:], []]


def test_text_nobody_heard_is_not_lost() -> None:
    words = ["completely", "different", "words"]
    assert [*chain.from_iterable(distribute(words, [["a"], ["b"]]))] == words
