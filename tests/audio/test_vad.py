from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from mmpipe.audio import media
from mmpipe.audio.vad import FRAME_S, ChunkOptions, Endpointer, SileroVad, Span, VadOptions, speech_chunks
from mmpipe.evaluate.clips import Clip
from mmpipe.types import Audio


def run(probabilities: list[float], options: VadOptions | None = None) -> list[Span]:
    endpointer = Endpointer(options)
    return [*endpointer.feed(probabilities), *endpointer.flush()]


def test_speech_lasts_until_a_pause_is_long_enough() -> None:
    pause = round(VadOptions().min_silence_s / FRAME_S)
    voiced = [0.9] * 20
    assert run([0.0] * 5 + voiced + [0.0] * (pause - 1) + voiced) == [Span(5, 5 + 40 + pause - 1)]
    assert len(run([0.0] * 5 + voiced + [0.0] * (pause + 1) + voiced)) == 2


def test_a_click_is_no_speech() -> None:
    assert run([0.0] * 10 + [0.9] * 3 + [0.0] * 30) == []


def test_between_the_thresholds_speech_goes_on_but_does_not_begin() -> None:
    assert run([0.4] * 50) == []
    assert run([0.9] * 2 + [0.4] * 48) == [Span(0, 50)]


def test_endless_speech_is_cut_where_it_is_least_probable() -> None:
    options = VadOptions(max_speech_s=100 * FRAME_S)
    probabilities = [0.9] * 300
    probabilities[80] = 0.5  # a breath
    spans = run(probabilities, options)
    assert spans[0] == Span(0, 80)
    assert all(span.end - span.start <= 100 for span in spans)
    assert [a.end for a in spans[:-1]] == [b.start for b in spans[1:]]  # nothing is lost


def test_feeding_in_pieces_changes_nothing(vad: SileroVad, librivox: list[Clip]) -> None:
    samples = media.load(librivox[0].path).samples
    at_once = vad.stream().feed(samples)
    stream = vad.stream()
    edges = [0, 1, 100, 511, 513, 9_000, 40_001, len(samples)]
    pieces = [stream.feed(samples[a:b]) for a, b in pairwise(edges)]
    np.testing.assert_allclose(np.concatenate(pieces), at_once, atol=1e-5)
    assert len(at_once) == len(samples) // 512


def test_real_speech_is_found_where_it_is(vad: SileroVad, librivox: list[Clip]) -> None:
    speech = media.load(librivox[1].path).samples
    silence = np.zeros(48_000, np.float32)
    whole = Audio(np.concatenate([silence, speech, silence, speech, silence]))
    chunks = list(speech_chunks([whole], vad))
    assert len(chunks) == 2
    length_s = len(speech) / 16_000
    assert chunks[0].start_s == pytest.approx(3.0, abs=0.3)
    assert chunks[0].end_s == pytest.approx(3.0 + length_s, abs=0.4)
    assert chunks[1].start_s == pytest.approx(6.0 + length_s, abs=0.3)
    for chunk in chunks:  # the sound is the sound of that place
        start = round(chunk.start_s * 16_000)
        np.testing.assert_array_equal(chunk.audio.samples, whole.samples[start : start + len(chunk.audio.samples)])


def test_short_pauses_are_joined_up_to_a_limit(vad: SileroVad, librivox: list[Clip]) -> None:
    speech = media.load(librivox[1].path).samples  # three seconds
    pause = np.zeros(12_000, np.float32)
    whole = Audio(np.concatenate([speech, pause] * 4))
    assert len(list(speech_chunks([whole], vad))) == 1
    few = list(speech_chunks([whole], vad, chunk_options=ChunkOptions(join_up_to_s=8.0)))
    assert len(few) == 2
    assert all(chunk.audio.duration_s < 9 for chunk in few)
    assert few[0].end_s <= few[1].start_s


def test_chunks_do_not_depend_on_how_the_sound_comes_in(vad: SileroVad, librivox: list[Clip]) -> None:
    pause = np.zeros(40_000, np.float32)
    whole = np.concatenate([part for clip in librivox for part in (media.load(clip.path).samples, pause)])

    def blocks(size: int) -> Iterator[Audio]:
        for at in range(0, len(whole), size):
            yield Audio(whole[at : at + size])

    one = [(c.start_s, len(c.audio.samples)) for c in speech_chunks(blocks(len(whole)), vad)]
    assert len(one) == 5
    for size in (1_600, 7_777, 64_000):
        assert [(c.start_s, len(c.audio.samples)) for c in speech_chunks(blocks(size), vad)] == one


def test_memory_stays_flat_over_a_long_recording(vad: SileroVad, librivox: list[Clip]) -> None:
    import tracemalloc

    speech = media.load(librivox[0].path).samples

    def long_recording(rounds: int) -> Iterator[Audio]:
        for _ in range(rounds):
            yield Audio(speech)
            yield Audio(np.zeros(80_000, np.float32))

    def peak_bytes(rounds: int) -> int:
        tracemalloc.start()
        assert sum(1 for _ in speech_chunks(long_recording(rounds), vad)) == rounds
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_bytes(2)
    assert peak_bytes(40) < 1.2 * peak_bytes(4)  # eight minutes take no more than one


@pytest.mark.parametrize("kind", ["silence", "white noise", "hum", "clatter", "melody"])
def test_what_is_no_speech_gives_no_chunk(vad: SileroVad, kind: str) -> None:
    random = np.random.default_rng(0)
    n = 16_000 * 60
    at = np.arange(n) / 16_000
    sound = {
        "silence": lambda: np.zeros(n),
        "white noise": lambda: 0.2 * random.standard_normal(n),
        "hum": lambda: 0.2 * np.sin(2 * np.pi * 50 * at) + 0.02 * random.standard_normal(n),
        "clatter": lambda: clatter(n, random),
        "melody": lambda: melody(n, random),
    }[kind]()
    assert list(speech_chunks([Audio(sound.astype(np.float32))], vad)) == []


def clatter(n: int, random: np.random.Generator) -> np.ndarray:
    """Keys that are struck."""
    sound = np.zeros(n)
    for start in random.integers(0, n - 800, 400):
        sound[start : start + 800] += random.standard_normal(800) * np.exp(-np.arange(800) / 100) * 0.4
    return sound


def melody(n: int, random: np.random.Generator) -> np.ndarray:
    """Plucked strings: harmonics that decay."""
    sound = np.zeros(n)
    at = np.arange(8_000) / 16_000
    for start, hz in zip(
        range(0, n - 8_000, 8_000), random.choice([262, 294, 330, 392, 440], n // 8_000), strict=False
    ):
        for harmonic in range(1, 6):
            sound[start : start + 8_000] += 0.2 / harmonic * np.sin(2 * np.pi * hz * harmonic * at) * np.exp(-3 * at)
    return sound


def test_music_that_sounds_like_a_voice_is_still_cut_into_bounded_chunks(vad: SileroVad, data: Path) -> None:
    # two vowels' formants without pause, for a minute: whatever the model makes of it, no window is over the limit
    at = np.arange(16_000 * 60) / 16_000
    sound = sum(np.sin(2 * np.pi * 120 * k * at) / k for k in range(1, 25)) * 0.05 * (1 + np.sin(2 * np.pi * 4 * at))
    for chunk in speech_chunks([Audio(np.asarray(sound, np.float32))], vad):
        assert chunk.audio.duration_s < 30
