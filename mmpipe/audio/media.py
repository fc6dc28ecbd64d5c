"""Sound in and out of files: decode anything, resample, write.

PyAV carries its own ffmpeg, so no system program is needed. Decoding is a stream of blocks: a file of three hours
takes no more memory than one of three seconds.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any, TypeVar

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.filter import Graph

from mmpipe.audio.containers import FileSource, describe, is_url, open_container
from mmpipe.errors import InputError, MediaError, MmpipeError, OutputError
from mmpipe.files import reason, writing
from mmpipe.logs import file_name
from mmpipe.types import SPEECH_RATE_HZ, Audio

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: Seconds of sound in one block of :func:`stream`: small beside a model's window, large beside Python's overhead.
BLOCK_S = 4.0

#: Packets that are missing leave a hole in the sound. Shorter ones are the inexactness of the container's clock.
SHORTEST_GAP_S = 0.2
#: A clock that leaps further than this, ahead or back, was set anew: no hole, as where two recordings were joined.
LONGEST_GAP_S = 3600.0
#: All holes together are filled with at most so much silence, and so many times what there is of sound: a file of a
#: few kilobytes is no reason for days of it.
MAX_SILENCE_S = 3600.0
MAX_SILENCE_RATIO = 10.0
#: What :func:`load` takes at most: 230 MB.
MAX_LOADED_S = 3600.0
#: No sound is recorded outside of these; a resampler for what is would take gigabytes.
MIN_RATE_HZ, MAX_RATE_HZ, MAX_CHANNELS = 1_000, 768_000, 64

#: File name suffix -> encoder. The container follows from the suffix.
ENCODERS = {
    ".wav": "pcm_s16le",
    ".flac": "flac",
    ".mp3": "libmp3lame",
    ".ogg": "libopus",
    ".opus": "libopus",
    ".m4a": "aac",
}


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What a file says of itself. ``duration_s`` is None where the container does not know."""

    duration_s: float | None
    rate_hz: int
    channels: int
    codec: str
    has_video: bool


class IsolatedMedia(ABC):
    """A recording that is decoded somewhere else, as :class:`mmpipe.untrusted.UntrustedMedia` is in a process of its
    own. May be read several times. ``name``: for messages."""

    name: str

    @abstractmethod
    def probe(self) -> MediaInfo:
        """As :func:`probe`."""

    @abstractmethod
    def blocks(self, rate_hz: int, start_s: float, block_s: float) -> Iterator[Audio]:
        """As :func:`stream`."""


#: A path, an http or https URL, an open binary file, or a recording that is decoded somewhere else.
Source = FileSource | IsolatedMedia


@contextmanager
def _opened(source: FileSource) -> Iterator[tuple[Any, AudioStream]]:
    """Open ``source`` for reading: the container and its first audio stream.

    Every way in which that fails becomes a :class:`MediaError`, also while the caller reads.
    """
    name = describe(source)
    with _damage_told(name), open_container(source) as container:
        stream = next(iter(container.streams.audio), None)
        if stream is None:
            what = "a picture or a silent video" if container.streams.video else "no sound"
            raise MediaError(f"{name!r} holds {what}: there is nothing to listen to.")
        if stream.codec_context is None:
            raise MediaError(f"{name!r} holds sound in a coding that is not known here. Convert it to WAV or MP3.")
        _check_shape(stream.rate, stream.channels, name)
        stream.codec_context.thread_type = "AUTO"
        yield container, stream


@contextmanager
def _damage_told(name: str) -> Iterator[None]:
    """Make a :class:`MediaError` of whatever damaged media drive libav, and PyAV over it, to."""
    try:
        yield
    except MmpipeError:
        raise
    except MemoryError as error:
        raise MediaError(f"{name!r} wants more memory than there is to decode it. Is it damaged?") from error
    except Exception as error:
        raise MediaError(f"{name!r} is damaged ({reason(error)}). Copy or download it again.") from error


def _check_shape(rate_hz: int, channels: int, name: str) -> None:
    if not (MIN_RATE_HZ <= rate_hz <= MAX_RATE_HZ and 1 <= channels <= MAX_CHANNELS):
        raise MediaError(
            f"{name!r} claims {rate_hz} samples a second in {channels} channels; {MIN_RATE_HZ} to {MAX_RATE_HZ} in up "
            f"to {MAX_CHANNELS} are read. Is it damaged?"
        )


