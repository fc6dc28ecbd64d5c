"""Text in pictures by RapidOCR: PP-OCR's detector, line classifier and recognizer, in ONNX Runtime.

https://github.com/RapidAI/RapidOCR. The models come inside its wheel and are the only ones used: nothing is fetched.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmpipe.errors import WeightsError
from mmpipe.extras import require
from mmpipe.stage import TextReader
from mmpipe.types import Image, TextLine
from mmpipe.vision.reading_order import in_reading_order

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The parts of RapidOCR's configuration, and what their models' files are called.
_MODELS = {"Det": "*_det_*.onnx", "Cls": "*_cls_*.onnx", "Rec": "*_rec_*.onnx"}
# Below this no letter can be told from another, and some layers would have nothing to see.
_MIN_SIDE_PX = 8
# RapidOCR enlarges a picture until its shorter side has 736 pixels. A strip would become a ribbon, letters higher than
# its detector finds in one piece; so strips are made thicker first.
_MAX_PROPORTION = 4
# A box so much taller than wide holds a line that runs downwards; RapidOCR turns it the same way.
_DOWNWARDS = 1.5


class RapidOcr(TextReader):
    """Reads printed English and Chinese, and other languages in Latin letters or kana.

    ``weights``: a folder with a detector, a classifier and a recognizer, named as in the wheel of rapidocr; None:
    those in the wheel (of 3.10: PP-OCR v6, 32 MB). ``threads``: of each session. ``min_confidence``, 0..1: lines read
    with less are left out.

    Upside-down lines are read, but their corners are given as if they stood upright.

    Raises:
        MissingDependencyError: rapidocr is not installed.
        WeightsError: the models are not there or cannot be run.
    """

    name = "rapidocr"
    languages = frozenset({"en", "zh"})
    max_items = 1  # it takes one picture at a time, the lines of it in batches
    max_cost = 16.0

    def __init__(self, weights: Path | None = None, threads: int = 2, min_confidence: float = 0.5) -> None:
        rapidocr = require("rapidocr", "ocr", "Reading text in pictures")
        from omegaconf import flag_override

        folder = weights or Path(rapidocr.__file__).parent / "models"
        # Its logger has a handler of its own, for "no text found" too.
        params = {"Global.log_level": "critical", "Global.text_score": min_confidence}
        self._engine = rapidocr.RapidOCR(params=params)
        for part, pattern in _MODELS.items():
            settings = self._engine.cfg[part]
            with flag_override(settings, "allow_objects", True):
                settings.session = _open_session(folder, pattern, threads)

    def run(self, items: Sequence[Image]) -> list[tuple[TextLine, ...]]:
        """The lines of each picture, in reading order; none where there is no text."""
        return [self._read(item.pixels) for item in items]

    def warmup(self) -> None:
        self._read(np.full((64, 256, 3), 255, np.uint8))

    def _read(self, pixels: NDArray[np.uint8]) -> tuple[TextLine, ...]:
        if min(pixels.shape[:2]) < _MIN_SIDE_PX:
            return ()
        found = self._engine(_padded(pixels)[:, :, ::-1])  # OpenCV's order of colours
        if found.boxes is None or found.txts is None:
            return ()
        lines = zip(found.txts, found.boxes, found.scores, strict=True)
        return in_reading_order([TextLine(text, _corners(box), float(score)) for text, box, score in lines])


def _padded(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """``pixels``, and below or right of a strip as much of the colour of its rim as makes it thick enough."""
    height, width, _ = pixels.shape
    least = max(height, width) // _MAX_PROPORTION
    if min(height, width) >= least:
        return pixels
    rim = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    padded = np.empty((max(height, least), max(width, least), 3), np.uint8)
    padded[:] = np.median(rim, axis=0)
    padded[:height, :width] = pixels
    return padded


def _corners(box: NDArray[np.float32]) -> Any:
    """The corners of ``box``, which begin at the top left of the picture, from the line's own top left."""
    (x0, y0), (x1, y1), _, (x3, y3) = corners = [(float(x), float(y)) for x, y in box]
    tall = np.hypot(x3 - x0, y3 - y0) >= _DOWNWARDS * np.hypot(x1 - x0, y1 - y0)
    return tuple([*corners[1:], corners[0]] if tall else corners)


def _open_session(folder: Path, pattern: str, threads: int) -> Any:
    import onnxruntime

    models = sorted(folder.glob(pattern))
    if len(models) != 1:
        raise WeightsError(
            f"There should be one {pattern} in {folder}, and there are {len(models)}. Install it again: "
            "pip install --force-reinstall rapidocr"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others compute on the same cores
    # Every picture has another size: an arena would keep the room of the largest of each for ever.
    options.enable_cpu_mem_arena = False
    try:
        return onnxruntime.InferenceSession(str(models[0]), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base but this
        raise WeightsError(f"{models[0]} cannot be run: {error}. Install rapidocr again") from error
