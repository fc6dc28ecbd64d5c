"""Small pictures in every format and variant that Pillow writes, for mutation."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

PICTURES = Path(__file__).parents[2] / "data" / "pictures"

#: name -> (mode, format, options of Pillow's writer)
_VARIANTS: Mapping[str, tuple[str, str, dict[str, Any]]] = {
    "baseline.jpg": ("RGB", "JPEG", {"quality": 80}),
    "progressive.jpg": ("RGB", "JPEG", {"progressive": True}),
    "grey.jpg": ("L", "JPEG", {"optimize": True}),
    "cmyk.jpg": ("CMYK", "JPEG", {}),
    "plain444.jpg": ("RGB", "JPEG", {"subsampling": 0, "restart_marker_blocks": 2}),
    "rgb.png": ("RGB", "PNG", {}),
    "alpha.png": ("RGBA", "PNG", {}),
    "palette.png": ("P", "PNG", {"transparency": 3}),
    "grey16.png": ("I;16", "PNG", {}),
    "bits.png": ("1", "PNG", {}),
    "palette.gif": ("P", "GIF", {}),
    "lossy.webp": ("RGB", "WEBP", {"quality": 60}),
    "lossless.webp": ("RGBA", "WEBP", {"lossless": True}),
    "rgb.bmp": ("RGB", "BMP", {}),
    "palette.bmp": ("P", "BMP", {}),
    "raw.tif": ("RGB", "TIFF", {}),
    "lzw.tif": ("RGB", "TIFF", {"compression": "tiff_lzw"}),
    "deflate.tif": ("RGBA", "TIFF", {"compression": "tiff_adobe_deflate"}),
    "packbits.tif": ("L", "TIFF", {"compression": "packbits"}),
    "jpeg.tif": ("RGB", "TIFF", {"compression": "jpeg"}),
    "fax.tif": ("1", "TIFF", {"compression": "group4"}),
    "float.tif": ("F", "TIFF", {}),
    "grey16.tif": ("I;16", "TIFF", {}),
    "rgb.ppm": ("RGB", "PPM", {}),
    "grey.pgm": ("L", "PPM", {}),
    "bits.pbm": ("1", "PPM", {}),
    "rgb.jp2": ("RGB", "JPEG2000", {}),
    "lossy.j2k": ("RGB", "JPEG2000", {"irreversible": True, "quality_layers": [20], "no_jp2": True}),
    "tiles.jp2": ("L", "JPEG2000", {"tile_size": (32, 32)}),
    "rgb.avif": ("RGB", "AVIF", {"quality": 50, "speed": 10, "max_threads": 1}),
}


def build() -> dict[str, bytes]:
    """The content of each file, by its name. The same every time."""
    with Pillow.open(PICTURES / "koala.jpg") as whole:
        small = whole.convert("RGB").resize((64, 48), Pillow.Resampling.BICUBIC)
    seeds = {}
    for name, (mode, kind, options) in _VARIANTS.items():
        seeds[name] = _written(_in_mode(small, mode), kind, options)
    exif = Pillow.Exif()
    exif[0x0112], exif[0x010E] = 6, "upright, once it is turned"
    seeds["exif.jpg"] = _written(small, "JPEG", {"exif": exif})
    seeds["exif.png"] = _written(small, "PNG", {"exif": exif})
    frames = [small.rotate(angle).convert("P") for angle in (0, 30, 60)]
    seeds["animated.gif"] = _written(frames[0], "GIF", {"save_all": True, "append_images": frames[1:], "loop": 0})
    seeds["animated.webp"] = _written(small, "WEBP", {"save_all": True, "append_images": [small.rotate(9)]})
    seeds["animated.png"] = _written(small, "PNG", {"save_all": True, "append_images": [small.rotate(9)]})
    seeds["pages.tif"] = _written(small, "TIFF", {"save_all": True, "append_images": [small.rotate(9)]})
    seeds["plain.ppm"] = b"P3 8 6 255\n" + b" ".join(b"%d" % (n % 256) for n in range(8 * 6 * 3)) + b"\n"
    return seeds


def _in_mode(picture: Pillow.Image, mode: str) -> Pillow.Image:
    if mode == "I;16":
        return Pillow.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 257)
    if mode == "F":
        return Pillow.fromarray(np.asarray(picture.convert("L")).astype(np.float32) / 255)
    return picture.convert(mode)


def _written(picture: Pillow.Image, kind: str, options: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    picture.save(out, format=kind, **options)
    return out.getvalue()
