"""What was said in a recording, and when: what the delay of a live session is measured against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np

from mmpipe.audio import media
from mmpipe.audio.recognition.whisper import Whisper
from mmpipe.errors import InputError
from mmpipe.evaluate.clips import Clip
from mmpipe.pipelines.alignment import align
from mmpipe.types import SPEECH_RATE_HZ, Audio, Segment


@dataclass(frozen=True, slots=True)
class Reference:
    """What was said in a recording, and when.

    ``segments``: its sentences in order, each with the times of its words. ``translations``: of each, or none at all.
    An offline transcript serves too: ``Reference(transcript.segments, transcript.duration_s)``.
    """

    segments: tuple[Segment, ...]
    duration_s: float
    translations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.translations and len(self.translations) != len(self.segments):
            raise InputError(
                f"There are {len(self.translations)} translations of {len(self.segments)} sentences. Give one for each."
            )
        lacking = next((segment for segment in self.segments if not segment.words), None)
        if lacking:
            raise InputError(
                f"The sentence {lacking.text!r} has no word times. Recognize with word_timestamps=True, or use "
                "mmpipe.pipelines.alignment.align."
            )


@dataclass(frozen=True, slots=True)
class Utterance:
    """A recording of a sentence or two, and when each word is said in it."""

    audio: Audio
    segment: Segment


def align_clips(clips: Sequence[Clip], recognizer: Whisper | None = None) -> list[Utterance]:
    """Each clip with the times of its words: forced alignments of its text to the clip by itself.

    Their error goes into every delay that is measured against them.

    Raises:
        MediaError: a clip cannot be read.
        InputError: a clip has no text, or nothing is said in it.
    """
    whisper = recognizer or Whisper()
    return [Utterance(media.load(clip.path), _aligned(clip, whisper)) for clip in clips]


def join(utterances: Sequence[Utterance], pauses_s: Sequence[float] = (1.5,)) -> tuple[Audio, Reference]:
    """One long recording of ``utterances``, a pause before each, ``pauses_s`` by turns; and what is said when in it."""
    pieces: list[Audio] = []
    segments: list[Segment] = []
    at = 0  # samples
    for utterance, pause_s in zip(utterances, cycle(pauses_s), strict=False):
        silence = np.zeros(round(pause_s * SPEECH_RATE_HZ), np.float32)
        at += len(silence)
        segments.append(utterance.segment.shifted(at / SPEECH_RATE_HZ))
        pieces += [Audio(silence), utterance.audio]
        at += len(utterance.audio.samples)
    return media.concatenate(pieces, SPEECH_RATE_HZ), Reference(tuple(segments), at / SPEECH_RATE_HZ)


def join_clips(
    clips: Sequence[Clip], pauses_s: Sequence[float] = (1.5,), recognizer: Whisper | None = None
) -> tuple[Audio, Reference]:
    """:func:`align_clips`, then :func:`join`."""
    return join(align_clips(clips, recognizer), pauses_s)


def _aligned(clip: Clip, whisper: Whisper) -> Segment:
    if not clip.text.strip():
        raise InputError(
            f"The list of clips does not say what is said in {str(clip.path)!r}. Add its text or leave it out."
        )
    words = tuple(word for part in align(clip.path, clip.text, clip.language, whisper) for word in part.words)
    return Segment(words[0].start_s, words[-1].end_s, clip.text, clip.language, words)
