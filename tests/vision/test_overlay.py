from __future__ import annotations

from pathlib import Path

import jiwer
import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from mmpipe.errors import InputError
from mmpipe.types import Image, TextLine
from mmpipe.vision import fonts
from mmpipe.vision.fonts import font_for
from mmpipe.vision.ocr import RapidOcr
from mmpipe.vision.overlay import draw_heat, draw_texts

BLUE, WHITE = (20, 80, 140), (255, 255, 255)
SANS = Path(__file__).parent / "pages" / "sans.otf"


def sign(lines: list[str], turned: float = 0) -> Image:
    picture = Pillow.new("RGB", (700, 100 + 100 * len(lines)), BLUE)
    for i, text in enumerate(lines):
        font = ImageFont.truetype(SANS, 56)
        ImageDraw.Draw(picture).text((350, 100 + 100 * i), text, anchor="mm", fill=WHITE, font=font)
    return Image(np.asarray(picture.rotate(turned, Pillow.Resampling.BICUBIC, fillcolor=BLUE)))


@pytest.fixture(scope="module")
def reader() -> RapidOcr:
    return RapidOcr()


@pytest.mark.parametrize("turned", [0, 5, -12])
def test_a_translated_sign_can_be_read_in_the_place_of_the_original(reader, turned):
    original = sign(["Wet floor", "Use the handrail"], turned)
    (lines,) = reader.run([original])
    translated = draw_texts(original, lines, ["Piso molhado", "Não corra, é perigoso"])
    (again,) = reader.run([translated])
    assert jiwer.cer("Piso molhado Não corra, é perigoso", " ".join(line.text for line in again)) < 0.05
    for before, after in zip(lines, again, strict=True):
        assert np.abs(np.mean(before.corners, axis=0) - np.mean(after.corners, axis=0)).max() < 12


def test_ground_and_ink_stay_and_nothing_outside_the_lines_changes(reader):
    original = sign(["Exit"])
    (lines,) = reader.run([original])
    pixels = draw_texts(original, lines, ["Saída"]).pixels.astype(int)
    corners = np.array(lines[0].corners)
    outside = np.ones(pixels.shape[:2], bool)
    (left, top), (right, bottom) = corners.min(0).astype(int) - 2, corners.max(0).astype(int) + 3
    outside[top:bottom, left:right] = False
    np.testing.assert_array_equal(pixels[outside], original.pixels[outside])
    inside = pixels[top:bottom, left:right].reshape(-1, 3)
    near = [np.abs(inside - colour).max(axis=1) < 16 for colour in (BLUE, WHITE)]
    assert near[0].mean() > 0.5
    assert near[1].mean() > 0.04
    # All there is are these two and the mixtures of them at the edges of letters.
    along = np.clip((inside - BLUE) @ np.subtract(WHITE, BLUE) / (np.subtract(WHITE, BLUE) ** 2).sum(), 0, 1)
    assert np.abs(inside - (BLUE + along[:, None] * np.subtract(WHITE, BLUE))).max() < 16


def box(left: int, top: int, right: int, bottom: int) -> TextLine:
    return TextLine("?", ((left, top), (right, top), (right, bottom), (left, bottom)), 1.0)


def drawn(text: str, line: TextLine, width: int = 300, height: int = 200) -> np.ndarray:
    """Where letters were drawn on white."""
    image = Image(np.full((height, width, 3), 255, np.uint8))
    return draw_texts(image, [line], [text]).pixels.min(axis=2) < 128


def test_a_long_text_is_made_small_enough_and_a_short_one_large():
    line = box(50, 50, 250, 90)
    for text in ("Hi", "A rather longer text than there was", "One " * 30):
        ink = np.argwhere(drawn(text, line))
        assert ink[:, 0].min() >= 48
        assert ink[:, 0].max() <= 92
        if "One" not in text:
            assert 48 <= ink[:, 1].min() <= ink[:, 1].max() <= 252
    height = [np.ptp(np.argwhere(drawn(text, line))[:, 0]) for text in ("Hi", "A rather longer text than there was")]
    assert height[0] > 20


def test_a_long_text_in_a_high_box_is_broken_between_words():
    ink = drawn("Attention please", box(50, 20, 250, 180)).any(axis=1)
    changes = np.flatnonzero(np.diff(ink.astype(int)))
    assert len(changes) >= 4  # two lines of letters, white between them


def test_a_text_at_the_edge_of_the_picture_is_no_error():
    assert drawn("Outside", box(-30, -10, 80, 30)).any()
    assert drawn("A dot", box(299, 199, 300, 200)).shape == (200, 300)


def test_a_line_without_a_translation_is_left_alone():
    original = sign(["Exit"])
    unchanged = draw_texts(original, [box(0, 0, 300, 100), box(0, 100, 300, 200)], ["", " "])
    np.testing.assert_array_equal(unchanged.pixels, original.pixels)
    with pytest.raises(ValueError, match="shorter"):
        draw_texts(original, [box(0, 0, 9, 9)], [])


def test_accents_and_other_alphabets_need_no_font_of_the_system():
    for text in ("Não há pão às três: maçãs, ênfase, avô, à", "Größe Łódź čeština", "Καλημέρα", "Съешь ещё", "“—”…€"):
        assert font_for(text).getname()[0] == "Noto Sans"


def test_a_character_that_no_font_has_is_named(tmp_path):
    with pytest.raises(InputError, match="ع"):
        font_for("ع", SANS)
    (tmp_path / "font.ttf").write_text("no font")
    with pytest.raises(InputError, match=r"font\.ttf is no TrueType"):
        font_for("a", tmp_path / "font.ttf")


def test_a_font_of_the_users_is_taken():
    assert font_for("中文", SANS).getname()[0] != "Noto Sans"


def test_heat_colours_the_picture_where_it_is_and_leaves_it_grey_elsewhere(photos):
    heat = np.zeros((4, 6), np.float32)
    heat[0, 0] = 3
    image = draw_heat(photos["macaw.jpg"], heat)
    assert image.pixels.shape == photos["macaw.jpg"].pixels.shape
    saturation = np.ptp(image.pixels.astype(int), axis=2)
    height, width = saturation.shape
    assert saturation[: height // 6, : width // 9].mean() > 60
    assert saturation[height // 2 :, width // 2 :].max() == 0


def test_without_heat_the_picture_is_grey(photos):
    for heat in (np.zeros((2, 2)), np.full((2, 2), -1.0), np.full((2, 2), np.nan)):
        assert np.ptp(draw_heat(photos["cat.jpg"], heat).pixels.astype(int), axis=2).max() == 0


def test_chinese_is_drawn_with_a_font_that_is_fetched_only_then(monkeypatch, tmp_path):
    (tmp_path / "regular.otf").write_bytes(SANS.read_bytes())
    asked: list[str] = []
    monkeypatch.setattr(fonts, "fetch", lambda name: asked.append(name) or tmp_path)
    fonts._chinese.cache_clear()
    assert font_for("Exit").getname()[0] == "Noto Sans"
    assert asked == []
    assert font_for("出口").getname() == ImageFont.truetype(SANS).getname()
    assert asked == ["noto-sans-sc"]
    with pytest.raises(InputError, match=r"lacks ع\."):
        font_for("出口 ع")
    fonts._chinese.cache_clear()
