"""EfficientNet-Lite with what its earlier layers saw: edges and colours, which the last layer has thrown away."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmpipe.types import Image, ImageFeatures
from mmpipe.vision.efficientnet import EfficientNetLite
from mmpipe.vision.framing import stretched


class MultiLevelEfficientNetLite(EfficientNetLite):
    """As :class:`EfficientNetLite`, but ``spatial`` holds more channels: of every scale the widest layer, averaged to
    the places of the last one, which come first. Pictures are stretched. ``size_px``: the side that they are brought
    to, if not that of the training; drawings and icons do not need 260."""

    name = "efficientnet-lite-levels"

    def __init__(
        self, weights: Path | str = "efficientnet-lite2", device: str | None = None, *, size_px: int | None = None
    ) -> None:
        super().__init__(weights, device)
        self.size_px = size_px or self.size_px
        self.identity = f"{self.identity} levels {self.size_px} stretched"

    def run(self, items: Sequence[Image]) -> list[ImageFeatures]:
        torch = self._torch
        pixels = np.stack([stretched(item, (self.size_px, self.size_px)) for item in items])
        with torch.inference_mode():
            batch = torch.from_numpy(pixels).to(self._device).permute(0, 3, 1, 2)
            features, levels = ((batch.float() - 127.0) / 128.0).contiguous(), []
            for layer in self._net.children():
                deeper = layer(features)
                if deeper.shape[2:] != features.shape[2:] and features.shape[1] > 3:
                    levels.append(features)
                features = deeper
            pool = torch.nn.functional.adaptive_avg_pool2d
            spatial = torch.cat([features, *(pool(level, features.shape[2:]) for level in levels)], 1).cpu().numpy()
            pooled = features.mean(dim=(2, 3)).cpu().numpy()
        logits = pooled @ self.classifier_weight.T + self.classifier_bias
        return [ImageFeatures(*(row.copy() for row in rows)) for rows in zip(pooled, spatial, logits, strict=True)]
