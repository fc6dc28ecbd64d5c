"""A second of speech, and a few frames of a picture, in every container and codec that the bundled ffmpeg writes."""

from __future__ import annotations

import io
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from mmpipe.audio import media

RECORDING = Path(__file__).parents[2] / "data" / "sense_and_sensibility.flac"
FRAMES, SIZE = 5, (64, 48)
SECRET = "secret.flac"

#: (name of the file, format of ffmpeg, sound, its rate, its layout, picture or None, options of the muxer)
_VARIANTS: tuple[tuple[str, str, str, int, str, str | None, dict[str, str]], ...] = (
    ("pcm16.wav", "wav", "pcm_s16le", 16_000, "mono", None, {}),
    ("float.wav", "wav", "pcm_f32le", 22_050, "stereo", None, {}),
    ("adpcm.wav", "wav", "adpcm_ima_wav", 16_000, "mono", None, {}),
    ("mulaw.wav", "wav", "pcm_mulaw", 8_000, "mono", None, {}),
    ("pcm24.w64", "w64", "pcm_s24le", 16_000, "mono", None, {}),
    ("flac.flac", "flac", "flac", 16_000, "mono", None, {}),
    ("mp3.mp3", "mp3", "libmp3lame", 44_100, "stereo", None, {}),
    ("mp2.mp2", "mp2", "mp2", 16_000, "mono", None, {}),
    ("opus.ogg", "ogg", "libopus", 48_000, "mono", None, {}),
    ("flac.oga", "oga", "flac", 16_000, "mono", None, {}),
    ("aac.m4a", "ipod", "aac", 44_100, "stereo", None, {}),
    ("alac.m4a", "ipod", "alac", 16_000, "mono", None, {}),
    ("h264.mp4", "mp4", "aac", 16_000, "mono", "libx264", {}),
    (
        "fragments.mp4",
        "mp4",
        "aac",
        16_000,
        "mono",
        "mpeg4",
        {"movflags": "frag_keyframe+empty_moov+default_base_moof"},
    ),
    ("flac.mp4", "mp4", "flac", 16_000, "mono", None, {}),
    ("pcm.mov", "mov", "pcm_s16be", 16_000, "mono", "mpeg4", {}),
    ("amr.3gp", "3gp", "libopencore_amrnb", 8_000, "mono", "mpeg4", {}),
    ("h264.mkv", "matroska", "aac", 16_000, "mono", "libx264", {}),
    ("pcm.mkv", "matroska", "pcm_s16le", 16_000, "mono", None, {"cluster_time_limit": "100"}),
    ("flac.mkv", "matroska", "flac", 16_000, "mono", None, {}),
    ("vp8.webm", "webm", "libopus", 48_000, "mono", "libvpx", {}),
    ("opus.webm", "webm", "libopus", 48_000, "mono", None, {"cluster_time_limit": "100"}),
    ("mp3.avi", "avi", "libmp3lame", 16_000, "mono", "mpeg4", {}),
    ("pcm.avi", "avi", "pcm_s16le", 16_000, "mono", "mjpeg", {}),
    ("mp2.ts", "mpegts", "mp2", 16_000, "mono", "mpeg2video", {}),
    ("aac.ts", "mpegts", "aac", 16_000, "mono", None, {}),
    ("mp2.vob", "vob", "mp2", 16_000, "mono", "mpeg2video", {}),
    ("adts.aac", "adts", "aac", 16_000, "mono", None, {}),
    ("latm.loas", "latm", "aac", 16_000, "mono", None, {}),
    ("amr.amr", "amr", "libopencore_amrnb", 8_000, "mono", None, {}),
    ("pcm.aiff", "aiff", "pcm_s16be", 16_000, "mono", None, {}),
    ("mulaw.au", "au", "pcm_mulaw", 8_000, "mono", None, {}),
    ("pcm.caf", "caf", "pcm_s16le", 16_000, "mono", None, {}),
    ("pcm8.voc", "voc", "pcm_u8", 16_000, "mono", None, {}),
    ("wavpack.wv", "wv", "wavpack", 16_000, "mono", None, {}),
    ("tta.tta", "tta", "tta", 16_000, "mono", None, {}),
    ("wma.asf", "asf", "wmav2", 44_100, "stereo", None, {}),
    ("aac.flv", "flv", "aac", 16_000, "mono", "flv", {}),
    ("ac3.ac3", "ac3", "ac3", 48_000, "mono", None, {}),
    ("mp2.nut", "nut", "mp2", 16_000, "mono", None, {}),
)

#: What only points elsewhere: all of it has to be refused as it is.
POINTERS = {
    "list.m3u8": b"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n%(path)s\n#EXT-X-ENDLIST\n",
    "list.ffconcat": b"ffconcat version 1.0\nfile 'secret.flac'\n",
    "session.sdp": b"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
}


def build(folder: Path) -> dict[str, bytes]:
    """The content of each file, by its name. ``folder`` gets :data:`SECRET`, to which the :data:`POINTERS` point."""
    samples = media.load(RECORDING).samples[:16_000]
    seeds = {name: _written(samples, *rest) for name, *rest in _VARIANTS}
    secret = folder.absolute() / SECRET
    secret.write_bytes(seeds["flac.flac"])
    for name, text in POINTERS.items():
        seeds[name] = text.replace(b"%(path)s", str(secret).encode())
    return seeds


def _written(
    samples: NDArray[np.float32],
    container: str,
    codec: str,
    rate_hz: int,
    layout: str,
    picture: str | None,
    options: dict[str, str],
) -> bytes:
    out = io.BytesIO()
    with av.open(out, "w", format=container, container_options=options) as target:
        target.flags |= 0x0400  # AVFMT_FLAG_BITEXACT: no random numbers, no dates
        sound: Any = target.add_stream(codec, rate=rate_hz, layout=layout)
        if codec == "wmav2":
            sound.bit_rate = 128_000  # it takes the default for too little
        packets = [*_pictures(target, picture)] if picture else []
        channels = 1 if layout == "mono" else 2
        at = np.arange(rate_hz) * (len(samples) / rate_hz)
        wanted = np.interp(at, np.arange(len(samples)), samples).astype(np.float32)
        frame = AudioFrame.from_ndarray(np.repeat(wanted[None], channels, axis=0), "fltp", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate_hz, 0, Fraction(1, rate_hz)
        packets += [*sound.encode(frame), *sound.encode(None)]
        for packet in sorted(packets, key=lambda packet: float((packet.dts or 0) * packet.time_base)):
            target.mux(packet)
    return out.getvalue()


def _pictures(target: Any, codec: str) -> list[Any]:
    stream = target.add_stream(codec, rate=5)
    stream.width, stream.height = SIZE
    stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    packets = []
    for number in range(FRAMES):
        grey = np.full((SIZE[1], SIZE[0], 3), 40 * number, np.uint8)
        packets += stream.encode(VideoFrame.from_ndarray(grey, "rgb24"))
    return [*packets, *stream.encode(None)]
