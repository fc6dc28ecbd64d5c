"""Soft words: a classifier's probabilities, as words of the language model.

Each class has ``slots`` embeddings, at the start those of the words of its kind and name ("dog", "bea", "gle"). A
picture becomes those of its likeliest classes, one after the other, and their mean weighted by the class probabilities
(what else it may be); with them go learned tokens that carry how sure the classifier is of each. A language model of
135 million parameters reads this at once, where it needs millions of pictures to learn to read pooled features.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from mmpipe.errors import InputError
from mmpipe.fusion.strategies.base import FeatureBatch, Shapes, Strategy

if TYPE_CHECKING:
    from mmpipe.generation.language_model import LanguageModel


class SoftWords(Strategy):
    """``ranks``: of so many of the likeliest classes the words are given. ``temperatures``: inverse; each gives the
    mean of the words of all classes by their probabilities. ``learned``: tokens besides."""

    name = "soft_words"
    norm: Tensor  # of the language model's embeddings, their mean

    def __init__(
        self,
        shapes: Shapes,
        *,
        slots: int = 5,
        ranks: int = 3,
        temperatures: Sequence[float] = (1.3,),
        learned: int = 2,
    ) -> None:
        super().__init__(shapes)
        if not shapes.labels:
            raise InputError("soft_words wants an encoder that classifies; this one has no labels. Use prefix.")
        self.slots, self.ranks, self.temperatures, self.learned = slots, ranks, tuple(temperatures), learned
        self.n_tokens = slots * (ranks + len(self.temperatures)) + learned
        self.table = nn.Parameter(torch.randn(shapes.labels, slots, shapes.hidden_size))
        self.tokens = nn.Parameter(0.1 * torch.randn(learned, shapes.hidden_size))
        self.told = max(2, ranks)  # classes of which it is told how sure they are
        self.sureness = nn.Linear(2 * self.told, learned * shapes.hidden_size)
        nn.init.zeros_(self.sureness.bias)
        nn.init.normal_(self.sureness.weight, std=0.02)
        self.register_buffer("norm", torch.tensor(1.0))

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "slots": self.slots,
            "ranks": self.ranks,
            "temperatures": list(self.temperatures),
            "learned": self.learned,
        }

    def start_from(self, language_model: LanguageModel, subjects: Sequence[Any]) -> None:
        """``subjects``: with ``name`` and ``kinds``, one for each label."""
        with torch.no_grad():
            for row, subject in zip(self.table, subjects, strict=True):
                kind = language_model.encode(" " + (subject.kinds[0] if subject.kinds else subject.name))
                row[0] = language_model.embed(kind).float().mean(0)
                words = language_model.embed(language_model.encode(" " + subject.name)).float()
                for slot, chunk in enumerate(_chunks(len(words), self.slots - 1), start=1):
                    row[slot] = words[chunk].mean(0)
            norm = language_model.model.get_input_embeddings().weight.float().norm(dim=1).mean()
            self.norm.copy_(norm)
            self.tokens.mul_(norm / self.tokens.norm(dim=1, keepdim=True))
            self.sureness.weight.mul_(norm)

    def forward(self, features: FeatureBatch) -> Tensor:
        """(n, n_tokens, hidden_size), float32."""
        with torch.autocast(features.logits.device.type, enabled=False):
            logits = features.logits.float()
            best = self.table[logits.topk(self.ranks).indices].flatten(1, 2)
            mixed = [self._mixed((scale * logits).softmax(-1)) for scale in self.temperatures]
            words = self.norm * nn.functional.normalize(torch.cat([best, *mixed], 1), dim=-1)
            sure: Tensor = self.sureness(self._sureness(logits)).view(len(logits), self.learned, -1)
            return torch.cat([words, self.tokens + sure], 1)

    def _mixed(self, probabilities: Tensor) -> Tensor:
        return torch.einsum("nk,ksw->nsw", probabilities, self.table)

    def _sureness(self, logits: Tensor) -> Tensor:
        """How sure the classifier is, (n, 2 told): the highest probabilities, the logs of how far they lie below the
        first, the entropy."""
        probabilities = (1.3 * logits).softmax(-1)
        best = probabilities.topk(self.told).values.clamp_min(1e-6)
        entropy = -(probabilities * probabilities.clamp_min(1e-9).log()).sum(-1, keepdim=True)
        return torch.cat([best, (best[:, :1] / best[:, 1:]).log() / 5, entropy / 5], -1)


def _chunks(tokens: int, slots: int) -> list[slice]:
    """Each of ``slots`` gets its share of the tokens, in order; where there are fewer tokens, the last is repeated."""
    if tokens <= slots:
        return [slice(min(slot, tokens - 1), min(slot, tokens - 1) + 1) for slot in range(slots)]
    edges = [round(slot * tokens / slots) for slot in range(slots + 1)]
    return [slice(start, end) for start, end in pairwise(edges)]
