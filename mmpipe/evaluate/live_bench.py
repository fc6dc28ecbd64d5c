"""Benchmarks of live sessions: recordings replayed at the pace of a microphone, measured from the log of events.

Each function gives rows of a table, a dictionary each, and needs the extra ``eval``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count, cycle
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from mmpipe.audio import media
from mmpipe.audio.recognition.whisper import Whisper
from mmpipe.evaluate.clips import Clip
from mmpipe.evaluate.latency import Spread
from mmpipe.evaluate.metrics import word_error_rate
from mmpipe.evaluate.reference import Reference, Utterance, align_clips, join
from mmpipe.evaluate.replay import Pace, Replay, replay
from mmpipe.evaluate.replay_log import LiveReport, measure, read_log
from mmpipe.pipelines.engines import Engines
from mmpipe.pipelines.live import LiveModels, LiveOptions
from mmpipe.pipelines.transcription import Transcriber
from mmpipe.stage import Recognizer
from mmpipe.types import SPEECH_RATE_HZ, Audio, RecognitionOptions, Segment, SpeechWindow, Word
from mmpipe.weights import fetch

Row = dict[str, Any]

#: Silence before each clip by turns: sentences that run into one another, breaths, and turns of speakers.
PAUSES_S = (0.4, 1.5, 0.7, 2.5)
MMPIPE = "mmpipe"


# --- what is replayed -------------------------------------------------------------------------------------------------


def long_recording(utterances: Sequence[Utterance], length_s: float, seed: int = 0) -> tuple[Audio, Reference]:
    """At least ``length_s`` of ``utterances`` in ever new order."""
    order = np.random.default_rng(seed)
    chosen: list[Utterance] = []
    so_far_s = 0.0
    for n in count():
        if so_far_s >= length_s:
            break
        if n % len(utterances) == 0:
            shuffled = [utterances[k] for k in order.permutation(len(utterances))]
        chosen.append(shuffled[n % len(utterances)])
        so_far_s += chosen[-1].audio.duration_s + PAUSES_S[n % len(PAUSES_S)]
    return join(chosen, PAUSES_S)


# --- one session ------------------------------------------------------------------------------------------------------


@dataclass
class Memory:
    """The process's resident memory while something goes on."""

    at_s: list[float] = field(default_factory=list)
    resident_mb: list[float] = field(default_factory=list)

    def sample(self, at_s: float) -> None:
        import psutil

        self.at_s.append(at_s)
        self.resident_mb.append(psutil.Process().memory_info().rss / 1e6)

    @property
    def growth(self) -> float:
        """From the second tenth of the time to the last tenth, as a fraction: the first tenth warms up."""
        tenth = max(1, len(self.resident_mb) // 10)
        return median(self.resident_mb[-tenth:]) / median(self.resident_mb[tenth : 2 * tenth]) - 1


def one_session(
    clips: Sequence[Clip],
    folder: Path,
    *,
    length_s: float,
    options: LiveOptions,
    weights: str = "whisper-base",
    pace: Pace = Pace.REAL,
    progress: Callable[[float], None] = lambda at_s: None,
) -> Iterator[Row]:
    """Replay ``length_s`` of ``clips`` into one session, and recognize the same recording offline.

    ``folder`` keeps the recording, the log (``events.jsonl``) and the memory over time (``memory.tsv``).
    """
    whisper = Whisper(weights)
    audio, reference = long_recording(align_clips(clips, whisper), length_s)
    recording, log = folder / "talk.wav", folder / "events.jsonl"
    media.save(audio, recording)
    language = clips[0].language
    engines = Engines(whisper, interactive=True)
    offline = Transcriber(engines)(recording, RecognitionOptions(language=language, word_timestamps=True))

    memory = Memory()

    def each_second(at_s: float) -> None:
        progress(at_s)
        if round(at_s) % 5 == 0:
            memory.sample(at_s)

    with engines, LiveModels(engines) as models:
        _warmup(models, options, audio.slice(0, 20), folder)
        replay(models, options, [audio], [log], Replay(pace, each_second=each_second))
    whisper.close()
    _keep(memory, folder / "memory.tsv")
    with log.open(encoding="utf-8") as file:
        events = read_log(file)
    report = measure(events, reference)
    yield from _rows(report)
    said = [" ".join(segment.text for segment in reference.segments)]
    against = measure(events, Reference(_with_words(offline.segments), offline.duration_s))
    yield {"figure": "WER offline, %", "value": round(100 * word_error_rate(said, [offline.text], language), 2)}
    yield {"figure": "sentences missing, against offline", "value": against.words.missing_sentences}
    yield {"figure": "words repeated, against offline", "value": against.words.repeated}
    yield {"figure": "resident memory, MB, median", "value": round(median(memory.resident_mb))}
    yield {"figure": "memory growth, %", "value": round(100 * memory.growth, 1)}


def _with_words(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    return tuple(segment for segment in segments if segment.words)


def _warmup(models: LiveModels, options: LiveOptions, audio: Audio, folder: Path) -> None:
    """A session begins with models that are loaded, as those of a server are."""
    replay(models, options, [audio], [folder / "warmup.jsonl"], Replay(Pace.BUSY))


def _keep(memory: Memory, path: Path) -> None:
    lines = [f"{at_s:.0f}\t{mb:.1f}" for at_s, mb in zip(memory.at_s, memory.resident_mb, strict=True)]
    path.write_text("\n".join(["at_s\tresident_mb", *lines, ""]), encoding="utf-8")


def _rows(report: LiveReport) -> Iterator[Row]:
    spreads = {
        "first caption of an utterance": report.first_caption,
        "commit of a word": report.commit,
        "translation after its commit": report.translated,
        "voice after its commit, sent": report.voice_sent,
        "voice after its commit, heard": report.voice_heard,
        "lag of recognition": report.lag,
    }
    for name, spread in spreads.items():
        if spread:
            yield {
                "figure": f"{name}, s",
                "value": "",
                "p50": round(spread.p50_s, 2),
                "p95": round(spread.p95_s, 2),
                "max": round(spread.max_s, 2),
                "count": spread.count,
            }
    for name, lagging in (("transcript", report.transcript), ("translation", report.translation)):
        if lagging:
            for measure_name in ("al", "laal", "stream_laal"):
                for clock in ("_s", "_ca_s"):
                    value = getattr(lagging, measure_name + clock)
                    label = f"{measure_name.upper().replace('_', '')} of the {name}, s"
                    if clock == "_ca_s":
                        label += ", computation-aware"
                    yield {"figure": label, "value": value if value is None else round(value, 2)}
    yield {"figure": "WER, %", "value": None if report.wer is None else round(100 * report.wer, 2)}
    if report.chrf is not None:
        yield {"figure": "chrF of the translation", "value": round(report.chrf, 1)}
    for name in ("caption_erasure", "translation_erasure"):
        value = getattr(report, name)
        yield {"figure": f"Normalized Erasure, {name.split('_')[0]}s", "value": value and round(value, 2)}
    yield {"figure": "real-time factor of recognition", "value": report.real_time_factor}
    integrity = report.integrity
    yield {"figure": "committed words changed", "value": integrity.changed}
    yield {"figure": "other broken promises", "value": sum(_integers(integrity)) - integrity.changed}
    yield {"figure": "utterances without a caption", "value": report.uncaptioned}
    yield {"figure": "sentences missing", "value": report.words.missing_sentences}
    yield {"figure": "words repeated", "value": report.words.repeated}
    yield {"figure": "partials dropped", "value": report.dropped_partials}
    yield {"figure": "sentences not spoken", "value": report.dropped_speech}
    yield {"figure": "warnings", "value": report.warnings}
    yield {"figure": "ended", "value": report.ended}


def _integers(integrity: Any) -> Iterator[int]:
    for name in integrity.__slots__:
        yield getattr(integrity, name)


# --- many sessions ----------------------------------------------------------------------------------------------------


class PlainModels(LiveModels):
    """The same sessions over plain faster-whisper: each window by itself, padded to 30 s, greedily.

    ``shared``: one model for all sessions, with a worker for each thread. Otherwise loops that know nothing of one
    another: a model and a thread of its own for each of ``sessions``.
    """

    def __init__(self, weights: str, threads: int, sessions: int, *, shared: bool) -> None:
        from faster_whisper import WhisperModel

        super().__init__(Engines(_Unused(), interactive=True))
        folder = str(fetch(weights))
        load = partial(WhisperModel, folder, device="cpu", compute_type="int8")
        if shared:
            models = [load(cpu_threads=1, num_workers=threads)]
            self._pools = [ThreadPoolExecutor(threads)]
        else:
            models = [load(cpu_threads=threads) for _ in range(sessions)]
            self._pools = [ThreadPoolExecutor(1) for _ in models]
        self._places = cycle(zip(models, self._pools, strict=True))
        self._of: dict[object, tuple[Any, ThreadPoolExecutor]] = {}

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        yield

    async def recognize(self, window: SpeechWindow, session: object) -> Segment:
        if session not in self._of:
            self._of[session] = next(self._places)
        model, pool = self._of[session]
        return await asyncio.get_running_loop().run_in_executor(pool, _transcribe, model, window)

    def close(self) -> None:
        for pool in self._pools:
            pool.shutdown()
        super().close()


def _transcribe(model: Any, window: SpeechWindow) -> Segment:
    language = window.options.language or "en"
    segments, _ = model.transcribe(
        window.audio.samples,
        language=language,
        beam_size=1,
        word_timestamps=True,
        condition_on_previous_text=False,
    )
    words = tuple(
        Word(word.word.strip(), word.start, word.end, word.probability)
        for segment in segments
        for word in segment.words or ()
    )
    return Segment(0.0, window.audio.duration_s, " ".join(word.text for word in words), language, words)


class _Unused(Recognizer):
    """In the place of a recognizer that is never called."""

    def run(self, items: Sequence[SpeechWindow]) -> list[Segment]:
        raise NotImplementedError


def many_sessions(
    clips: Sequence[Clip],
    folder: Path,
    *,
    counts: Sequence[int],
    plain_counts: Sequence[int],
    length_s: float,
    options: LiveOptions,
    weights: str = "whisper-base",
    threads: int = 2,
    progress: Callable[[float], None] = lambda at_s: None,
) -> Iterator[Row]:
    """The delay of commits over the number of sessions, for mmpipe and for loops of plain faster-whisper.

    Both follow the same policy on the same recordings, by turns. Idle time is left out of the replay.
    """
    whisper = Whisper(weights)
    utterances = align_clips(clips, whisper)
    whisper.close()
    makers: dict[str, Callable[[Engines, int], LiveModels]] = {
        MMPIPE: lambda engines, n: LiveModels(engines),
        "faster-whisper, a loop each": lambda engines, n: PlainModels(weights, threads, n, shared=False),
        "faster-whisper, one model": lambda engines, n: PlainModels(weights, threads, n, shared=True),
    }
    runs = [(n, system) for system in makers for n in (counts if system == MMPIPE else plain_counts)]
    for n, system in sorted(runs):
        talks = [long_recording(utterances, length_s, seed) for seed in range(n)]
        logs = [folder / f"{system.replace(', ', '-').replace(' ', '-')}-{n}-{k}.jsonl" for k in range(n)]
        with Engines(weights, interactive=True) as engines, makers[system](engines, n) as models:
            _warmup(models, options, talks[0][0].slice(0, 10), folder)
            replay(
                models,
                options,
                [audio for audio, _ in talks],
                logs,
                Replay(Pace.BUSY, each_second=progress),
            )
            answers = models.answers
        row = _curve_row(system, logs, [reference for _, reference in talks])
        yield row | {"answer, s": round(answers.total_s / answers.count, 2) if answers.count else None}


def _curve_row(system: str, logs: Sequence[Path], references: Sequence[Reference]) -> Row:
    reports = []
    delays_s: list[float] = []
    for log, reference in zip(logs, references, strict=True):
        with log.open(encoding="utf-8") as file:
            reports.append(measure(read_log(file), reference))
        delays_s += reports[-1].commit_delays_s
    commit = Spread.of(delays_s)
    assert commit is not None
    first = [report.first_caption.p50_s for report in reports if report.first_caption]
    return {
        "system": system,
        "sessions": len(logs),
        "commit p50, s": round(commit.p50_s, 2),
        "commit p95, s": round(commit.p95_s, 2),
        "first caption p50, s": round(median(first), 2) if first else None,
        "lag p95, s": round(max(report.lag.p95_s for report in reports if report.lag), 2),
        "WER %": round(100 * float(np.mean([report.wer for report in reports])), 2),
        "partials dropped": sum(report.dropped_partials for report in reports),
        "changed": sum(report.integrity.changed for report in reports),
    }


# --- no speech --------------------------------------------------------------------------------------------------------


def no_speech(
    recordings: dict[str, Audio], folder: Path, options: LiveOptions, weights: str = "whisper-base"
) -> Iterator[Row]:
    """What is committed, and what is shown for a moment, where nobody speaks."""
    with Engines(weights, interactive=True) as engines, LiveModels(engines) as models:
        for name, audio in recordings.items():
            log = folder / f"{name}.jsonl"
            replay(models, options, [audio], [log], Replay(Pace.BUSY))
            with log.open(encoding="utf-8") as file:
                events = read_log(file)
            committed = " ".join(event["text"] for event in events if event["type"] == "committed")
            yield {
                "sound": name,
                "seconds": round(audio.duration_s),
                "committed words": len(committed.split()),
                "partial captions": sum(event["type"] == "partial" and bool(event["text"]) for event in events),
                "text": committed,
            }


def noises(length_s: float, seed: int = 0) -> dict[str, Audio]:
    """Sounds of no speech, ``length_s`` each: silence, hiss, hum, keyboard clatter, a melody."""
    rng = np.random.default_rng(seed)
    n = round(length_s * SPEECH_RATE_HZ)
    t = np.arange(n) / SPEECH_RATE_HZ
    white = rng.standard_normal(n)
    spectrum = np.fft.rfft(rng.standard_normal(n))
    pink = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(len(spectrum)), 1)), n)
    hum = np.sin(2 * np.pi * 50 * t) + 0.5 * np.sin(2 * np.pi * 150 * t)
    keys = np.zeros(n)
    for at in np.cumsum(rng.uniform(0.06, 0.6, round(3 * length_s))):
        start = round(at * SPEECH_RATE_HZ)
        if start < n:
            ring = np.exp(-np.arange(min(800, n - start)) / 120)
            keys[start : start + len(ring)] += ring * rng.standard_normal(len(ring))
    notes = 220 * 2 ** (rng.integers(0, 24, round(length_s * 3) + 1) / 12)
    melody = np.sin(2 * np.pi * np.cumsum(notes[(t * 3).astype(int)]) / SPEECH_RATE_HZ) * (1 - (t * 3) % 1)
    levels = {"silence": (white, 0.0), "hiss": (white, 0.02), "loud hiss": (white, 0.2), "pink noise": (pink, 0.1)}
    levels |= {"hum": (hum, 0.1), "keyboard": (keys, 0.3), "melody": (melody, 0.3)}
    return {
        name: Audio((level * sound / max(np.sqrt(np.mean(sound**2)), 1e-9)).clip(-1, 1).astype(np.float32))
        for name, (sound, level) in levels.items()
    }
