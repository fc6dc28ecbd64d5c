"""Many questions about the same pictures in one sequence, each as if it were alone.

What comes before the question is the same for all of them, so it is computed once: the row is the prefix and the
questions with their answers behind each other. An attention mask lets each see the prefix and itself, and positions
begin anew after the prefix. The loss is to the last bit that of separate rows, at under half of the tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mmpipe.fusion.strategies.base import FeatureBatch
from mmpipe.generation.chat import Message, RenderedChat, render

if TYPE_CHECKING:
    from mmpipe.generation.language_model import LanguageModel


@dataclass(frozen=True, slots=True)
class Turn:
    """What was said before: so many ``pictures`` were shown with a question, and it was answered."""

    pictures: int
    question: str
    answer: str


@dataclass(frozen=True, slots=True, eq=False)
class Pack:
    """Pictures, mostly one, and questions about them with their answers.

    ``history``: turns before them. The pictures that were not shown in those are shown with the questions."""

    features: FeatureBatch
    pairs: Sequence[tuple[str, str]]
    history: Sequence[Turn] = ()


@dataclass(frozen=True, slots=True)
class PackedBatch:
    """b rows of t tokens, padded on the right. ``features``: of all pictures, row by row.

    ``ids``: (b, t). ``positions``: (b, t). ``attention``: bool (b, 1, t, t), True where attended. ``blocks``: (b, t),
    the number of the question that a token belongs to, from 1; 0 the prefix, -1 padding. ``placeholders``, ``prompt``:
    bool (b, t). ``targets``: (b, t), the token to come where it is an answer's, else -100.
    """

    features: FeatureBatch
    ids: Tensor
    positions: Tensor
    attention: Tensor
    blocks: Tensor
    placeholders: Tensor
    prompt: Tensor
    targets: Tensor

    def to(self, device: Any) -> PackedBatch:
        return PackedBatch(*(getattr(self, name).to(device) for name in self.__slots__))


class Packer:
    """Makes rows of :class:`Pack`, with ``n_tokens`` placeholders for a picture."""

    def __init__(self, language_model: LanguageModel, n_tokens: int) -> None:
        self.lm, self.n_tokens = language_model, n_tokens

    def prefix(self, pictures: int = 1, history: Sequence[Turn] = ()) -> list[int]:
        """What stands before a question: ``history``, and then so many pictures."""
        ids = self._chat("?", pictures, history).token_ids
        return list(ids[: len(ids) - len(self.question("?"))])

    def question(self, question: str) -> list[int]:
        """What follows the prefix in a prompt of one question: the answer comes next."""
        chat = self._chat(question, 1)
        return list(chat.token_ids[chat.media[0].stop :])

    def _chat(self, question: str, pictures: int, history: Sequence[Turn] = ()) -> RenderedChat:
        messages = []
        for turn in history:
            messages.append(Message("user", (*[None] * turn.pictures, turn.question)))
            messages.append(Message("assistant", turn.answer))
        return render(self.lm, [*messages, Message("user", (*[None] * pictures, question))], self.n_tokens)

    def __call__(self, packs: Sequence[Pack]) -> PackedBatch:
        rows = [self._row(pack) for pack in packs]
        longest = max(len(ids) for ids, *_ in rows)
        size = (len(rows), longest)
        ids = torch.full(size, self.lm.turn_end_id)
        positions, targets = torch.zeros(size, dtype=torch.long), torch.full(size, -100)
        prompt = torch.zeros(size, dtype=torch.bool)
        block = torch.full(size, -1)
        for row, (tokens, places, blocks, goals, given) in enumerate(rows):
            n = len(tokens)
            ids[row, :n], positions[row, :n], block[row, :n] = (torch.tensor(x) for x in (tokens, places, blocks))
            targets[row, :n], prompt[row, :n] = torch.tensor(goals), torch.tensor(given)
        before = torch.ones(longest, longest).tril().bool()
        same = block[:, :, None] == block[:, None, :]
        attention = (before & (same | (block[:, None, :] == 0))).unsqueeze(1)
        features = FeatureBatch(
            *(torch.cat([getattr(pack.features, part) for pack in packs]) for part in ("pooled", "spatial", "logits"))
        )
        return PackedBatch(features, ids, positions, attention, block, ids == self.lm.placeholder_id, prompt, targets)

    def _row(self, pack: Pack) -> tuple[list[int], list[int], list[int], list[int], list[bool]]:
        shown = sum(turn.pictures for turn in pack.history)
        ids = self.prefix(len(pack.features) - shown, pack.history)
        start = len(ids)
        positions, blocks = list(range(start)), [0] * start
        targets, given = [-100] * start, [True] * start
        for number, (question, answer) in enumerate(pack.pairs, start=1):
            asked = self.question(question)
            said = [*self.lm.encode(answer), self.lm.turn_end_id]
            tokens = asked + said[:-1]  # nothing is learned behind the last
            ids += tokens
            positions += range(start, start + len(tokens))
            blocks += [number] * len(tokens)
            targets += [-100] * (len(asked) - 1) + said
            given += [True] * len(asked) + [False] * (len(said) - 1)
        return ids, positions, blocks, targets, given
