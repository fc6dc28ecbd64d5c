"""Embeddings of pictures and sounds put over their placeholders in a prompt.

As LLaVA, SmolVLM and Qwen-VL do it: a mask says where the placeholders are, and the projected embeddings are scattered
over it in order. A mask survives padding on the left, which positions would not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmpipe.errors import InputError


def splice(embeddings: Tensor, placeholders: Tensor, media: Sequence[Sequence[Tensor]]) -> Tensor:
    """Put ``media`` over the placeholders.

    ``embeddings``: (b, t, hidden), of token ids. ``placeholders``: bool (b, t). ``media``: for each row its pictures
    and sounds in order, each (n, hidden). Gives (b, t, hidden) in the dtype of ``embeddings``; gradients flow into
    both.

    Raises:
        InputError: a row has more or fewer placeholders than embeddings for them, or of another size.
    """
    if len(media) != len(embeddings):
        raise InputError(f"There are {len(embeddings)} prompts, but media for {len(media)} of them.")
    counts = placeholders.sum(dim=1).tolist()
    for row, (count, items) in enumerate(zip(counts, media, strict=True)):
        check_count(count, sum(len(item) for item in items), f"prompt {row + 1} of {len(media)}")
    flat = [item for items in media for item in items]
    if not flat:
        return embeddings
    sizes = {item.shape[1] for item in flat} - {embeddings.shape[2]}
    if sizes:
        raise InputError(
            f"Embeddings of pictures have size {sizes.pop()}; the language model takes {embeddings.shape[2]}. Use "
            "the adapter that was trained for it."
        )
    source = torch.cat(flat).to(embeddings)
    return embeddings.masked_scatter(placeholders.unsqueeze(-1), source)


def check_count(placeholders: int, embeddings: int, where: str = "the prompt") -> None:
    """Raises InputError, with both numbers, unless they are the same."""
    if placeholders != embeddings:
        raise InputError(
            f"In {where} stand {placeholders} placeholders for pictures and sounds, but there are {embeddings} "
            "embeddings to put there. Each picture needs as many placeholders as its encoder gives embeddings."
        )
