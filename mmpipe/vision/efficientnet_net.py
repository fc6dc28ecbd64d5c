"""The layers of EfficientNet-Lite, built from a state dict: its shapes say all but the strides.

The Lite variants leave out squeeze-and-excitation, have ReLU6 for swish, and the same first and last layers at every
size. The names of the weights are those of https://github.com/ml-illustrated/EfficientNet-Lite-PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

# What the first block of each stage shrinks the picture by; the others keep its size.
_STRIDES = (1, 2, 2, 2, 1, 2, 1)
_BN_EPSILON = 1e-3  # TensorFlow's, where the weights come from; PyTorch's default is 1e-5

State = Mapping[str, Tensor]


def shape(state: State) -> tuple[int, int]:
    """What tells the variants apart: the number of blocks, and the channels that the last of them gives."""
    return len({key.split(".")[1] for key in state if key.startswith("_blocks.")}), state["_conv_head.weight"].shape[1]


def build(state: State) -> nn.Module:
    """The network up to its spatial features: float32 (b, 3, h, w) -> (b, c, ceil(h / 32), ceil(w / 32))."""
    layers = [_conv(state, "_conv_stem", "_bn0", stride=2), nn.ReLU6()]
    widths = [len(state[f"_blocks.{i}._project_conv.weight"]) for i in range(shape(state)[0])]
    for i, stride in enumerate(_block_strides(widths)):
        at = f"_blocks.{i}."
        block: list[nn.Module] = []
        if f"{at}_expand_conv.weight" in state:
            block += [_conv(state, f"{at}_expand_conv", f"{at}_bn0"), nn.ReLU6()]
        block += [_conv(state, f"{at}_depthwise_conv", f"{at}_bn1", stride or 1), nn.ReLU6()]
        block += [_conv(state, f"{at}_project_conv", f"{at}_bn2")]
        layers += [_Residual(*block)] if stride is None else block
    layers += [_conv(state, "_conv_head", "_bn1"), nn.ReLU6()]
    return nn.Sequential(*layers).eval()


class _Residual(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + cast(Tensor, self.layers(x))


class _SamePadding(nn.Module):
    """TensorFlow's SAME: zeros so that stride 2 makes ceil(n / 2) of n; an odd one goes to the right and below."""

    def __init__(self, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel

    def forward(self, x: Tensor) -> Tensor:
        # The last window begins at the last even index; it wants `kernel` from there.
        height, width = (max((n - 1) // 2 * 2 + self.kernel - n, 0) for n in x.shape[2:])
        return functional.pad(x, (width // 2, width - width // 2, height // 2, height - height // 2))


def _block_strides(widths: Sequence[int]) -> Iterator[int | None]:
    """Of each block its stride if it begins a stage; None if it goes on with one, and so adds to what it is given."""
    strides = iter(_STRIDES)
    before = None
    for width in widths:
        yield next(strides) if width != before else None
        before = width


def _conv(state: State, conv: str, norm: str, stride: int = 1) -> nn.Module:
    """A convolution with the batch normalization that follows it folded in."""
    weight, mean, variance = state[f"{conv}.weight"], state[f"{norm}.running_mean"], state[f"{norm}.running_var"]
    scale = state[f"{norm}.weight"] / torch.sqrt(variance + _BN_EPSILON)
    channels_out, channels_in, kernel, _ = weight.shape
    groups = channels_out if "_depthwise_" in conv else 1
    padding = kernel // 2 if stride == 1 else 0
    layer = nn.Conv2d(channels_in * groups, channels_out, kernel, stride, padding, groups=groups)
    layer.load_state_dict({"weight": weight * scale[:, None, None, None], "bias": state[f"{norm}.bias"] - mean * scale})
    return layer if stride == 1 else nn.Sequential(_SamePadding(kernel), layer)
