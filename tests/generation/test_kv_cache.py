"""Room for keys and values: it grows with the rows, and goes with them."""

from __future__ import annotations

import torch

from mmpipe.generation.kv_cache import CacheShape, KVBlockPool, PromptCache
from mmpipe.generation.language_model import LanguageModel


def test_memory_of_rows_that_left_is_given_back() -> None:
    shape = CacheShape.of(LanguageModel.tiny().model)
    pool = KVBlockPool(shape)
    prompt = PromptCache(shape, 8)
    prompt.length = 3
    prompt.data.copy_(torch.randn(prompt.data.shape, generator=torch.Generator().manual_seed(0)))
    slots = [pool.add(prompt, 100) for _ in range(16)]
    for slot in slots[:-1]:
        pool.remove(slot)
    (block,) = pool
    assert block.data.shape[2] <= 4
    assert torch.equal(slots[-1].filled, prompt.filled)
