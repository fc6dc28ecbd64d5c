"""One recording on its way: decoded, recognized, translated, spoken, written to files for its visitor."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from threading import Event, Lock

import numpy as np

from mmpipe import subtitles
from mmpipe.audio import media, mux
from mmpipe.demo.errors import told
from mmpipe.demo.models import DemoModels
from mmpipe.demo.pairs import name
from mmpipe.errors import InputError, MediaError, MmpipeError
from mmpipe.files import writing
from mmpipe.pipelines.speech_translation import SpeechTranslator
from mmpipe.pipelines.track import SpeechTrack
from mmpipe.types import SPEECH_RATE_HZ, Audio, TranslatedSegment
from mmpipe.untrusted import UntrustedMedia

#: Longer ones would keep everybody else waiting; the command takes any length.
MAX_DURATION_S = 30 * 60.0
#: Of the waveform.
PEAKS_PER_S = 20
#: A recording that is nowhere louder than this (-60 dB) holds nothing.
_SILENT = 0.001


class JobState(StrEnum):
    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"  # by the visitor; what was finished is there
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Wanted:
    """``language``: of the recording, None: find it out; ``to``: into which. Both ISO 639-1."""

    to: str
    language: str | None = None
    speak: bool = True


@dataclass(frozen=True, slots=True)
class Download:
    """A finished file. ``kind``: what it is; ``label``: which of that kind."""

    kind: str
    label: str
    path: Path


@dataclass(frozen=True, slots=True)
class Snapshot:
    """How far a job is. ``done_s``: how far into the recording each of ``stages`` is, which takes ``duration_s``."""

    state: JobState
    error: str
    duration_s: float
    stages: tuple[str, ...]
    done_s: dict[str, float]
    peaks: bytes  # 0..255, PEAKS_PER_S each second
    has_video: bool
    segments: tuple[TranslatedSegment, ...]  # without their sound
    downloads: tuple[Download, ...]


@dataclass(slots=True)
class _Progress:
    state: JobState = JobState.RUNNING
    error: str = ""
    duration_s: float = 0.0
    done_s: dict[str, float] = field(default_factory=dict)
    peaks: bytearray = field(default_factory=bytearray)
    has_video: bool = False
    segments: list[TranslatedSegment] = field(default_factory=list)
    downloads: list[Download] = field(default_factory=list)


class RecordingJob:
    """Runs on one thread, and is looked at and cancelled from others.

    ``source``: the recording; ``folder``: where its files go; ``changed``: told, on any thread, that there is news.
    """

    def __init__(
        self, source: Path, folder: Path, wanted: Wanted, changed: Callable[[], object] = lambda: None
    ) -> None:
        self.source, self.folder, self.wanted = source, folder, wanted
        self._recording = UntrustedMedia(source, source.name)
        self.stages = ("decoded", "recognized", "translated", *(["spoken"] if wanted.speak else []))
        self._changed, self._cancelled, self._discarded = changed, Event(), Event()
        self._progress, self._lock = _Progress(done_s=dict.fromkeys(self.stages, 0.0)), Lock()

    @property
    def listenable(self) -> Path:
        """The sound of the recording as every browser plays it; grows while it is decoded."""
        return self.folder / "listen.mp3"

    def cancel(self) -> None:
        """Stop soon, and keep what is finished."""
        self._cancelled.set()

    def discard(self) -> None:
        """Stop soon, and keep nothing."""
        self._discarded.set()
        self.cancel()
        if self.snapshot().state is not JobState.RUNNING:
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def cancelled(self) -> bool:
        return self._cancelled.is_set()

    def snapshot(self) -> Snapshot:
        with self._lock:
            now = self._progress
            return Snapshot(
                now.state, now.error, now.duration_s, self.stages, dict(now.done_s), bytes(now.peaks), now.has_video,
                tuple(now.segments), tuple(now.downloads),
            )  # fmt: skip

    def run(self, models: DemoModels) -> None:
        """Do all of it. What goes wrong is told by :meth:`snapshot`, in words for the visitor."""
        try:
            self._decode()
            if not self.cancelled:
                with models.translator(self.wanted.to, source=self.wanted.language) as translator:
                    self._translate(translator)
            self._set(state=JobState.STOPPED if self.cancelled else JobState.DONE)
        except Exception as error:
            self._set(state=JobState.FAILED, error=told(error))
        if self._discarded.is_set():
            shutil.rmtree(self.folder, ignore_errors=True)

    # --- the stages ---

    def _decode(self) -> None:
        """Make what the browser plays and draws."""
        info = probe(self._recording)
        self._set(has_video=info.has_video, duration_s=info.duration_s or 0.0)
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        loudest, decoded_s = 0.0, 0.0
        with media.AudioWriter(self.listenable, SPEECH_RATE_HZ) as writer:
            for block in media.stream(self._recording):
                if self.cancelled:
                    return
                writer.write(block)
                loudest, decoded_s = max(loudest, float(np.abs(block.samples).max())), decoded_s + block.duration_s
                _refuse_too_long(decoded_s)
                with self._lock:
                    self._progress.peaks += _peaks(block)
                    # what says how long it is may be wrong, or not be there
                    self._progress.duration_s = max(self._progress.duration_s, decoded_s)
                self._reach("decoded", decoded_s)
        self._set(duration_s=decoded_s)
        if loudest < _SILENT:
            raise MediaError("The recording is silent. Was the microphone on? Try another one.")

    def _translate(self, translator: SpeechTranslator) -> None:
        track_path = self.folder / f"{self.source.stem}.{self.wanted.to}.mp3"
        failure: MmpipeError | None = None
        with SpeechTrack(track_path, dub=True) as track:
            try:
                for item in translator.stream(self._recording, speak=self.wanted.speak, dub=True, watch=self._reach):
                    track.add(item)
                    with self._lock:
                        self._progress.segments.append(TranslatedSegment(item.source, item.translation))
                    self._changed()
                    if self.cancelled:
                        break
            except MmpipeError as error:
                failure = error
            now = self.snapshot()
            partly = self.cancelled or failure is not None
            if not now.segments:
                if failure is not None:
                    raise failure
                if partly:
                    return
                raise MediaError("No speech detected in this recording. Is it the right one?")
            if self.wanted.speak:
                track.pad_to(now.segments[-1].source.end_s if partly else now.duration_s)
        if not partly:
            for stage in self.stages:
                self._reach(stage, now.duration_s)
        if self._discarded.is_set():
            return
        self._keep(list(self._texts(now.segments)))
        if self.wanted.speak:
            self._keep([Download("Sound", f"{name(self.wanted.to)}, spoken", track_path)])
            if now.has_video:
                video = self._mux(track_path, now.segments)
                self._keep([Download("Video", f"with {name(self.wanted.to)} voice", video)])
        if failure is not None:
            raise failure

    def _texts(self, items: tuple[TranslatedSegment, ...]) -> Iterator[Download]:
        source, to = items[0].translation.source, items[0].translation.target
        transcribed = bool(items[0].translation.source_text) and source != to  # Whisper's own translation has none
        for kind in ("srt", "vtt"):
            yield self._written(f"{to}.{kind}", kind, name(to), subtitles.render(items, kind))
            if transcribed:
                originals = subtitles.render([item.source for item in items], kind)
                yield self._written(f"{source}.{kind}", kind, name(source), originals)
                both = subtitles.render(items, kind, bilingual=True)
                yield self._written(f"{source}-{to}.{kind}", kind, "both", both)
        yield self._written("json", "json", "everything, with word times", subtitles.render(items, "json"))

    def _written(self, suffix: str, kind: str, label: str, text: str) -> Download:
        path = self.folder / f"{self.source.stem}.{suffix}"
        with writing(path):
            path.write_text(text, "utf-8")
        return Download({"json": "Data"}.get(kind, f"Subtitles, {kind.upper()}"), label, path)

    def _mux(self, speech: Path, items: tuple[TranslatedSegment, ...]) -> Path:
        """The video with voice and subtitles, in MP4 if that can hold its picture."""
        language = self.wanted.to
        tracks = [mux.SubtitleTrack(language, _cues(items))]
        for suffix in (".mp4", ".mkv"):
            out = self.folder / f"{self.source.stem}.{language}{suffix}"
            try:
                self._recording.dub(speech, language, tracks, out)
            except MediaError:
                out.unlink(missing_ok=True)
                if suffix == ".mkv":
                    raise
            else:
                break
        return out

    # --- news ---

    def _set(self, **values: object) -> None:
        with self._lock:
            for key, value in values.items():
                setattr(self._progress, key, value)
        self._changed()

    def _keep(self, downloads: list[Download]) -> None:
        with self._lock:
            self._progress.downloads += downloads
        self._changed()

    def _reach(self, stage: str, end_s: float) -> None:
        with self._lock:
            self._progress.done_s[stage] = max(self._progress.done_s[stage], end_s)
        self._changed()


def probe(recording: UntrustedMedia) -> media.MediaInfo:
    """What ``recording`` says of itself.

    Raises:
        MediaError: it is no recording.
        InputError: it is too long for this page.
    """
    info = media.probe(recording)
    _refuse_too_long(info.duration_s or 0.0)
    return info


def _refuse_too_long(duration_s: float) -> None:
    if duration_s > MAX_DURATION_S:
        raise InputError(
            f"The recording lasts longer than {MAX_DURATION_S / 60:.0f} minutes, the most that this page takes. Cut "
            "it, or translate it on the command line, which takes any length: mmpipe translate FILE --to pt"
        )


def _peaks(block: Audio) -> bytes:
    """The loudness of a block, PEAKS_PER_S times a second; a quiet voice is drawn well visible."""
    step = SPEECH_RATE_HZ // PEAKS_PER_S
    padded = np.pad(np.abs(block.samples), (0, -len(block.samples) % step))
    return bytes(np.round(np.minimum(padded.reshape(-1, step).max(axis=1), 1.0) ** 0.7 * 255).astype(np.uint8))


def _cues(items: tuple[TranslatedSegment, ...]) -> list[tuple[float, float, str]]:
    return [(cue.start_s, cue.end_s, cue.text) for item in items for cue in subtitles.cues(item)]
