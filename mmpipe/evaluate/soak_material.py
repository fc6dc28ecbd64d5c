"""What the visitors of a soak say, ask and upload."""

from __future__ import annotations

import io
import wave
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mmpipe.audio import media
from mmpipe.audio.recognition.whisper import Whisper
from mmpipe.errors import InputError
from mmpipe.evaluate.clips import Clip
from mmpipe.evaluate.live_bench import long_recording
from mmpipe.evaluate.metrics import word_error_rate
from mmpipe.evaluate.reference import Reference, Utterance, align_clips
from mmpipe.evaluate.soak_files import HostileFiles
from mmpipe.files import writing
from mmpipe.pipelines.engines import Engines
from mmpipe.pipelines.transcription import Transcriber
from mmpipe.serve.wire import to_pcm16
from mmpipe.types import Audio, RecognitionOptions, Segment

#: Length of the sound that hostile visitors upload.
HOSTILE_SOUND_S = 6.0


@dataclass(frozen=True, slots=True)
class Material:
    """The same clips with what is spoken in them and with what is recognized offline; and pictures."""

    spoken: Sequence[Utterance]
    offline: Sequence[Utterance]
    pictures: Sequence[bytes]


def prepare(clips: Sequence[Clip], pictures: Sequence[Path], weights: str = "whisper-base") -> tuple[Material, float]:
    """Align ``clips``, and recognize them offline.

    Args:
        clips: what is said; those in which nothing is recognized offline are left out.
        pictures: what is asked about.
        weights: of the recognizer.

    Returns:
        What visitors say and ask, and the word error rate of the offline transcripts.

    Raises:
        InputError: nothing is recognized in any clip.
        MediaError: a clip cannot be read.
    """
    whisper = Whisper(weights)
    try:
        spoken = align_clips(clips, whisper)
        offline: list[Utterance | None] = []
        with Engines(whisper) as engines, Transcriber(engines) as transcribe:
            for clip, utterance in zip(clips, spoken, strict=True):
                found = transcribe(clip.path, RecognitionOptions(language=clip.language, word_timestamps=True))
                words = tuple(word for segment in found.segments for word in segment.words)
                segment = (
                    Segment(words[0].start_s, words[-1].end_s, found.text, clip.language, words) if words else None
                )
                offline.append(Utterance(utterance.audio, segment) if segment else None)
    finally:
        whisper.close()
    both = [(one, other) for one, other in zip(spoken, offline, strict=True) if other is not None]
    if not both:
        raise InputError("Nothing is recognized in any of the clips. Give --data a folder with speech in English.")
    said, recognized = [one for one, _ in both], [other for _, other in both]
    rate = word_error_rate([u.segment.text for u in said], [u.segment.text for u in recognized], clips[0].language)
    return Material(said, recognized, [path.read_bytes() for path in pictures]), rate


def hostile_files(material: Material, folder: Path) -> HostileFiles:
    """What hostile visitors upload, made of what honest ones say and ask."""
    audio, _ = long_recording(material.spoken, HOSTILE_SOUND_S)
    secret, sound = folder / "secret.wav", folder / "talk.ogg"
    with writing(secret):
        secret.write_bytes(wav_file(audio))
    media.save(audio, sound)
    files = HostileFiles(sound.read_bytes(), tuple(material.pictures), secret)
    files.make_all()
    return files


def clipped(reference: Reference, said_s: float) -> Reference:
    """The part of ``reference`` that was said within ``said_s``."""
    segments: list[Segment] = []
    for segment in reference.segments:
        words = tuple(word for word in segment.words if word.end_s <= said_s)
        if len(words) == len(segment.words):
            segments.append(segment)
        elif words:
            text = " ".join(word.text for word in words)
            segments.append(replace(segment, end_s=words[-1].end_s, text=text, words=words))
    return Reference(tuple(segments), min(reference.duration_s, said_s))


def wav_file(audio: Audio) -> bytes:
    """A WAV file of ``audio``."""
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(audio.rate_hz)
        file.writeframes(to_pcm16(audio.samples))
    return out.getvalue()
