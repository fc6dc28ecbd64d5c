"""Keys and values of the sequences that are being answered.

A prompt is read into a :class:`PromptCache` of its own. When it has been read, its sequence moves to a
:class:`KVBlock`, where sequences of one capacity stand side by side, so that one call of attention serves all of them.
Within a block they are padded to the longest; a sequence asks for room for its prompt and its longest answer,
capacities are powers of two, so a long answer is not in one block with the short ones, and these do not pay for it.

Every sequence begins at position 0 of its slot: what stands behind its length is masked, and overwritten by its next
tokens. Nothing need be moved when sequences of different lengths meet, which left padding would demand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

#: The smallest capacity of a slot, tokens.
SMALLEST_CAPACITY = 128


@dataclass(frozen=True, slots=True)
class CacheShape:
    """What one token's keys and values take in all layers."""

    layers: int
    heads: int  # of keys and values
    head_dim: int
    dtype: torch.dtype
    device: torch.device

    @classmethod
    def of(cls, model: Any) -> CacheShape:
        config = model.config
        head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        return cls(config.num_hidden_layers, config.num_key_value_heads, head_dim, model.dtype, model.device)

    @property
    def compiles_for_sizes(self) -> bool:
        """Whether a matrix product is compiled for the number of its rows, and kept: as oneDNN does in bfloat16."""
        return self.device.type == "cpu" and self.dtype is not torch.float32

    @property
    def token_bytes(self) -> int:
        return 2 * self.layers * self.heads * self.head_dim * self.dtype.itemsize

    def zeros(self, tokens: int, slots: int | None = None) -> Tensor:
        """Room for keys [0] and values [1] of each layer: (layers, 2, slots, heads, tokens, head_dim).

        Zeros, because what is masked is still multiplied by zero: a NaN left in memory would get through.
        """
        sequences = () if slots is None else (slots,)
        size = (self.layers, 2, *sequences, self.heads, tokens, self.head_dim)
        return torch.zeros(size, dtype=self.dtype, device=self.device)


class PromptCache:
    """Keys and values of one prompt, as far as it has been read. ``data``: (layers, 2, heads, capacity, head_dim)."""

    def __init__(self, shape: CacheShape, capacity: int, known: Tensor | None = None) -> None:
        """``known``: keys and values of a beginning that was read before, copied."""
        self.data = shape.zeros(capacity)
        self.length = 0
        if known is not None:
            self.length = known.shape[-2]
            self.data[..., : self.length, :] = known

    @property
    def filled(self) -> Tensor:
        return self.data[..., : self.length, :]


@dataclass(slots=True, eq=False)
class Slot:
    """The place of one sequence in a block."""

    block: KVBlock
    index: int
    length: int  # tokens whose keys and values are there

    @property
    def filled(self) -> Tensor:
        """(layers, 2, heads, length, head_dim), a view that the next change of the block may make wrong."""
        return self.block.data[:, :, self.index, :, : self.length]


class KVBlock:
    """Sequences of one capacity. The first ``len(slots)`` places of ``data`` are taken, without gaps.

    ``data``: (layers, 2, places, heads, capacity, head_dim).
    """

    def __init__(self, shape: CacheShape, capacity: int) -> None:
        self._shape = shape
        self.capacity = capacity
        self.data = shape.zeros(capacity, slots=1)
        self.slots: list[Slot] = []

    def add(self, filled: Tensor) -> Slot:
        places = self.data.shape[2]
        if len(self.slots) == places:
            self._resize(2 * places)
        slot = Slot(self, len(self.slots), filled.shape[-2])
        self.data[:, :, slot.index, :, : slot.length] = filled
        self.slots.append(slot)
        return slot

    def remove(self, slot: Slot) -> None:
        """The last sequence takes the place that becomes free."""
        last = self.slots.pop()
        if last is not slot:
            self.data[:, :, slot.index, :, : last.length] = last.filled
            last.index = slot.index
            self.slots[slot.index] = last
        if self.slots and 4 * len(self.slots) <= self.data.shape[2]:
            self._resize(2 * len(self.slots))

    def _resize(self, places: int) -> None:
        data, used = self._shape.zeros(self.capacity, slots=places), len(self.slots)
        longest = max(slot.length for slot in self.slots)
        data[:, :, :used, :, :longest] = self.data[:, :, :used, :, :longest]
        self.data = data


class KVBlockPool:
    """The blocks of an engine. A block that empties is given back, so that an idle engine holds no memory."""

    def __init__(self, shape: CacheShape) -> None:
        self.shape = shape
        self._blocks: dict[int, KVBlock] = {}

    def add(self, prompt: PromptCache, total_tokens: int) -> Slot:
        """A slot for a sequence that grows to ``total_tokens`` at most, filled with what ``prompt`` holds."""
        capacity = capacity_for(total_tokens)
        if capacity not in self._blocks:
            self._blocks[capacity] = KVBlock(self.shape, capacity)
        return self._blocks[capacity].add(prompt.filled)

    def remove(self, slot: Slot) -> None:
        slot.block.remove(slot)
        if not slot.block.slots:
            del self._blocks[slot.block.capacity]

    def clear(self) -> None:
        self._blocks.clear()

    def __iter__(self) -> Iterator[KVBlock]:
        return iter(self._blocks.values())


def capacity_for(tokens: int) -> int:
    """The room that a sequence of so many tokens is given: a power of two."""
    return max(SMALLEST_CAPACITY, 1 << (tokens - 1).bit_length())
