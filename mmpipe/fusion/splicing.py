"""Embeddings of pictures and sounds put over their placeholders in a prompt, and prompts put into one batch.

As LLaVA, SmolVLM and Qwen-VL do it: a mask says where the placeholders are, and the projected embeddings are scattered
over it in order. A mask survives padding on the left, which positions would not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from mmpipe.errors import InputError


@dataclass(frozen=True, slots=True)
class PaddedBatch:
    """Rows of different lengths, padded on the left, where a generated token follows directly on every row.

    ``embeddings``: (b, t, width), zeros where padded. ``attended``: bool (b, t), False where padded. ``positions``:
    int64 (b, t), from 0 in every row; 0 where padded.
    """

    embeddings: Tensor
    attended: Tensor
    positions: Tensor


def splice(embeddings: Tensor, placeholders: Tensor, media: Sequence[Sequence[Tensor]]) -> Tensor:
    """Put ``media`` over the placeholders.

    ``embeddings``: (b, t, width), of token ids. ``placeholders``: bool (b, t). ``media``: for each row its pictures and
    sounds in order, each (n, width). Gives (b, t, width) in the dtype of ``embeddings``; gradients flow into both.

    Raises:
        InputError: a row has more or fewer placeholders than embeddings for them, or another width.
    """
    if len(media) != len(embeddings):
        raise InputError(f"There are {len(embeddings)} prompts, but media for {len(media)} of them.")
    counts = placeholders.sum(dim=1).tolist()
    for row, (count, items) in enumerate(zip(counts, media, strict=True)):
        check_count(count, sum(len(item) for item in items), f"prompt {row + 1} of {len(media)}")
    flat = [item for items in media for item in items]
    if not flat:
        return embeddings
    widths = {item.shape[1] for item in flat} - {embeddings.shape[2]}
    if widths:
        raise InputError(
            f"Embeddings of pictures have width {widths.pop()}; the language model takes {embeddings.shape[2]}. Use "
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


def pad_left(rows: Sequence[Tensor]) -> PaddedBatch:
    """One batch of ``rows``, (t, width) each."""
    longest = max(len(row) for row in rows)
    embeddings = rows[0].new_zeros(len(rows), longest, rows[0].shape[1])
    attended = torch.zeros(len(rows), longest, dtype=torch.bool, device=rows[0].device)
    for at, row in enumerate(rows):
        embeddings[at, longest - len(row) :] = row
        attended[at, longest - len(row) :] = True
    positions = (attended.cumsum(dim=1) - 1).clamp(min=0)
    return PaddedBatch(embeddings, attended, positions)
