"""What an answer rests on, as numbers and as a picture."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmpipe.extras import require
from mmpipe.files import writing
from mmpipe.types import Answer, Image
from mmpipe.vision import images
from mmpipe.vision.overlay import draw_heat

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PANEL_PX = 320  # the longer side of each picture in the overlay
_CAPTION_PX = 22
_MARGIN_PX = 8
_COUNTS_NATS = 0.05  # 5 % of the probability


@dataclass(frozen=True, slots=True, eq=False)
class PictureEvidence:
    """What the answer owes to one picture.

    ``activation``: float32 (h, w), how much each place of the picture adds to the encoder's logit of the class
    ``label`` (Zhou et al. 2016, arXiv:1512.04150): its mean, and the bias of the class, are the logit, where the
    picture fills the square that the encoder looks at. None where the encoder does not classify.
    ``occlusion``: float32 (g, g), by how many nats the answer gets less likely when this part of the picture is covered
    in grey; negative: likelier (Zeiler, Fergus 2013, arXiv:1311.2901).
    ``attention``: float32 (answer tokens, placeholders), the share of its attention that each token of the answer gave
    to each placeholder of the picture, mean over layers and heads.
    """

    picture: Image
    label: str
    label_probability: float
    activation: NDArray[np.float32] | None
    occlusion: NDArray[np.float32]
    attention: NDArray[np.float32]

    def as_dict(self) -> dict[str, Any]:
        return {
            "label": self.label,
            "label_probability": round(self.label_probability, 4),
            "class_activation": None if self.activation is None else _numbers(self.activation),
            "occlusion_nats": _numbers(self.occlusion),
            "attention": _numbers(self.attention),
        }


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """An answer, and what it rests on. ``tokens``: of what the language model said."""

    answer: Answer
    tokens: tuple[str, ...]
    logprob: float  # natural, of all tokens
    pictures: tuple[PictureEvidence, ...]

    def as_dict(self) -> dict[str, Any]:
        """All numbers, as JSON has them."""
        answer = self.answer
        return {
            "question": answer.question,
            "answer": answer.text,
            "said": answer.said,
            "confidence": round(answer.confidence, 4),
            "refused": answer.refused,
            "tokens": list(self.tokens),
            "logprob": round(self.logprob, 4),
            "pictures": [picture.as_dict() for picture in self.pictures],
        }

    def draw(self) -> Image:
        """For each picture a row: the picture, the class activation over it, and the occlusion."""
        rows = [_row(picture) for picture in self.pictures]
        width = max(row.shape[1] for row in rows)
        padded = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
        return Image(np.concatenate(padded))

    def save(self, path: str | Path) -> None:
        """Write the picture to ``path``, as PNG, and the numbers beside it, as JSON.

        Raises:
            OutputError: it cannot be written.
        """
        path = Path(path)
        images.save(self.draw(), path)
        numbers = path.with_suffix(".json")
        with writing(numbers):
            numbers.write_text(json.dumps(self.as_dict(), ensure_ascii=False) + "\n", "utf-8")


def _numbers(array: NDArray[np.float32]) -> Any:
    return np.round(array.astype(float), 4).tolist()


def _row(evidence: PictureEvidence) -> NDArray[np.uint8]:
    small = _scaled(evidence.picture)
    panels = [(small, "picture")]
    if evidence.activation is not None:
        panels.append((draw_heat(small, evidence.activation), f"speaks for: {evidence.label}"))
    if evidence.occlusion.max() > _COUNTS_NATS:
        panels.append((draw_heat(small, evidence.occlusion), "covered, the answer loses"))
    else:  # heat is drawn from the lowest to the highest: it would show noise
        panels.append((small, "covered anywhere, it stays"))
    return np.concatenate([_framed(panel, caption) for panel, caption in panels], axis=1)


def _scaled(picture: Image) -> Image:
    pillow = require("PIL.Image", "qa", "Drawing evidence")
    scale = _PANEL_PX / max(picture.width_px, picture.height_px)
    size = (max(1, round(picture.width_px * scale)), max(1, round(picture.height_px * scale)))
    return Image(np.asarray(pillow.fromarray(picture.pixels).resize(size, pillow.Resampling.BICUBIC)))


def _framed(panel: Image, caption: str) -> NDArray[np.uint8]:
    from PIL import Image as Pillow
    from PIL import ImageDraw

    from mmpipe.vision.fonts import font_for

    width = max(panel.width_px, _PANEL_PX // 2) + 2 * _MARGIN_PX
    frame = Pillow.new("RGB", (width, panel.height_px + _CAPTION_PX + 2 * _MARGIN_PX), "white")
    frame.paste(Pillow.fromarray(panel.pixels), (_MARGIN_PX, _MARGIN_PX))
    place = (_MARGIN_PX, panel.height_px + _MARGIN_PX + 2)
    ImageDraw.Draw(frame).text(place, caption, "black", font_for(caption).font_variant(size=_CAPTION_PX - 8))
    return np.asarray(frame)
