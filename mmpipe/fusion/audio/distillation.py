"""Training of an audio projector: the language model is to go on from the sound as it goes on from the text.

The teacher reads a question as text and answers; the student, the same frozen language model, hears the projected
sound in the text's place and is shown the same answer. The loss is the Kullback-Leibler divergence of the student's
next tokens from the teacher's, over the answer. No transcript and no alignment is needed (Ultravox;
https://github.com/fixie-ai/ultravox).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from mmpipe.errors import InputError
from mmpipe.fusion.audio.projector import AudioProjector
from mmpipe.fusion.training.trainer import Trainer
from mmpipe.generation.chat import Message, render

if TYPE_CHECKING:
    from mmpipe.generation.language_model import LanguageModel


@dataclass(frozen=True, slots=True, eq=False)
class Taught:
    """What the teacher answered. ``token_ids``: int64 (n,). ``hidden``: (n, hidden), the last hidden states, from which
    each of the tokens was chosen: the language model's head makes its distribution of them again."""

    token_ids: Tensor
    hidden: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Spoken:
    """A recording of a question. ``stacked``: (m, stack * frame_size), any float; ``taught``: about its text."""

    stacked: Tensor
    taught: Taught


@dataclass(frozen=True, slots=True, eq=False)
class SpokenBatch:
    """b rows of t tokens, padded on the right.

    ``ids``: (b, t). ``placeholders``: bool (b, t). ``targets``: (b, t), the token to come where it is the answer's,
    else -100. ``stacked``: those of all rows, one behind another; ``hidden``: of all targets.
    """

    ids: Tensor
    placeholders: Tensor
    targets: Tensor
    stacked: Tensor
    hidden: Tensor

    def to(self, device: Any) -> SpokenBatch:
        return SpokenBatch(*(getattr(self, name).to(device) for name in self.__slots__))


class SpokenPacker:
    """Makes a batch of recordings, each in a turn of the user's, with the answer behind it."""

    def __init__(self, language_model: LanguageModel) -> None:
        self.lm = language_model

    def __call__(self, items: Sequence[Spoken]) -> SpokenBatch:
        ids, placeholders, targets = [], [], []
        for item in items:
            prompt = spoken_prompt(self.lm, len(item.stacked))
            answer = item.taught.token_ids
            row = torch.cat([torch.tensor(prompt), answer[:-1]])
            ids.append(row)
            placeholders.append((row == self.lm.placeholder_id) & (torch.arange(len(row)) < len(prompt)))
            targets.append(torch.cat([torch.full((len(prompt) - 1,), -100), answer]))
        return SpokenBatch(
            pad_sequence(ids, batch_first=True),
            pad_sequence(placeholders, batch_first=True),
            pad_sequence(targets, batch_first=True, padding_value=-100),
            torch.cat([item.stacked for item in items]).float(),
            torch.cat([item.taught.hidden for item in items]),
        )


def spoken_prompt(language_model: LanguageModel, embeddings: int) -> tuple[int, ...]:
    """The token ids of a question that is only heard, with so many placeholders for it."""
    return render(language_model, [Message("user", (None,))], embeddings).token_ids


class Distillation(nn.Module):
    """Projector and language model as one module, from a batch to the divergence."""

    def __init__(self, language_model: LanguageModel, projector: AudioProjector) -> None:
        super().__init__()
        self.model, self.strategy = language_model.model, projector

    def forward(self, batch: SpokenBatch) -> tuple[Tensor, Tensor, Tensor]:
        """KL(teacher || student) in nats, summed over answer tokens; which tokens of the batch those are, bool (b, t);
        and which of them the student, too, finds the likeliest."""
        embeds = self.model.get_input_embeddings()(batch.ids)
        embeds = embeds.masked_scatter(batch.placeholders.unsqueeze(-1), self.strategy(batch.stacked).to(embeds))
        # Padding stands on the right, where a causal model's real tokens never look.
        hidden = self.model.model(inputs_embeds=embeds, use_cache=False).last_hidden_state
        wanted = batch.targets != -100
        student = self.model.lm_head(hidden[wanted]).float()
        with torch.no_grad():
            teacher = self.model.lm_head(batch.hidden.to(hidden)).float().log_softmax(-1)
        divergence = nn.functional.kl_div(student.log_softmax(-1), teacher, reduction="sum", log_target=True)
        same = student.argmax(-1) == batch.targets[wanted]
        return divergence, wanted, wanted.clone().masked_scatter(wanted, same)


