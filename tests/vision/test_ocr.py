"""What is read of the pages and signs in ``pages/``; ``python tests/vision/test_ocr.py`` prints the error of each."""

from __future__ import annotations

import sys
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from mmpipe.errors import MissingDependencyError, WeightsError
from mmpipe.types import Image
from mmpipe.vision.ocr import RapidOcr

HERE = Path(__file__).parent / "pages"
FONTS = {"sans": "sans.otf", "kai": "kai.ttf"}
PAGES: list[dict[str, Any]] = tomllib.loads((HERE / "pages.toml").read_text("utf-8"))["page"]
MAX_ERROR = 0.05


def render(page: dict[str, Any], seed: int = 0) -> Image:
    """Dark on light for a page of print, large and white on blue for a sign; turned, and with grains, as it says."""
    sign = page.get("sign", False)
    size_px = 64 if sign else 28
    ground, ink = ((20, 80, 140), (255, 255, 255)) if sign else ((250, 248, 240), (20, 20, 20))
    font = ImageFont.truetype(HERE / FONTS[page["font"]], size_px)
    margin = gap = 2 * size_px
    widths = [max(map(font.getlength, column)) for column in page["columns"]]
    lines = max(map(len, page["columns"]))
    size = (int(sum(widths) + gap * (len(widths) - 1)) + 2 * margin, int(lines * 1.6 * size_px) + 2 * margin)
    picture = Pillow.new("RGB", size, ground)
    draw = ImageDraw.Draw(picture)
    left = float(margin)
    for column, width in zip(page["columns"], widths, strict=True):
        for i, line in enumerate(column):
            indent = (width - font.getlength(line)) / 2 if sign else 0
            draw.text((left + indent, margin + i * 1.6 * size_px), line, font=font, fill=ink)
        left += width + gap
    picture = picture.rotate(page.get("angle", 0), Pillow.Resampling.BICUBIC, expand=True, fillcolor=ground)
    grains = np.random.default_rng(seed).normal(0, page.get("noise", 0), (picture.height, picture.width, 3))
    return Image(np.clip(np.asarray(picture) + grains, 0, 255).astype(np.uint8))


def character_error(page: dict[str, Any], lines: Any) -> tuple[float, int]:
    """(edits, characters): spaces count in English, where a new line is one, and not in Chinese."""
    joint = " " if page["language"] == "en" else ""
    right = joint.join(line for column in page["columns"] for line in column)
    return jiwer.cer(right, joint.join(line.text for line in lines)) * len(right), len(right)


@cache
def reader() -> RapidOcr:
    return RapidOcr()


@pytest.mark.parametrize("language", ["en", "zh"])
def test_pages_and_signs_are_read_with_few_wrong_characters(language):
    pages = [page for page in PAGES if page["language"] == language]
    found = reader().run([render(page, seed) for seed, page in enumerate(pages)])
    edits, characters = np.sum([character_error(*pair) for pair in zip(pages, found, strict=True)], axis=0)
    assert len(pages) == 10
    assert edits / characters <= MAX_ERROR


def test_a_line_comes_with_its_place_and_how_sure_it_is():
    picture = Pillow.new("RGB", (600, 300), "white")
    font = ImageFont.truetype(HERE / FONTS["sans"], 40)
    ImageDraw.Draw(picture).text((100, 80), "Good morning", fill="black", font=font)
    left, top, right, bottom = ImageDraw.Draw(picture).textbbox((100, 80), "Good morning", font=font)
    ((line,),) = reader().run([Image(np.asarray(picture))])
    assert line.text == "Good morning"
    assert 0.9 < line.confidence <= 1
    wanted = ((left, top), (right, top), (right, bottom), (left, bottom))
    assert np.abs(np.subtract(line.corners, wanted)).max() < 15


def test_the_corners_of_a_line_that_runs_downwards_begin_at_its_own_top_left():
    picture = Pillow.new("RGB", (600, 400), "white")
    ImageDraw.Draw(picture).text(
        (100, 180), "Information", fill="black", font=ImageFont.truetype(HERE / "sans.otf", 60)
    )
    ((line,),) = reader().run([Image(np.ascontiguousarray(np.rot90(np.asarray(picture), -1)))])
    (x0, y0), (x1, y1), _, (x3, _) = line.corners
    assert line.text == "Information"
    assert y1 - y0 > 200  # the top edge of the letters runs down the picture
    assert abs(x1 - x0) < 20
    assert x3 < x0


def test_a_picture_without_text_has_no_lines(photos):
    blank = Image(np.full((300, 400, 3), 200, np.uint8))
    assert reader().run([photos["macaw.jpg"], blank]) == [(), ()]


@pytest.mark.parametrize("size", [(1, 1), (7, 500), (30, 4000), (3000, 9)])
def test_a_picture_of_any_size_can_be_looked_at(size):
    assert reader().run([Image(np.full((*size, 3), 200, np.uint8))]) == [()]


def test_a_long_strip_of_text_is_read():
    font = ImageFont.truetype(HERE / FONTS["sans"], 20)
    picture = Pillow.new("RGB", (1500, 30), "white")
    ImageDraw.Draw(picture).text((20, 2), "Stop here", fill="black", font=font)
    ((line,),) = reader().run([Image(np.asarray(picture))])
    assert line.text == "Stop here"
    assert 0 < line.corners[0][0] < 40
    assert max(y for _, y in line.corners) < 40


def test_models_that_are_not_there_are_missed_by_name(tmp_path):
    with pytest.raises(WeightsError, match=r"\*_det_\*\.onnx"):
        RapidOcr(tmp_path)
    for name in ("a_det_b.onnx", "a_cls_b.onnx", "a_rec_b.onnx"):
        (tmp_path / name).write_bytes(b"no model")
    with pytest.raises(WeightsError, match="cannot be run"):
        RapidOcr(tmp_path)


def test_without_rapidocr_the_error_has_the_command_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'mmpipe\[ocr\]'"):
        RapidOcr()


def main() -> None:
    out = sys.stdout
    edits: dict[str, float] = {}
    characters: dict[str, int] = {}
    for seed, page in enumerate(PAGES):
        (lines,) = reader().run([render(page, seed)])
        wrong, count = character_error(page, lines)
        out.write(f"{page['name']:32} {wrong:4.0f} of {count:4} characters wrong\n")
        for kind in ("all", page["language"], "sign" if page.get("sign") else "page", page["font"]):
            edits[kind] = edits.get(kind, 0) + wrong
            characters[kind] = characters.get(kind, 0) + count
    for kind, count in characters.items():
        out.write(f"{kind:5} character error {edits[kind] / count:7.2%} of {count}\n")


if __name__ == "__main__":
    main()
