"""Make the examples of the demo, mmpipe/demo/examples, from the recordings and pictures of the tests."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from PIL import Image, ImageDraw

from mmpipe.audio import media
from mmpipe.types import Audio
from mmpipe.vision.fonts import font_for

DATA = Path(__file__).parents[1] / "tests" / "data"
OUT = Path(__file__).parents[1] / "mmpipe" / "demo" / "examples"
SPEECH_BITS_PER_S = 24_000
PICTURES = ("koala", "macaw", "coffee")
PROMPTS = ("queue-youarenext", "conf-onlyperson", "conf-noempty")
VIDEO_FPS = 5
SIGN = ("MUSEUM", "Open every day except Monday", "Please do not touch the pictures")


def main() -> None:
    OUT.mkdir(exist_ok=True)
    speech = media.load(DATA / "sense_and_sensibility.flac", 48_000)
    _write_sound(OUT / "sense_and_sensibility.ogg", speech)
    pause = Audio(np.zeros(33_600, np.float32), 48_000)
    prompts = [media.load(DATA / "prompts" / "es" / f"{name}.wav", 48_000) for name in PROMPTS]
    spoken = media.concatenate([part for prompt in prompts for part in (prompt, pause)], 48_000)
    _write_sound(OUT / "announcements_es.ogg", spoken)
    _write_video(
        OUT / "audio_book.mp4", DATA / "pictures" / "coffee.jpg", media.resample(speech.slice(0, 17.0), 24_000)
    )
    for name in PICTURES:
        (OUT / f"{name}.jpg").write_bytes((DATA / "pictures" / f"{name}.jpg").read_bytes())
    _draw_sign(OUT / "sign.png")


def _write_sound(path: Path, audio: Audio) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libopus", rate=audio.rate_hz, layout="mono")
        stream.bit_rate = SPEECH_BITS_PER_S
        container.mux(stream.encode(media.as_frame(audio)))
        container.mux(stream.encode(None))


def _write_video(path: Path, picture: Path, audio: Audio) -> None:
    """``audio`` over a still that slowly comes nearer."""
    still = Image.open(picture).convert("RGB")
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=VIDEO_FPS, options={"crf": "32", "preset": "veryslow"})
        video.width, video.height, video.pix_fmt = 320, 240, "yuv420p"
        sound = container.add_stream("aac", rate=audio.rate_hz, layout="mono")
        sound.bit_rate = 48_000
        count = round(audio.duration_s * VIDEO_FPS)
        for number in range(count):
            inset = 0.12 * number / count
            width, height = still.size
            box = (inset * width / 2, inset * height / 2, width - inset * width / 2, height - inset * height / 2)
            frame = av.VideoFrame.from_image(still.resize((320, 240), Image.Resampling.BICUBIC, box))
            frame.pts, frame.time_base = number, Fraction(1, VIDEO_FPS)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        container.mux(sound.encode(media.as_frame(audio)))
        container.mux(sound.encode(None))


def _draw_sign(path: Path) -> None:
    sign = Image.new("RGB", (640, 300), "#1f5f4f")
    draw = ImageDraw.Draw(sign)
    draw.rounded_rectangle((14, 14, 625, 285), 18, outline="#f4efe2", width=5)
    for text, top, size in zip(SIGN, (48, 142, 206), (66, 38, 34), strict=True):
        draw.text((320, top), text, "#f4efe2", font_for(text).font_variant(size=size), anchor="mt")
    noise = np.random.default_rng(5).normal(0, 3, (300, 640, 1))
    Image.fromarray(np.clip(np.asarray(sign) + noise, 0, 255).astype(np.uint8)).quantize(64).save(path, optimize=True)


if __name__ == "__main__":
    main()
