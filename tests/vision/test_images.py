from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from mmpipe.errors import ImageError, MissingDependencyError, OutputError
from mmpipe.types import Image
from mmpipe.vision import images
from mmpipe.vision.images import load, save

RED, GREEN, WHITE, GREY = (255, 0, 0), (0, 255, 0), (255, 255, 255), (128, 128, 128)


def encoded(picture: Pillow.Image, kind: str, **how) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **how)
    return out.getvalue()


def two_halves(mode: str = "RGB", size: tuple[int, int] = (8, 4)) -> Pillow.Image:
    """Red on the left, green on the right."""
    picture = Pillow.new("RGB", size, RED)
    picture.paste(GREEN, (size[0] // 2, 0, *size))
    return picture.convert(mode)


def png_header(width: int, height: int) -> bytes:
    """The start of a PNG that says it has so many pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    checked = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return b"\x89PNG\r\n\x1a\n" + checked + struct.pack(">I", 99) + b"IDAT"


def corner(image: Image) -> tuple[int, ...]:
    return tuple(image.pixels[0, 0].tolist())


def test_a_photograph_comes_as_its_decoder_gives_it(pictures):
    expected = np.asarray(Pillow.open(pictures / "cat.jpg"))
    for source in (str(pictures / "cat.jpg"), pictures / "cat.jpg", (pictures / "cat.jpg").read_bytes()):
        np.testing.assert_array_equal(load(source).pixels, expected)
    with (pictures / "cat.jpg").open("rb") as file:
        np.testing.assert_array_equal(load(file).pixels, expected)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_taken_with_the_camera_turned_comes_upright(kind, orientation):
    turns = {
        2: Pillow.Transpose.FLIP_LEFT_RIGHT, 3: Pillow.Transpose.ROTATE_180, 4: Pillow.Transpose.FLIP_TOP_BOTTOM,
        5: Pillow.Transpose.TRANSPOSE, 6: Pillow.Transpose.ROTATE_90, 7: Pillow.Transpose.TRANSVERSE,
        8: Pillow.Transpose.ROTATE_270,
    }  # fmt: skip
    upright = two_halves(size=(64, 32))
    stored = upright.transpose(turns[orientation]) if orientation > 1 else upright
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    image = load(encoded(stored, kind, exif=exif))
    assert (image.width_px, image.height_px) == (64, 32)
    assert abs(image.pixels[16, 8].astype(int) - RED).max() < 20
    assert abs(image.pixels[16, 56].astype(int) - GREEN).max() < 20


def test_broken_exif_does_not_cost_the_picture():
    assert load(encoded(two_halves(), "PNG", exif=b"Exif\0\0MM\0*\0\0\xff\xff")).width_px == 8


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_what_is_transparent_becomes_white(mode):
    picture = Pillow.new(mode, (2, 1), (0,) * len(mode))
    picture.putpixel((1, 0), (0,) * (len(mode) - 1) + (255,))
    assert load(encoded(picture, "PNG")).pixels.tolist() == [[[255, 255, 255], [0, 0, 0]]]


def test_half_transparent_is_mixed_with_white():
    assert load(encoded(Pillow.new("RGBA", (1, 1), (255, 0, 0, 128)), "PNG")).pixels.tolist() == [[[255, 127, 127]]]


def test_a_transparent_colour_of_a_palette_or_of_plain_rgb_becomes_white():
    palette = two_halves().quantize(4)
    assert corner(load(encoded(palette, "GIF", transparency=palette.getpixel((0, 0))))) == WHITE
    assert corner(load(encoded(two_halves(), "PNG", transparency=RED))) == WHITE


@pytest.mark.parametrize(
    ("picture", "kind"),
    [
        (two_halves("L"), "PNG"),
        (two_halves("1"), "PNG"),
        (two_halves("P"), "PNG"),
        (two_halves("CMYK"), "JPEG"),
        (two_halves("L"), "JPEG"),
        (two_halves("CMYK"), "TIFF"),
    ],
)
def test_every_colour_mode_becomes_rgb(picture, kind):
    image = load(encoded(picture, kind))
    assert image.pixels.shape == (4, 8, 3)
    reference = np.asarray(picture.convert("RGB")).astype(int)
    assert abs(image.pixels.astype(int) - reference).mean() < 12


def test_sixteen_bits_keep_their_proportions():
    grey = Pillow.fromarray(np.array([[0, 0x8000, 0xFFFF]], np.uint16))
    assert load(encoded(grey, "PNG")).pixels[0, :, 0].tolist() == [0, 128, 255]
    assert load(encoded(grey, "TIFF")).pixels[0, :, 0].tolist() == [0, 128, 255]


def test_measurements_go_from_black_to_white():
    for values in (np.array([[-1.0, 0.0, 1.0, np.nan]], np.float32), np.array([[-5, 0, 5, 0]], np.int32)):
        assert load(encoded(Pillow.fromarray(values), "TIFF")).pixels[0, :3, 1].tolist() == [0, 127, 255]
    assert load(encoded(Pillow.fromarray(np.full((1, 2), 7.5, np.float32)), "TIFF")).pixels.max() == 0


def test_of_an_animation_the_first_frame_counts():
    frames = [Pillow.new("RGB", (4, 4), colour) for colour in (RED, GREEN)]
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
        assert abs(np.subtract(corner(load(content)), RED)).max() < 8


def test_one_pixel_is_a_picture():
    assert load(encoded(Pillow.new("RGB", (1, 1), GREY), "PNG")).pixels.tolist() == [[list(GREY)]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_more_pixels_than_are_kept_are_scaled_down(kind):
    image = load(encoded(two_halves(size=(400, 200)), kind), max_px=20_000)
    assert (image.width_px, image.height_px) == (200, 100)
    assert abs(image.pixels[50, 20].astype(int) - RED).max() < 20


def test_a_strip_is_scaled_down_to_at_least_a_pixel():
    assert load(encoded(Pillow.new("RGB", (4000, 1)), "PNG"), max_px=100).pixels.shape[0] == 1


PEAK = """if True:
    import re, sys
    from pathlib import Path
    from mmpipe.vision.images import load
    def peak_kb():
        return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
    content = Path(sys.argv[1]).read_bytes()
    load(content[:0] + Path(sys.argv[2]).read_bytes())  # what is loaded with the first picture
    before_kb = peak_kb()
    image = load(content, max_px=1_000_000)
    print(image.width_px, image.height_px, peak_kb() - before_kb)
"""


def memory_kb(tmp_path, pictures, content):
    """What it takes to load ``content``, in a process of its own, and the size that comes of it."""
    (tmp_path / "picture").write_bytes(content)
    command = [sys.executable, "-c", PEAK, tmp_path / "picture", pictures / "cat.jpg"]
    result = subprocess.run(command, check=True, capture_output=True, text=True)
    *size, peak_kb = map(int, result.stdout.split())
    return tuple(size), peak_kb


def test_a_huge_jpeg_is_shrunk_while_it_is_decoded(tmp_path, pictures):
    """Decoded in full, and in colour, it would be 432 MB."""
    content = encoded(Pillow.new("L", (12_000, 12_000), 200), "JPEG")
    size, peak_kb = memory_kb(tmp_path, pictures, content)
    assert size == (1000, 1000)
    assert peak_kb < 60_000


def measured_picture():
    return Pillow.fromarray(np.linspace(0, 1, 2000 * 2000, dtype=np.float32).reshape(2000, 2000))


@pytest.mark.parametrize(
    ("kind", "picture", "options"),
    [
        ("PNG", lambda: Pillow.new("RGBA", (2000, 2000), (1, 2, 3, 4)), {}),
        ("PNG", lambda: Pillow.new("LA", (2000, 2000)), {}),
        ("TIFF", measured_picture, {"compression": "tiff_lzw"}),
        ("TIFF", lambda: Pillow.new("RGBA", (2000, 2000)), {"compression": "tiff_deflate", "tiffinfo": {278: 2000}}),
        ("WEBP", lambda: Pillow.new("RGBA", (2000, 2000)), {"lossless": True, "method": 0}),
        ("JPEG2000", lambda: Pillow.new("RGBA", (2000, 2000)), {}),
        ("GIF", lambda: Pillow.new("P", (2000, 2000)), {}),
        ("AVIF", lambda: Pillow.new("RGB", (2000, 2000)), {"speed": 10}),
    ],
)
def test_what_a_pixel_takes_at_most_is_known(tmp_path, pictures, kind, picture, options):
    """By that number pictures are refused before they are decoded."""
    _, peak_kb = memory_kb(tmp_path, pictures, encoded(picture(), kind, **options))
    assert peak_kb * 1024 < images.BYTES_PER_PX[kind] * 4_000_000 + 24_000_000  # what is kept, and conversions of bands


def several_scans(width, height):
    """A baseline JPEG with a scan for each colour, all of it grey: no program writes such, and libjpeg holds all of its
    coefficients. Each block is two bits: nothing new, and the end."""
    size = struct.pack(">HH", height, width)
    frame = b"\x08" + size + b"\x03" + b"".join(bytes((n, 0x11, 0)) for n in (1, 2, 3))
    one_code = bytes([1] + 15 * [0]) + b"\0"
    blocks = -(-width // 8) * -(-height // 8)
    parts = [(0xDB, b"\0" + bytes([1] * 64)), (0xC0, frame), (0xC4, b"\x00" + one_code), (0xC4, b"\x10" + one_code)]
    out = b"\xff\xd8" + b"".join(struct.pack(">BBH", 0xFF, kind, len(body) + 2) + body for kind, body in parts)
    for n in (1, 2, 3):
        scan = bytes((1, n, 0, 0, 63, 0))
        out += struct.pack(">BBH", 0xFF, 0xDA, len(scan) + 2) + scan + bytes(-(-blocks * 2 // 8))
    return out + b"\xff\xd9"


def test_a_jpeg_in_several_passes_has_the_smaller_limit(tmp_path, pictures):
    """Its coefficients are all held while it is decoded, and no shrinking helps."""
    assert load(several_scans(16, 16)).pixels.shape == (16, 16, 3)
    _, peak_kb = memory_kb(tmp_path, pictures, several_scans(2000, 2000))
    assert peak_kb * 1024 < 12 * 4_000_000 + 24_000_000
    for content in (several_scans(9000, 9000), encoded(Pillow.new("L", (9000, 9000)), "JPEG", progressive=True)):
        with pytest.raises(ImageError, match="9000 x 9000 pixels"):
            load(content)


def jpeg_headers(*kinds, width=8, height=8):
    """The headers of a JPEG with frames of ``kinds``, and no picture behind them."""
    frame = b"\x08" + struct.pack(">HH", height, width) + b"\x01\x01\x11\x00"
    scan = bytes((1, 1, 0, 0, 63, 0))
    segments = [*((0xC0 + kind, frame) for kind in kinds), (0xDA, scan)]
    return b"\xff\xd8" + b"".join(struct.pack(">BBH", 0xFF, kind, len(body) + 2) + body for kind, body in segments)


@pytest.mark.parametrize("kind", [3, 5, 6, 7, 9, 10, 11, 13, 14, 15])
def test_kinds_of_jpeg_that_nobody_writes_never_reach_the_decoder(kind, monkeypatch):
    """Headers alone: what libjpeg does with the rest of some, when it is told to shrink them, is for its makers."""
    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.draft", lambda *_: pytest.fail("draft() was called"))
    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.load", lambda *_: pytest.fail("it was decoded"))
    with pytest.raises(ImageError, match=rf"SOF{kind}\)"):
        load(jpeg_headers(kind, width=9000, height=9000))
    with pytest.raises(ImageError, match="headers are no JPEG's"):  # hidden behind one that is fine
        load(jpeg_headers(0, kind))


def test_headers_that_two_readers_could_read_in_two_ways_are_refused():
    whole = jpeg_headers(0)
    for content in (
        whole[:2] + b"\0\0" + whole[2:],  # something between the segments
        whole[:2] + b"\xff\xd8" + whole[2:],  # a second beginning
        whole[:2] + b"\xff\xc0\0\1" + whole[2:],  # a length below that of the length itself
        whole[:2] + b"\xff\xd0" + whole[2:],  # a mark that belongs into a scan
        whole[:9],
    ):
        with pytest.raises(ImageError, match=r"headers are no JPEG's|no picture"):
            load(content)


def test_only_what_is_decoded_in_one_pass_is_shrunk_meanwhile(monkeypatch):
    drafted = []
    monkeypatch.setattr("PIL.JpegImagePlugin.JpegImageFile.draft", lambda self, *_: drafted.append(self))
    load(encoded(Pillow.new("RGB", (100, 100)), "JPEG", progressive=True), max_px=100)
    load(several_scans(100, 100), max_px=100)
    assert not drafted
    load(encoded(Pillow.new("RGB", (100, 100)), "JPEG"), max_px=100)
    assert len(drafted) == 1


def test_more_pixels_than_can_be_decoded_are_refused_from_the_header_alone():
    for side_px in (9000, 10_000, 30_000):  # below the limit at which Pillow warns, below that at which it refuses
        with pytest.raises(ImageError, match=rf"{side_px} x {side_px} pixels.*up to 64 million.*Save it smaller"):
            load(png_header(side_px, side_px))


def test_a_file_too_big_is_not_opened(tmp_path):
    big = tmp_path / "big.jpg"
    with big.open("wb") as file:
        file.truncate(200 * 2**20)  # takes no room on the disk
    with pytest.raises(ImageError, match="more than 100 MB"):
        load(big)
    with big.open("rb") as file, pytest.raises(ImageError, match="more than 100 MB"):
        load(file)


def test_what_is_no_picture_is_told_apart(tmp_path, pictures):
    jpeg = (pictures / "cat.jpg").read_bytes()
    cases = {
        "text.jpg": ("Grüße, nothing to see here.\n".encode() * 40, "is text"),
        "half.jpg": (jpeg[: len(jpeg) // 2], "is damaged.*truncated"),
        "start.jpg": (jpeg[:100], "is damaged"),
        "three.jpg": (jpeg[:3], "is damaged"),
        "half.png": (encoded(two_halves(size=(99, 99)), "PNG")[:90], "is damaged|truncated"),
        "header.png": (png_header(9, 9)[:33], "is damaged"),
        "noise.png": (bytes(range(256)) * 4, "no picture that can be read"),
        "favicon.ico": (b"\0\0\1\0\1\0\x10\x10" + bytes(40), "no picture that can be read"),
        "drawing.svg": (b"<?xml version='1.0'?><svg/>", "SVG"),
        "phone.heic": (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(64), "HEIC"),
        "paper.pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3", "PDF"),
        "drawing.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is text"),
        "empty.png": (b"", "is empty"),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=message) as caught:
            load(tmp_path / name)
        assert name in str(caught.value)
    for content in (b"", io.BytesIO(b"")):
        with pytest.raises(ImageError, match="empty"):
            load(content)


def test_a_path_that_leads_to_no_file_says_so(tmp_path):
    for path, message in (
        (tmp_path / "none.jpg", "No such file.*Check the path"),
        (tmp_path, "directory"),
        ("https://example.com/cat.jpg", "Download it first"),
        ("a\0b", "null"),
    ):
        with pytest.raises(ImageError, match=message):
            load(path)


def test_saved_and_read_again_it_is_the_same(tmp_path, photos):
    save(photos["cat.jpg"], tmp_path / "cat.png")
    np.testing.assert_array_equal(load(tmp_path / "cat.png").pixels, photos["cat.jpg"].pixels)
    assert [path.name for path in tmp_path.iterdir()] == ["cat.png"]


def test_a_failed_save_leaves_what_was_there(tmp_path, photos, monkeypatch):
    target = tmp_path / "cat.png"
    target.write_bytes(b"before")

    def full(self, *_, **__):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Pillow.Image, "save", full)
        with pytest.raises(OutputError, match="No space"):
            save(photos["cat.jpg"], target)
    assert target.read_bytes() == b"before"
    with pytest.raises(OutputError, match="make it first"):
        save(photos["cat.jpg"], Path(tmp_path / "none" / "cat.png"))


def test_without_pillow_the_error_has_the_command_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingDependencyError, match="pip install"):
        load(b"x")