def probe(source: Source) -> MediaInfo:
    """Read the headers of ``source``.

    Raises:
        MediaError: it cannot be read, or has no sound.
    """
    if isinstance(source, IsolatedMedia):
        return source.probe()
    if is_url(source):
        return next(_interruptible(_probed(source) for _ in range(1)))
    return _probed(source)


def _probed(source: FileSource) -> MediaInfo:
    with _opened(source) as (container, stream):
        duration_s = None
        if container.duration is not None:
            duration_s = container.duration / av.time_base
        elif stream.duration is not None and stream.time_base is not None:
            duration_s = float(stream.duration * stream.time_base)
        return MediaInfo(
            duration_s=duration_s,
            rate_hz=stream.rate,
            channels=stream.channels,
            codec=stream.codec_context.name,
            has_video=any(not is_cover(video) for video in container.streams.video),
        )


def is_cover(stream: Any) -> bool:
    """Whether a video stream is but the picture of an album."""
    return av.stream.Disposition.attached_pic in stream.disposition


class _ToMono:
    """Resample and downmix frames, whatever they are, to mono float32.

    PyAV's AudioResampler cannot be told to keep the downmix of float samples within -1..1, hence the filter.
    """

    def __init__(self, rate_hz: int, name: str = "the given sound") -> None:
        self._rate_hz, self._name = rate_hz, name
        self._graph: Graph | None = None
        self._shape: tuple[Any, ...] = ()

    def feed(self, frame: AudioFrame | None) -> Iterator[NDArray[np.float32]]:
        """Samples of ``frame`` as far as the filter gives them; None flushes."""
        if frame is not None:
            shape = (frame.format.name, frame.layout.name, frame.sample_rate)
            if self._graph is None or shape != self._shape:  # the stream may change its format on the way
                yield from self._drain()
                self._build(frame, shape)
        if self._graph is None:
            return
        if frame is None:
            yield from self._drain()
            return
        frame.pts = None  # the filter would insert or drop samples to follow any jitter; _samples fills what is missing
        self._graph.push(frame)
        yield from self._pull()

    def _build(self, frame: AudioFrame, shape: tuple[Any, ...]) -> None:
        _check_shape(frame.sample_rate, frame.layout.nb_channels, self._name)
        graph = Graph()
        source = graph.add_abuffer(
            sample_rate=frame.sample_rate, format=frame.format.name, layout=frame.layout.name, time_base=frame.time_base
        )
        convert = graph.add(
            "aresample", f"out_sample_rate={self._rate_hz}:out_chlayout=mono:out_sample_fmt=flt:rematrix_maxval=1.0"
        )
        sink = graph.add("abuffersink")
        source.link_to(convert)
        convert.link_to(sink)
        graph.configure()
        self._graph, self._shape = graph, shape

    def _drain(self) -> Iterator[NDArray[np.float32]]:
        if self._graph is not None:
            self._graph.push(None)
            yield from self._pull()
            self._graph = None

    def _pull(self) -> Iterator[NDArray[np.float32]]:
        assert self._graph is not None
        while True:
            try:
                out = self._graph.pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            if isinstance(out, AudioFrame):
                yield out.to_ndarray()[0].astype(np.float32, copy=False)


