"""Benchmarks on real recordings. Systems that are compared take turns in one process, on the same sound and weights.

Each function gives rows of a table, a dictionary each, and needs the extra ``eval``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from mmpipe.audio.media import load
from mmpipe.audio.recognition.whisper import Whisper, WhisperOptions
from mmpipe.errors import LanguageError
from mmpipe.evaluate.clips import Clip
from mmpipe.evaluate.metrics import chrf, word_error_rate
from mmpipe.pipelines.engines import Engines
from mmpipe.pipelines.speech_translation import SpeechTranslator, Via
from mmpipe.pipelines.transcription import Transcriber
from mmpipe.types import RecognitionOptions
from mmpipe.weights import fetch

Row = dict[str, Any]
#: Recordings that are handed to mmpipe at the same time.
AT_ONCE = 16


def _timed(run: Callable[[], list[str]]) -> tuple[list[str], float]:
    began_s = time.perf_counter()
    texts = run()
    return texts, time.perf_counter() - began_s


def _together(run: Callable[[Clip], str], clips: Sequence[Clip]) -> list[str]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(run, clips))


def recognition(clips: Sequence[Clip], weights: str = "whisper-base", runs: int = 3, threads: int = 2) -> Iterator[Row]:
    """Recognize all ``clips`` with mmpipe and with plain faster-whisper, by turns, ``runs`` times each.

    All systems read the files themselves and run the same weights as int8. ``mmpipe`` is the pipeline: voice
    activity, short context, the clips together in batches, words with times. ``30 s context`` is the same with every
    window padded to 30 s. faster-whisper takes one clip after the other, as its users do: with its defaults (beam 5),
    and greedily.
    """
    from faster_whisper import WhisperModel

    plain = WhisperModel(str(fetch(weights)), device="cpu", compute_type="int8", cpu_threads=threads)
    ours = Transcriber(Engines(Whisper(weights, WhisperOptions(device="cpu", threads=threads))))
    long = WhisperOptions(device="cpu", threads=threads, short_context=False)
    padded = Transcriber(Engines(Whisper(weights, long)))

    def faster_whisper(**options: Any) -> list[str]:
        texts = []
        for clip in clips:
            segments, _ = plain.transcribe(str(clip.path), language=clip.language, **options)
            texts.append("".join(segment.text for segment in segments))
        return texts

    def mmpipe(transcriber: Transcriber, *, word_timestamps: bool) -> list[str]:
        def one(clip: Clip) -> str:
            return transcriber(
                clip.path, RecognitionOptions(language=clip.language, word_timestamps=word_timestamps)
            ).text

        return _together(one, clips)

    systems: dict[str, Callable[[], list[str]]] = {
        "mmpipe": lambda: mmpipe(ours, word_timestamps=False),
        "mmpipe, word times": lambda: mmpipe(ours, word_timestamps=True),
        "mmpipe, 30 s context": lambda: mmpipe(padded, word_timestamps=False),
        "faster-whisper": faster_whisper,
        "faster-whisper, beam 1": lambda: faster_whisper(beam_size=1),
    }
    took_s: dict[str, list[float]] = {name: [] for name in systems}
    texts: dict[str, list[str]] = {}
    for _ in range(runs):
        for name, run in systems.items():
            texts[name], one_s = _timed(run)
            took_s[name].append(one_s)
    ours.close()
    padded.close()
    sound_s = sum(load(clip.path).duration_s for clip in clips)
    references = [clip.text for clip in clips]
    slowest_s = median(took_s["faster-whisper"])
    for name in systems:
        yield {
            "system": name,
            "WER %": round(100 * word_error_rate(references, texts[name], clips[0].language), 2),
            "seconds": round(median(took_s[name]), 2),
            "real-time factor": round(median(took_s[name]) / sound_s, 3),
            "times faster": round(slowest_s / median(took_s[name]), 2),
        }


def round_trip(
    clips: Sequence[Clip], to: str, voice: str | None = None, weights: str = "whisper-base"
) -> Iterator[Row]:
    """Translate and speak ``clips``; recognize what was spoken, and compare with the text that was to be spoken.

    The listener is plain faster-whisper with its defaults on the same weights, so that nothing of ours helps it.
    """
    from faster_whisper import WhisperModel

    listener = WhisperModel(str(fetch(weights)), device="cpu", compute_type="int8")
    texts, heard = [], []
    with (
        Engines(weights) as engines,
        SpeechTranslator(to, engines, source=clips[0].language, voice=voice) as translate,
    ):
        for clip in clips:
            result = translate(clip.path)
            with TemporaryDirectory() as folder:  # what the listener hears is what a user would
                path = Path(folder) / "speech.wav"
                result.save_speech(path)
                found, _ = listener.transcribe(str(path), language=to)
                segments = list(found)
            texts.append(result.text)
            heard.append("".join(segment.text for segment in segments))
    for text, what in zip(texts, heard, strict=True):
        yield {"spoken": text, "heard": what.strip(), "WER %": round(100 * word_error_rate([text], [what], to), 1)}
    yield {"spoken": "all", "heard": "", "WER %": round(100 * word_error_rate(texts, heard, to), 2)}


def chain(clips: Sequence[Clip], to: str, runs: int = 3) -> Iterator[Row]:
    """Recognize, translate and speak ``clips``, one after the other and all together; models loaded beforehand."""
    import psutil

    sound_s = sum(load(clip.path).duration_s for clip in clips)
    with SpeechTranslator(to, source=clips[0].language) as translate:
        translate(clips[0].path)

        def one(clip: Clip) -> str:
            return translate(clip.path).text

        ways: dict[str, Callable[[], list[str]]] = {
            "one after the other": lambda: [one(clip) for clip in clips],
            "all together": lambda: _together(one, clips),
        }
        took_s: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(runs):
            for name, run in ways.items():
                took_s[name].append(_timed(run)[1])
        for name in ways:
            yield {
                "clips": name,
                "seconds": round(median(took_s[name]), 2),
                "real-time factor": round(median(took_s[name]) / sound_s, 3),
                "resident MB": round(psutil.Process().memory_info().rss / 1e6),
            }


def into_english(clips: Sequence[Clip]) -> Iterator[Row]:
    """Translate ``clips`` into English straight from the speech and by way of text, where there is one: chrF."""
    references = [clip.english for clip in clips]
    ways: tuple[Via, ...] = ("speech", "text")
    for via in ways:
        try:
            with SpeechTranslator("en", source=clips[0].language, via=via) as translate:
                texts = _together(lambda clip: translate(clip.path, speak=False).text, clips)
        except LanguageError as error:
            yield {"from": clips[0].language, "via": via, "chrF": None, "note": str(error)}
            continue
        yield {"from": clips[0].language, "via": via, "chrF": round(chrf(references, texts), 1)}
