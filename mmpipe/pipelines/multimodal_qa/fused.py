"""An image encoder and a language model as one: what makes a prompt of messages and features of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch

from mmpipe.fusion import checkpoint
from mmpipe.fusion.splicing import check_count
from mmpipe.fusion.strategies import FeatureBatch, Strategy
from mmpipe.generation.chat import Message, RenderedChat, render
from mmpipe.generation.language_model import DType, LanguageModel
from mmpipe.generation.options import Attending
from mmpipe.generation.requests import Prompt
from mmpipe.stage import ImageEncoder
from mmpipe.types import ImageFeatures
from mmpipe.vision.efficientnet import EfficientNetLite


def fast_dtype(device: str = "cpu") -> DType:
    """bfloat16 where ``device`` multiplies in it, which is three times as fast; else float32."""
    if torch.device(device).type == "cpu":
        # There is no public question for it. Where it is only emulated, it is slower than float32.
        native = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
        return "bfloat16" if native is not None and native() else "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float32"


@dataclass(frozen=True, slots=True, eq=False)
class FusedModel:
    """What was trained together. ``strategy``: in eval mode, on the device of the language model."""

    language_model: LanguageModel
    strategy: Strategy
    encoder: ImageEncoder

    @classmethod
    def load(
        cls,
        adapter: Path = checkpoint.DEFAULT_ADAPTER,
        *,
        language_model: str | Path = "smollm2-135m",
        encoder: ImageEncoder | None = None,
        dtype: DType | None = None,
        device: str = "cpu",
    ) -> Self:
        """The adapter in a folder, on what it was trained for. ``encoder``: if it is not EfficientNet-Lite2.

        ``dtype``: of the language model; None: :func:`fast_dtype`. Only in float32 does an answer not depend on what
        else is answered at the same time.

        Raises:
            WeightsError: something of it cannot be had, or does not fit the rest.
        """
        encoder = encoder or EfficientNetLite(device=device)
        loaded = LanguageModel.load(language_model, dtype=dtype or fast_dtype(device), device=device)
        return cls(loaded, checkpoint.load(adapter, loaded, encoder.identity), encoder)

    @property
    def attending(self) -> Attending | None:
        """What the generation engine needs, where the strategy looks at pictures from inside the language model."""
        return None if type(self.strategy).attending is Strategy.attending else self.strategy.attending

    def render(self, messages: Sequence[Message]) -> RenderedChat:
        """Token ids, with as many placeholders for each picture as it takes. No picture is looked at for that.

        Raises: as :func:`mmpipe.generation.chat.render`.
        """
        return render(self.language_model, messages, self.strategy.n_tokens)

    def prompt(self, chat: RenderedChat, features: Sequence[ImageFeatures]) -> Prompt:
        """``chat`` with ``features``, one for each of its pictures, in the places of the placeholders.

        Raises:
            InputError: there are not as many.
        """
        lm, strategy = self.language_model, self.strategy
        ids = torch.tensor(chat.token_ids, device=lm.device)
        placeholders = ids == lm.placeholder_id
        check_count(int(placeholders.sum()), strategy.n_tokens * len(features))
        with torch.inference_mode():
            # One by one: rounding depends on the batch, and equal pictures must give equal prompts, bit by bit, for
            # what was computed for one of them to be found again.
            encoded = torch.cat([strategy(FeatureBatch.of([each], lm.device)) for each in features])
            given = torch.ones_like(placeholders)
            embeddings = strategy.place(lm.embed(ids)[None], placeholders[None], given[None], encoded)[0]
        return Prompt(embeddings=embeddings, memory=encoded if self.attending else None)