def stream(
    source: Source, rate_hz: int = SPEECH_RATE_HZ, *, start_s: float = 0.0, block_s: float = BLOCK_S
) -> Iterator[Audio]:
    """Decode ``source`` to mono blocks of ``block_s`` (the last one shorter).

    Time 0 is the start of the container, and times fit the picture: there is silence before sound that begins later,
    as in some videos, and in the place of sound that is missing on the way (see :data:`SHORTEST_GAP_S`). ``start_s``
    skips what comes before. A file that breaks off or is damaged on the way gives what could be decoded, and a warning
    in the log.

    Raises:
        MediaError: it cannot be read, has no sound, or not one sample of it could be decoded.
    """
    if isinstance(source, IsolatedMedia):
        yield from source.blocks(rate_hz, start_s, block_s)
        return
    decoded = _samples(source, rate_hz)
    if is_url(source):
        decoded = _interruptible(decoded)
    skip = round(start_s * rate_hz)
    block = round(block_s * rate_hz)
    pending: list[NDArray[np.float32]] = []
    held = total = 0
    for samples in decoded:
        total += len(samples)
        if skip:
            cut = min(skip, len(samples))
            samples, skip = samples[cut:], skip - cut
        pending.append(samples)
        held += len(samples)
        if held >= block:
            joined = np.concatenate(pending)
            whole = held - held % block
            for at in range(0, whole, block):
                yield Audio(joined[at : at + block], rate_hz)
            pending, held = [joined[whole:]], held - whole
    if not total:
        raise MediaError(f"{describe(source)!r} looks like a media file, but no sound could be decoded from it.")
    if held:
        yield Audio(np.concatenate(pending), rate_hz)


def _interruptible(items: Iterator[T]) -> Iterator[T]:
    """``items``, each waited for in a thread that nobody waits for: libav does not look at signals while it reads."""
    wanted: SimpleQueue[bool] = SimpleQueue()
    found: SimpleQueue[tuple[T | None, Exception | None]] = SimpleQueue()

    def work() -> None:
        while wanted.get():
            try:
                found.put((next(items, None), None))
            except Exception as error:
                found.put((None, error))

    Thread(target=work, name="mmpipe-media", daemon=True).start()
    try:
        while True:
            wanted.put(True)
            item, error = found.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        wanted.put(False)


def _samples(source: FileSource, rate_hz: int) -> Iterator[NDArray[np.float32]]:
    """Mono samples from the start of the container on, without holes."""
    name = describe(source)
    to_mono = _ToMono(rate_hz, name)
    given = silent = 0  # samples, and what of them was filled in
    with _opened(source) as (container, audio):
        began_s = None if container.start_time is None else container.start_time / av.time_base
        if audio.start_time is not None and audio.time_base is not None and began_s is not None:
            offset_s = float(audio.start_time * audio.time_base) - began_s
            if 0 < offset_s < LONGEST_GAP_S:
                given = silent = round(offset_s * rate_hz)
                yield from _silence(given, rate_hz)
        try:
            for frame in _frames(container, audio, name):
                if frame.time is not None:
                    most_s = min(
                        LONGEST_GAP_S, MAX_SILENCE_S + (MAX_SILENCE_RATIO * (given - silent) - silent) / rate_hz
                    )
                    if began_s is None or not -LONGEST_GAP_S <= frame.time - began_s - given / rate_hz <= most_s:
                        began_s = frame.time - given / rate_hz
                    if frame.time - began_s - given / rate_hz > SHORTEST_GAP_S:
                        for samples in to_mono.feed(None):  # what the filter still holds belongs before the hole
                            given += len(samples)
                            yield samples
                        missing = round((frame.time - began_s) * rate_hz) - given
                        given += missing
                        silent += missing
                        yield from _silence(missing, rate_hz)
                for samples in to_mono.feed(frame):
                    given += len(samples)
                    yield samples
        except Exception as error:  # the connection or the disk fails, or there is damage that nobody foresaw
            if isinstance(error, MmpipeError) or not given:
                raise
            logger.warning("%s: reading stopped early: %s", file_name(name), reason(error))
        with suppress(Exception):  # after damage the filter may be of no use
            yield from to_mono.feed(None)


def _silence(samples: int, rate_hz: int) -> Iterator[NDArray[np.float32]]:
    """At most a second at a time, since it may be an hour."""
    for at in range(0, samples, rate_hz):
        yield np.zeros(min(rate_hz, samples - at), np.float32)


def _frames(container: Any, audio: AudioStream, name: str) -> Iterator[AudioFrame]:
    """What can be decoded; ``name`` is for the log."""
    damaged = 0
    packets = container.demux(audio)
    while True:
        try:
            frames = next(packets).decode()
        except (StopIteration, av.error.EOFError):
            break
        except av.error.InvalidDataError:
            damaged += 1
            continue
        yield from frames
    if damaged:
        logger.warning("%s: skipped %d damaged packets", file_name(name), damaged)


