"""Keys and values of prompts that were answered, for prompts that begin alike.

The next turn of a conversation repeats all that was said before, and every prompt begins with the same instructions:
what was computed for it once need not be computed again. Beginnings are compared by their embeddings, bit by bit, so
pictures count as much as words, and nobody has to name a conversation.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import torch
from torch import Tensor

#: Shorter beginnings are not worth the copying.
SHORTEST_PREFIX = 8


@dataclass(frozen=True, slots=True, eq=False)
class CachedPrefix:
    """``embeddings``: (t, hidden). ``memory``: of the prompt. ``cache``: (layers, 2, heads, t, head_dim)."""

    embeddings: Tensor
    memory: Tensor | None
    cache: Tensor

    @property
    def size_bytes(self) -> int:
        return self.embeddings.nbytes + self.cache.nbytes + (0 if self.memory is None else self.memory.nbytes)

    def shared_with(self, embeddings: Tensor, memory: Tensor | None) -> int:
        """How many tokens are the same from the beginning."""
        if (self.memory is None) != (memory is None):
            return 0
        if memory is not None and self.memory is not None and not torch.equal(self.memory, memory):
            return 0
        n = min(len(self.embeddings), len(embeddings))
        same = (self.embeddings[:n] == embeddings[:n]).all(dim=1)
        return int(same.long().cumprod(0).sum())


class PrefixCache:
    """The prefixes used last, within ``max_bytes``. For one thread."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._prefixes: OrderedDict[int, CachedPrefix] = OrderedDict()
        self._next = 0
        self.size_bytes = 0

    def __len__(self) -> int:
        return len(self._prefixes)

    def find(self, embeddings: Tensor, memory: Tensor | None) -> Tensor | None:
        """Keys and values of the longest known beginning, not of the whole: the last token has to be computed.

        A view of what is kept: copy it before the next call of :meth:`keep`.
        """
        best, longest = None, SHORTEST_PREFIX - 1
        for number, prefix in self._prefixes.items():
            shared = min(prefix.shared_with(embeddings, memory), len(embeddings) - 1)
            if shared > longest:
                best, longest = number, shared
        if best is None:
            return None
        self._prefixes.move_to_end(best)
        return self._prefixes[best].cache[..., :longest, :]

    def keep(self, prefix: CachedPrefix) -> None:
        """Remember ``prefix``, and forget those that it continues, then those that were not used for longest."""
        if prefix.size_bytes > self._max_bytes:
            return
        for number, old in list(self._prefixes.items()):
            if old.shared_with(prefix.embeddings, prefix.memory) == len(old.embeddings):
                self._forget(number)
        self._prefixes[self._next] = prefix
        self._next += 1
        self.size_bytes += prefix.size_bytes
        while self.size_bytes > self._max_bytes:
            self._forget(next(iter(self._prefixes)))

    def clear(self) -> None:
        self._prefixes.clear()
        self.size_bytes = 0

    def _forget(self, number: int) -> None:
        self.size_bytes -= self._prefixes.pop(number).size_bytes
