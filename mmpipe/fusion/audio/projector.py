"""Frames of a speech encoder to embeddings of a language model, as Ultravox does it.

Eight frames side by side, RMSNorm, a SwiGLU layer, RMSNorm (https://github.com/fixie-ai/ultravox, MIT; the stacking is
that of Ma et al. 2024, "An Embarrassingly Simple Approach for LLM with Strong ASR Capacity", arXiv:2402.08846). Fifty
frames a second become six or seven embeddings, about twice as many as the text has tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from mmpipe.errors import InputError

if TYPE_CHECKING:
    from mmpipe.generation.language_model import LanguageModel


@dataclass(frozen=True, slots=True)
class ProjectorShape:
    """``frame_size``: numbers in a frame of the encoder. ``hidden_size``: in an embedding of the language model.
    ``stack``: frames in one embedding. ``hidden``: numbers between the two layers.

    Raises:
        InputError: one of them is not positive.
    """

    frame_size: int
    hidden_size: int
    stack: int = 8
    hidden: int = 1024

    def __post_init__(self) -> None:
        for item in fields(self):
            if getattr(self, item.name) < 1:
                raise InputError(f"{item.name} of an audio projector is {getattr(self, item.name)}; at least 1.")

    @property
    def stacked_size(self) -> int:
        return self.stack * self.frame_size


class AudioProjector(nn.Module):
    """Stacked frames (..., stack * frame_size) to embeddings (..., hidden)."""

    def __init__(self, shape: ProjectorShape) -> None:
        super().__init__()
        self.shape = shape
        self.norm = nn.RMSNorm(shape.stacked_size)
        self.up = nn.Linear(shape.stacked_size, 2 * shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.hidden_size, bias=False)
        self.out_norm = nn.RMSNorm(shape.hidden_size)

    def start_from(self, language_model: LanguageModel) -> None:
        """Give the embeddings the size that those of words have: others drown the prompt, or drown in it."""
        with torch.no_grad():
            words = language_model.model.get_input_embeddings().weight.float()
            self.out_norm.weight.fill_(float(words.square().mean().sqrt()))

    def forward(self, stacked: Tensor) -> Tensor:
        gate, value = self.up(self.norm(stacked)).chunk(2, dim=-1)
        projected: Tensor = self.out_norm(self.down(nn.functional.silu(gate) * value).float())
        return projected

    def embed(self, frames: Tensor) -> Tensor:
        """The embeddings (m, hidden) of one sound, from its frames (n, frame_size); m = ceil(n / stack).

        Raises:
            InputError: no frames, or of another encoder.
        """
        if frames.ndim != 2 or frames.shape[1] != self.shape.frame_size or not len(frames):
            raise InputError(
                f"The audio projector takes frames of shape (n, {self.shape.frame_size}), not {tuple(frames.shape)}. "
                "Use the encoder that it was trained with."
            )
        weight = self.up.weight
        with torch.inference_mode():
            return self.forward(stack_frames(frames, self.shape.stack).to(weight.device, weight.dtype))


def stack_frames(frames: Tensor, stack: int) -> Tensor:
    """(n, c) to (ceil(n / stack), stack * c): so many frames side by side; zeros fill up the last row."""
    count, size = frames.shape
    rows = -(-count // stack)
    return nn.functional.pad(frames, (0, 0, 0, rows * stack - count)).reshape(rows, stack * size)