class Distiller(Trainer):
    """Trains an :class:`AudioProjector`, given as ``strategy``, on recordings. The loss in its log is the divergence
    per token; ``exact`` says of each recording whether the whole answer is the text's."""

    def _pieces(self) -> tuple[Callable[[Sequence[Any]], Any], nn.Module]:
        assert isinstance(self.strategy, AudioProjector)
        return SpokenPacker(self.lm), Distillation(self.lm, self.strategy)

    def _right_items(self, packs: Sequence[Any], batch: SpokenBatch, wrong: Tensor) -> list[bool]:
        return [not any_wrong for any_wrong in wrong.any(1).tolist()]


class Recordings:
    """A recipe: each pass over the recordings in a new order; ``held_out`` ones judge.

    Raises:
        InputError: nothing to train on, or nothing held out.
    """

    def __init__(self, items: Sequence[Spoken], held_out: Sequence[Spoken], seed: int) -> None:
        if not items or not held_out:
            raise InputError(
                f"There are {len(items)} recordings to train on and {len(held_out)} held out: both are needed. "
                "Take more questions or voices."
            )
        self._items, self._held, self._seed = items, held_out, seed

    def batch(self, step: int, pictures: int) -> list[Spoken]:
        chosen = []
        for at in range(step * pictures, (step + 1) * pictures):
            epoch, place = divmod(at, len(self._items))
            order = Random(f"{self._seed}/{epoch}").sample(range(len(self._items)), len(self._items))  # noqa: S311
            chosen.append(self._items[order[place]])
        return chosen

    def validation(self) -> Sequence[Spoken]:
        return self._held


@torch.no_grad()
def teach(
    language_model: LanguageModel, texts: Sequence[str], max_tokens: int, batch_texts: int = 48
) -> dict[str, Taught]:
    """The teacher's greedy answers, up to ``max_tokens`` each, its end included: text -> answer, in the order of
    ``texts``.

    Batches are of prompts with equally many tokens: nothing is padded.
    """
    prompts = {text: render(language_model, [Message("user", text)]).token_ids for text in dict.fromkeys(texts)}
    by_length: dict[int, list[str]] = {}
    for text, ids in prompts.items():
        by_length.setdefault(len(ids), []).append(text)
    found: dict[str, Taught] = {}
    for some in by_length.values():
        for start in range(0, len(some), batch_texts):
            part = some[start : start + batch_texts]
            rows = torch.tensor([prompts[text] for text in part], device=language_model.device)
            found |= dict(zip(part, _greedy(language_model, rows, max_tokens), strict=True))
    return {text: found[text] for text in prompts}


def _greedy(language_model: LanguageModel, ids: Tensor, max_tokens: int) -> list[Taught]:
    model, chosen, states, cache = language_model.model, [], [], None
    for _ in range(max_tokens):
        out = model.model(input_ids=ids, past_key_values=cache, use_cache=True)
        cache, state = out.past_key_values, out.last_hidden_state[:, -1]
        ids = model.lm_head(state).argmax(-1, keepdim=True)
        chosen.append(ids)
        states.append(state)
        if (torch.cat(chosen, 1) == language_model.turn_end_id).any(1).all():
            break
    tokens, hidden = torch.cat(chosen, 1).cpu(), torch.stack(states, 1).cpu()
    ended = tokens == language_model.turn_end_id
    lengths = torch.where(ended.any(1), ended.int().argmax(1) + 1, tokens.shape[1]).tolist()
    return [Taught(row[:n].clone(), state[:n].clone()) for row, state, n in zip(tokens, hidden, lengths, strict=True)]
