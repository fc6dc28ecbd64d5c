"""EfficientNet-Lite, a small ImageNet classifier, as an image encoder: 4.7 or 6.1 million parameters.

Tan, Le: "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks" (2019), and its Lite variants:
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmpipe.errors import WeightsError
from mmpipe.extras import require
from mmpipe.stage import ImageEncoder
from mmpipe.types import Image, ImageFeatures
from mmpipe.vision.framing import squared
from mmpipe.vision.labels import imagenet_labels
from mmpipe.weights import fetch

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

#: (blocks, channels of the last one) -> side of the pictures that Lite0, Lite1 and Lite2 were trained on
_SIZES_PX = {(16, 320): 224, (21, 320): 240, (21, 352): 260}
# As in training: where 0..255 goes to about -1..1.
_MEAN, _SCALE = 127.0, 128.0
_FILE = "model.pth"


class EfficientNetLite(ImageEncoder):
    """Pooled and spatial features of 1280 channels, and logits of the 1000 ImageNet classes.

    ``weights``: a name ("efficientnet-lite0", "efficientnet-lite2"), a folder with ``model.pth``, or such a file, a
    PyTorch state dict. ``device``: as torch names it; None: a GPU if there is one.

    ``labels``: a name for each logit; :func:`~mmpipe.vision.labels.imagenet_labels` has their other names and kinds.
    ``classifier_weight``, float32 (1000, 1280), and ``classifier_bias``, float32 (1000,): ``logits =
    classifier_weight @ pooled + classifier_bias``; the same of ``spatial`` is the class activation of each place.
    ``size_px``: the side of the square that pictures are brought to, as :mod:`mmpipe.vision.framing` says. The spatial
    features have a 32nd of it, rounded up: 7 by 7 or 9 by 9, spread evenly over the picture.

    Raises:
        MissingDependencyError: torch or Pillow is not installed.
        WeightsError: the weights cannot be had, or are another model's.
    """

    name = "efficientnet-lite"
    max_items = 16

    def __init__(self, weights: Path | str = "efficientnet-lite2", device: str | None = None) -> None:
        self._torch = require("torch", "qa", "EfficientNet-Lite")
        require("PIL.Image", "qa", "EfficientNet-Lite")
        from mmpipe.vision.efficientnet_net import build, shape

        path = fetch(weights) if isinstance(weights, str) else weights
        state, digest = _read(path / _FILE if path.is_dir() else path)
        self._device = device or ("cuda" if self._torch.cuda.is_available() else "cpu")
        try:
            self.size_px = _SIZES_PX[shape(state)]
            self._net = build(state).to(self._device)
            self.classifier_weight: NDArray[np.float32] = state["_fc.weight"].numpy()
            self.classifier_bias: NDArray[np.float32] = state["_fc.bias"].numpy()
        except (KeyError, ValueError, RuntimeError) as error:
            raise WeightsError(f"The weights in {path} are not EfficientNet-Lite 0, 1 or 2: {error!r}") from error
        self.labels = tuple(label.name for label in imagenet_labels())
        self.identity = f"{self.name} {self.size_px} framed {digest}"

    def run(self, items: Sequence[Image]) -> list[ImageFeatures]:
        """``pooled`` (1280,), ``spatial`` (1280, s, s) and ``logits`` (1000,) of each picture, in one batch."""
        squares, shares = zip(*(squared(item, self.size_px) for item in items), strict=True)
        with self._torch.inference_mode():
            batch = self._torch.from_numpy(np.stack(squares)).to(self._device).permute(0, 3, 1, 2)
            spatial = self._net(((batch.float() - _MEAN) / _SCALE).contiguous())
            pooled = spatial.mean(dim=(2, 3)).cpu().numpy()
            spatial = self._within(spatial, shares).cpu().numpy()
        logits = pooled @ self.classifier_weight.T + self.classifier_bias
        # Copies: a view would keep the features of the whole batch alive as long as one of its pictures is in use.
        return [ImageFeatures(*(row.copy() for row in rows)) for rows in zip(pooled, spatial, logits, strict=True)]

    def warmup(self) -> None:
        self.run([Image(np.zeros((self.size_px, self.size_px, 3), np.uint8))])

    def _within(self, spatial: Tensor, shares: Sequence[tuple[float, float]]) -> Tensor:
        """Of squares in which the picture takes up ``shares``, the places of the picture, as many as before."""
        functional = self._torch.nn.functional
        for row, (height, width) in enumerate(shares):
            if (height, width) != (1.0, 1.0):
                one = spatial[row : row + 1]
                shrink = self._torch.tensor([[[width, 0.0, 0.0], [0.0, height, 0.0]]], device=spatial.device)
                grid = functional.affine_grid(shrink, one.shape, align_corners=False)
                spatial[row] = functional.grid_sample(one, grid, padding_mode="border", align_corners=False)[0]
        return spatial


def _read(path: Path) -> tuple[Mapping[str, Tensor], str]:
    """The state dict in the file at ``path``, without running what a pickle may hold, and the file's SHA-256."""
    import torch

    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(
            f"No weights at {path}: {error.strerror}. Fetch some: mmpipe pull efficientnet-lite2"
        ) from error
    except Exception as error:  # whatever torch and pickle say of other files
        raise WeightsError(f"{path} is no PyTorch state dict. Name another file, or a model by its name") from error
    if not isinstance(state, dict):
        raise WeightsError(f"{path} holds no state dict but a {type(state).__name__}. Name another file")
    return state, digest
