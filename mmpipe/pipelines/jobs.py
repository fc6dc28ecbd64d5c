"""One recording from file to files: what ``mmpipe translate`` and ``mmpipe transcribe`` do with each input."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from mmpipe import subtitles
from mmpipe.audio import media, mux
from mmpipe.errors import InputError, MediaError, OutputError
from mmpipe.files import writing
from mmpipe.pipelines.journal import Journal
from mmpipe.pipelines.speech_translation import SpeechTranslator
from mmpipe.pipelines.track import SpeechTrack
from mmpipe.pipelines.transcription import Transcriber
from mmpipe.types import RecognitionOptions, Segment, Tier, TranslatedSegment


@dataclass(frozen=True, slots=True)
class Outputs:
    """What a job leaves behind."""

    subtitles: tuple[Path, ...] = ()  # the suffix of each is its format
    speech: Path | None = None
    video: Path | None = None  # the picture of the recording with speech and subtitles
    bilingual: bool = False
    dub: bool = False

    def check(self, source: Path) -> None:
        """Refuse what cannot be written before hours of work rather than after.

        Raises:
            InputError, OutputError: it says which, and why.
        """
        for path in self.subtitles:
            subtitles.check_format(path)
        if self.speech and self.speech.suffix.lower() not in media.ENCODERS:
            raise InputError(f"Cannot write {self.speech.name!r}: use one of {', '.join(media.ENCODERS)}.")
        if self.video:
            mux.check_container(self.video)
        for path in filter(None, [*self.subtitles, self.speech, self.video]):
            if path.resolve() == source.resolve():
                raise OutputError(f"Writing {str(path)!r} would overwrite the recording itself. Use another name.")
            with writing(path), path.open("ab"):
                pass


@dataclass(frozen=True, slots=True)
class Report:
    """What a job did."""

    source: Path
    language: str
    target: str
    sentences: int
    duration_s: float  # of the recording
    speech_s: float  # of the speech written, pauses included
    took_s: float
    resumed: int  # sentences that an earlier run had finished
    routes: tuple[str, ...]
    tier: Tier | None
    max_lag_s: float  # how late the latest dubbed sentence began


def translate_recording(
    translator: SpeechTranslator,
    source: Path,
    outputs: Outputs,
    *,
    resume: bool = False,
    on_item: Callable[[TranslatedSegment], None] = lambda item: None,
) -> Report:
    """Translate ``source`` and write ``outputs`` while it goes on. What is finished stays, whatever happens.

    Raises:
        MediaError: the recording cannot be read, or nobody speaks in it.
        LanguageError: there is no way from its language to the target.
        InputError, OutputError: the outputs cannot be written.
    """
    began_s = time.perf_counter()
    info = media.probe(source)
    outputs.check(source)
    speak = bool(outputs.speech or outputs.video)
    identity = translator.identity() | {"speak": speak, "dub": outputs.dub or bool(outputs.video)}
    journal = Journal(source, identity, resume=resume)
    items: list[TranslatedSegment] = []
    with ExitStack() as stack:
        stack.callback(journal.close)
        writers = [
            stack.enter_context(subtitles.SubtitleWriter(path, bilingual=outputs.bilingual))
            for path in outputs.subtitles
        ]
        track = None
        if speak:
            path = outputs.speech or Path(stack.enter_context(TemporaryDirectory())) / "speech.wav"
            track = stack.enter_context(SpeechTrack(path, dub=identity["dub"]))
        for item in translator.stream(source, speak=speak, dub=identity["dub"], journal=journal):
            for writer in writers:
                writer.write(item)
            if track:
                track.add(item)
            items.append(_without_sound(item))
            on_item(item)
        if not items:
            raise MediaError(f"No speech detected in {str(source)!r}. Is it the right recording?")
        if track:
            if identity["dub"] and info.duration_s:
                track.pad_to(info.duration_s)
            track.close()
            if outputs.video:
                _mux(source, path, items, outputs)
    journal.discard()
    return Report(
        source=source,
        language=items[0].translation.source,
        target=translator.to,
        sentences=len(items),
        duration_s=info.duration_s or items[-1].source.end_s,
        speech_s=track.duration_s if track else 0.0,
        took_s=time.perf_counter() - began_s,
        resumed=len(journal),
        routes=tuple(dict.fromkeys(step for item in items for step in item.translation.route)),
        tier=max((item.translation.tier for item in items), key=list(Tier).index),
        max_lag_s=track.max_lag_s if track else 0.0,
    )


def _without_sound(item: TranslatedSegment) -> TranslatedSegment:
    return TranslatedSegment(item.source, item.translation)


def _mux(source: Path, speech: Path, items: list[TranslatedSegment], outputs: Outputs) -> None:
    assert outputs.video
    tracks = [_track(items[0].translation.target, items)]
    if items[0].translation.source_text:  # what Whisper translates straight from the sound has none
        tracks.append(_track(items[0].translation.source, [item.source for item in items]))
    mux.mux(source, speech, items[0].translation.target, tracks, outputs.video)


def _track(language: str, items: Iterable[subtitles.Item]) -> mux.SubtitleTrack:
    cues = [cue for item in items for cue in subtitles.cues(item)]
    return mux.SubtitleTrack(language, [(cue.start_s, cue.end_s, cue.text) for cue in cues])


def transcribe_recording(
    transcriber: Transcriber,
    source: Path,
    outputs: Outputs,
    options: RecognitionOptions,
    *,
    on_item: Callable[[Segment], None] = lambda item: None,
) -> list[Segment]:
    """Recognize ``source`` and write ``outputs`` while it goes on.

    Raises: as :func:`translate_recording`.
    """
    outputs.check(source)
    found = []
    with ExitStack() as stack:
        writers = [stack.enter_context(subtitles.SubtitleWriter(path)) for path in outputs.subtitles]
        for segment in transcriber.stream(source, options):
            for writer in writers:
                writer.write(segment)
            found.append(segment)
            on_item(segment)
    if not found:
        raise MediaError(f"No speech detected in {str(source)!r}. Is it the right recording?")
    return found