def load(source: Source, rate_hz: int = SPEECH_RATE_HZ, *, max_duration_s: float = MAX_LOADED_S) -> Audio:
    """Decode all of ``source``. For long recordings use :func:`stream`.

    Raises:
        MediaError: as :func:`stream`, or it lasts longer than ``max_duration_s``, whatever its header says.
    """
    blocks, length_s = [], 0.0
    for block in stream(source, rate_hz):
        blocks.append(block)
        length_s += block.duration_s
        if length_s > max_duration_s:
            raise MediaError(f"{describe(source)!r} lasts longer than the {max_duration_s:g} s that are taken. Cut it.")
    return concatenate(blocks, rate_hz)


def concatenate(pieces: Iterable[Audio], rate_hz: int) -> Audio:
    """Join pieces of one rate; no pieces give empty audio."""
    return Audio(np.concatenate([np.zeros(0, np.float32), *(piece.samples for piece in pieces)]), rate_hz)


def resample(audio: Audio, rate_hz: int) -> Audio:
    """``audio`` at another rate (libswresample)."""
    if audio.rate_hz == rate_hz or not len(audio.samples):
        return Audio(audio.samples, rate_hz)
    to_mono = _ToMono(rate_hz)
    pieces = [*to_mono.feed(as_frame(audio)), *to_mono.feed(None)]
    return Audio(np.concatenate(pieces), rate_hz)


def as_frame(audio: Audio) -> AudioFrame:
    """``audio`` as one frame of PyAV, clipped to -1..1."""
    frame = AudioFrame.from_ndarray(np.clip(audio.samples, -1, 1)[None], format="flt", layout="mono")
    frame.sample_rate = audio.rate_hz
    frame.time_base = Fraction(1, audio.rate_hz)
    return frame


class AudioWriter:
    """Write mono sound piece by piece; the format follows from the suffix of ``path`` (see :data:`ENCODERS`).

    The file grows as pieces come and is complete when the writer is closed; a context manager.

    Raises:
        InputError: the suffix is not one that can be written.
        OutputError: the file cannot be written, or the disk is full.
    """

    def __init__(self, path: Path, rate_hz: int) -> None:
        if path.suffix.lower() not in ENCODERS:
            raise InputError(f"Cannot write {path.name!r}: use one of the suffixes {', '.join(ENCODERS)}.")
        self.path = path
        self.rate_hz = rate_hz
        self.samples_written = 0
        self._closed = self._broken = False
        with writing(path):
            path.open("wb").close()  # ffmpeg would open it, and fail, only when the first sound comes
            self._container = av.open(str(path.absolute()), "w")  # as in _opened
            encoder = ENCODERS[path.suffix.lower()]
            # libopus knows five rates only; its encoder resamples when the frame says another
            rate = 48_000 if encoder == "libopus" else rate_hz
            self._stream: Any = self._container.add_stream(encoder, rate=rate, layout="mono")

    def write(self, audio: Audio) -> None:
        if audio.rate_hz != self.rate_hz:
            audio = resample(audio, self.rate_hz)
        if not len(audio.samples):
            return
        frame = as_frame(audio)
        frame.pts = self.samples_written
        self.samples_written += len(audio.samples)
        self._encode(frame)

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if not self._broken:
                self._encode(None)
        finally:
            with writing(self.path):
                self._container.close()

    def _encode(self, frame: AudioFrame | None) -> None:
        if self._broken:
            raise OutputError(f"{str(self.path)!r} broke off when writing it failed. Write it anew.")
        try:
            with writing(self.path):
                self._container.mux(self._stream.encode(frame))
        except Exception:
            self._broken = True  # once a header has failed, the next packet would crash the process
            raise

    def __enter__(self) -> AudioWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def save(audio: Audio, path: str | Path) -> None:
    """Write ``audio`` to ``path`` (16-bit WAV, FLAC, MP3, Opus in .ogg or .opus, or M4A by its suffix).

    Raises:
        InputError, OutputError: as :class:`AudioWriter`.
    """
    with AudioWriter(Path(path), audio.rate_hz) as writer:
        writer.write(audio)
