"""Put spoken translation and subtitles into a video, beside its picture and its own sound."""

from __future__ import annotations

import errno
import heapq
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
from av.subtitles.subtitle import SubtitleSet

from mmpipe.audio.containers import open_container
from mmpipe.audio.media import LONGEST_GAP_S, is_cover
from mmpipe.errors import InputError, MediaError, MmpipeError
from mmpipe.files import reason, writing

#: suffix -> (codec of the subtitles, codec of the new sound)
CONTAINERS = {
    ".mp4": ("mov_text", "aac"),
    ".m4v": ("mov_text", "aac"),
    ".mov": ("mov_text", "aac"),
    ".mkv": ("subrip", "aac"),
}
#: suffix -> libav's name of the container, where it cannot see the suffix
MUXERS = {".mp4": "mp4", ".m4v": "ipod", ".mov": "mov", ".mkv": "matroska"}
#: What cannot be written wherever it came from; libav's other errors say that a stream does not suit the container.
_OF_THE_DISK = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.EACCES,
    errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG,
}  # fmt: skip
_MS = Fraction(1, 1000)
# the default style of ffmpeg itself: another one would come out as font tags
_ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+
PlayResX: 384
PlayResY: 288

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
#: ISO 639-1 -> the three letters that containers want, for the languages that are spoken here
_ISO_639_2 = {
    "ar": "ara", "ca": "cat", "cs": "ces", "da": "dan", "de": "deu", "el": "ell", "en": "eng", "es": "spa", "fi": "fin",
    "fr": "fra", "gl": "glg", "hi": "hin", "hu": "hun", "it": "ita", "ja": "jpn", "ko": "kor", "nl": "nld", "no": "nor",
    "pl": "pol", "pt": "por", "ro": "ron", "ru": "rus", "sv": "swe", "tr": "tur", "uk": "ukr", "zh": "zho",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class SubtitleTrack:
    """Subtitles of one language: (start_s, end_s, text), in order."""

    language: str  # ISO 639-1
    cues: Sequence[tuple[float, float, str]]


def check_container(path: Path) -> None:
    """Refuse an unknown container before hours of work rather than after.

    Raises:
        InputError: sound, picture and subtitles cannot be put together under this name.
    """
    if path.suffix.lower() not in CONTAINERS:
        raise InputError(f"Cannot mux into {path.name!r}: the name must end in one of {', '.join(CONTAINERS)}.")


def mux(source: Path, speech: Path, language: str, subtitles: Sequence[SubtitleTrack], out: Path) -> None:
    """Write ``out``: the picture of ``source`` (copied), ``speech`` as the default sound, the sound of ``source``
    (copied) as the second one, and ``subtitles``. A source without a picture gives a file with sound and subtitles.
    Time 0 of speech and subtitles is where the container of ``source`` starts, as in ``media.stream``.

    Raises:
        InputError: the suffix of ``out`` is no container that holds all this.
        MediaError: the container cannot hold the source's picture or sound as it is.
        OutputError: ``out`` cannot be written.
    """
    check_container(out)
    with (
        writing(out),
        told(source.name, out),
        open_container(speech) as spoken,
        av.open(str(out.absolute()), "w") as target,  # in full: libav takes what precedes a colon for a protocol
    ):
        fill(lambda: open_container(source), spoken, target, language, subtitles, CONTAINERS[out.suffix.lower()])


@contextmanager
def told(source: str, out: Path) -> Iterator[None]:
    """Say of libav's errors what they mean: it does not tell what it cannot read from what it cannot write."""
    try:
        yield
    except MmpipeError:
        raise
    except Exception as error:
        if getattr(error, "errno", None) in _OF_THE_DISK:
            raise
        raise MediaError(
            f"{out.name!r} cannot hold the picture or sound of {source!r} as they are ({reason(error)}). "
            + ("Convert it to MP4 first." if out.suffix.lower() == ".mkv" else "Use a name that ends in .mkv.")
        ) from error


def fill(
    source: Callable[[], Any],
    spoken: Any,
    target: Any,
    language: str,
    subtitles: Sequence[SubtitleTrack],
    codecs: tuple[str, str],
) -> None:
    """As :func:`mux`, of open containers. ``source`` opens its own anew: each stream is read at its own pace, and
    demuxing two of one container so would lose packets. ``codecs``: of the subtitles and of the new sound."""
    text_codec, sound_codec = codecs
    with source() as original:
        # opaque: PyAV else looks for an encoder of the decoder's name, and there is none of AV1's
        pictures = [
            (stream, target.add_stream_from_template(stream, opaque=True))
            for stream in original.streams.video
            if not is_cover(stream)
        ][:1]
        sound: Any = target.add_stream(sound_codec, rate=spoken.streams.audio[0].rate, layout="mono")
        sounds = [(s, target.add_stream_from_template(s)) for s in original.streams.audio[:1]]
        _label(sound, language, default=True)
        for _, stream in sounds:
            stream.disposition = av.stream.Disposition(0)
        texts = [_text_stream(target, text_codec, track) for track in subtitles]
        target.start_encoding()
        lanes = [
            *(_copied(source, given, stream) for given, stream in [*pictures, *sounds]),
            _encoded(spoken, sound),
            *(_written(stream, track) for stream, track in zip(texts, subtitles, strict=True)),
        ]
        # a muxer wants packets in the order of time; each lane is in order itself
        for _, packet in heapq.merge(*lanes, key=lambda entry: entry[0]):
            target.mux(packet)


def _label(stream: Any, language: str, *, default: bool) -> None:
    stream.metadata["language"] = _ISO_639_2.get(language, "und")
    stream.disposition = av.stream.Disposition.default if default else av.stream.Disposition(0)


def _copied(source: Callable[[], Any], given: Any, stream: Any) -> Iterator[tuple[float, Any]]:
    """The packets of one stream, by the clock of speech and subtitles: it shows 0 where the container starts."""
    with source() as own:
        began = round(Fraction(own.start_time or 0, av.time_base) / given.time_base)
        last, length = None, 1
        for packet in _dated(own.demux(own.streams[given.index])):
            dts = packet.dts - began
            if last is not None:
                if abs(dts - last) * given.time_base > LONGEST_GAP_S:  # set anew, as in what was heard
                    began += dts - last - length
                    dts = last + length
                dts = max(dts, last + 1)  # a muxer refuses what does not increase
            last, length = dts, packet.duration or 1
            packet.dts = dts
            if packet.pts is not None:
                packet.pts = max(packet.pts - began, dts)
            packet.stream = stream
            yield float(dts * packet.time_base), packet


def _dated(packets: Iterable[Any]) -> Iterator[Any]:
    """``packets``, each with its time of decoding (dts).

    Matroska knows only times of showing (pts). libav derives the others from the order of the pictures, but not for the
    first ones, and for none where there are but a few. These get the latest time that is not too late for any.
    """
    waiting: list[Any] = []
    for packet in packets:
        if packet.size and (packet.dts is not None or packet.pts is not None):  # the last one is empty
            waiting.append(packet)
        if packet.dts is not None:
            yield from _counted_back(waiting)
            waiting = []
    yield from _counted_back(waiting)


def _counted_back(packets: list[Any]) -> list[Any]:
    following: Any = math.inf
    for packet in reversed(packets):
        if packet.dts is None:
            packet.dts = min(packet.pts, following - (packet.duration or 1))
        following = packet.dts
    return packets


def _encoded(container: Any, stream: Any) -> Iterator[tuple[float, Any]]:
    for frame in chain(_frames(container), [None]):
        for packet in stream.encode(frame):
            yield float((packet.dts or 0) * packet.time_base), packet


def _frames(container: Any) -> Iterator[Any]:
    at = 0
    for frame in container.decode(audio=0):
        # without a time, the packets of the encoder would not say that its lead-in is to be cut off
        frame.pts, frame.time_base = at, Fraction(1, frame.sample_rate)
        at += frame.samples
        yield frame


def _text_stream(target: Any, codec: str, track: SubtitleTrack) -> Any:
    stream = target.add_stream(codec)
    stream.codec_context.subtitle_header = _ASS_HEADER
    stream.codec_context.time_base = _MS
    stream.time_base = _MS
    _label(stream, track.language, default=False)
    return stream


def _written(stream: Any, track: SubtitleTrack) -> Iterator[tuple[float, Any]]:
    for start_s, end_s, text in track.cues:
        line = "0,0,Default,,0,0,0,," + text.replace("\n", "\\N").replace("{", "(").replace("}", ")")
        start_ms, length_ms = round(start_s * 1000), max(1, round((end_s - start_s) * 1000))
        packet = stream.codec_context.encode_subtitle(
            SubtitleSet.create(line.encode(), start=0, end=length_ms, pts=start_ms)
        )
        packet.pts = packet.dts = start_ms
        packet.duration = length_ms
        packet.time_base = _MS
        packet.stream = stream
        yield start_s, packet
