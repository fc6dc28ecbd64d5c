"""What a fusion strategy is: a module that turns features of pictures into embeddings of a language model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from mmpipe.types import ImageFeatures

if TYPE_CHECKING:
    from mmpipe.generation.language_model import LanguageModel


@dataclass(frozen=True, slots=True)
class Shapes:
    """What a strategy stands between."""

    channels: int  # of the pooled features
    spatial: tuple[int, int, int]  # channels, height, width
    labels: int  # of the encoder's classifier; 0 where it has none
    hidden_size: int  # of the language model's embeddings

    @classmethod
    def between(cls, features: ImageFeatures, hidden_size: int) -> Shapes:
        channels, height, across = features.spatial.shape
        return cls(len(features.pooled), (channels, height, across), len(features.logits), hidden_size)


@dataclass(frozen=True, slots=True)
class FeatureBatch:
    """Features of n pictures: ``pooled`` (n, c), ``spatial`` (n, d, h, w), ``logits`` (n, k); float32."""

    pooled: Tensor
    spatial: Tensor
    logits: Tensor

    @classmethod
    def of(cls, features: Sequence[ImageFeatures], device: Any = "cpu") -> FeatureBatch:
        return cls(
            *(
                torch.from_numpy(np.stack([getattr(each, part) for each in features])).to(device)
                for part in ("pooled", "spatial", "logits")
            )
        )

    def to(self, device: Any) -> FeatureBatch:
        return FeatureBatch(self.pooled.to(device), self.spatial.to(device), self.logits.to(device))

    def __len__(self) -> int:
        return len(self.pooled)


class Strategy(nn.Module, ABC):
    """How pictures get into the language model.

    Subclass it, set ``name``, take ``shapes`` and keyword settings in the constructor (JSON values: they are kept in
    the checkpoint), and write ``forward``. ``n_tokens`` placeholders stand in the prompt for each picture.
    """

    name: ClassVar[str]
    #: whether the language model must run inside :meth:`attending`
    attends: ClassVar[bool] = False
    n_tokens: int

    def __init__(self, shapes: Shapes) -> None:
        super().__init__()
        self.shapes = shapes

    @abstractmethod
    def forward(self, features: FeatureBatch) -> Tensor:
        """Embeddings (n, m, hidden) of n pictures; where they replace placeholders, m is ``n_tokens``."""

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The constructor's keyword arguments, JSON values."""

    def place(self, embeds: Tensor, placeholders: Tensor, prompt: Tensor, encoded: Tensor) -> Tensor:
        """Put what :meth:`forward` gave into a batch of prompts: over the placeholders, unless overridden.

        ``embeds``: (b, t, hidden), of the tokens. ``placeholders``: bool (b, t). ``prompt``: bool (b, t), True where
        a token was given and not generated. ``encoded``: (n, m, hidden), the pictures in the order of their
        placeholders, row by row.
        """
        rows = encoded.reshape(-1, encoded.shape[-1]).to(embeds.dtype)
        return embeds.masked_scatter(placeholders.unsqueeze(-1), rows)

    def start_from(self, language_model: LanguageModel, subjects: Sequence[Any]) -> None:
        """Take starting values from the language model, before training; ``subjects``: what each logit stands for."""

    @contextmanager
    def attending(self, memory: Tensor, sees: Tensor) -> Iterator[None]:
        """The language model runs inside this. ``memory``: (n, m, hidden), what :meth:`forward` gave for all pictures
        of the batch. ``sees``: bool (b, t, n), which token of which row sees which picture."""
        yield

    def attach(self, model: nn.Module) -> None:
        """Insert what the strategy needs inside the language model. Called once, before training or use."""


def mlp(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """LLaVA 1.5's projector: two layers with a GELU between them."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.GELU(), nn.Linear(hidden, outputs))
