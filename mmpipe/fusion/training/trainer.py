"""The training loop: one strategy and low-rank matrices, on packed questions, with the language model frozen.

The batch of a step depends on the seed and the step alone, so a resumed run sees what the whole run would have seen.
"""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mmpipe.errors import InputError
from mmpipe.extras import require
from mmpipe.fusion.lora import Lora, add_lora, lora_state
from mmpipe.fusion.strategies.base import Strategy
from mmpipe.fusion.training.config import RunConfig
from mmpipe.fusion.training.packing import PackedBatch, Packer

if TYPE_CHECKING:
    from mmpipe.generation.language_model import LanguageModel

logger = logging.getLogger(__name__)


class Recipe(Protocol):
    """Where the pictures and questions come from: items such as :class:`~mmpipe.fusion.training.packing.Pack`."""

    def batch(self, step: int, pictures: int) -> Sequence[Any]:
        """What is trained on in ``step``: the same whenever it is asked for."""

    def validation(self) -> Sequence[Any]:
        """What is never trained on, a few hundred questions."""


class Fusion(nn.Module):
    """The strategy and the language model as one module, from packed rows to the loss."""

    def __init__(self, language_model: LanguageModel, strategy: Strategy) -> None:
        super().__init__()
        self.model, self.strategy = language_model.model, strategy

    def forward(self, batch: PackedBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Cross entropy summed over answer tokens; which tokens of the batch are an answer's, bool (b, t); and which
        of those are the likeliest where they stand."""
        embeds = self.model.get_input_embeddings()(batch.ids)
        encoded = self.strategy(batch.features)
        embeds = self.strategy.place(embeds, batch.placeholders, batch.prompt, encoded)
        bias = torch.zeros(batch.attention.shape, dtype=self.model.dtype, device=embeds.device)
        bias.masked_fill_(~batch.attention, torch.finfo(bias.dtype).min)
        rows = torch.arange(len(embeds), device=embeds.device)
        owner = rows.repeat_interleave(batch.placeholders.sum(1) // self.strategy.n_tokens)
        own = owner == rows[:, None]
        with self.strategy.attending(encoded, own[:, None, :].expand(-1, embeds.shape[1], -1)):
            hidden = self.model.model(
                inputs_embeds=embeds, attention_mask=bias, position_ids=batch.positions, use_cache=False
            ).last_hidden_state
        wanted = batch.targets != -100
        logits = self.model.lm_head(hidden[wanted]).float()
        targets = batch.targets[wanted]
        loss = nn.functional.cross_entropy(logits, targets, reduction="sum")
        return loss, wanted, wanted.clone().masked_scatter(wanted, logits.argmax(-1) == targets)


@dataclass
class Progress:
    """What a resumed run needs besides the weights."""

    step: int = 0
    best_loss: float = math.inf
    since_best: int = 0

    @property
    def told_loss(self) -> float | None:
        """The best validation loss; None before the first, as JSON has no infinity."""
        return round(self.best_loss, 4) if math.isfinite(self.best_loss) else None


class Trainer:
    """Trains ``strategy`` into ``language_model`` in place. ``out``: a folder for the log, the state and the result.

    Subclasses train something else than a strategy for pictures: see :meth:`_pieces` and :meth:`_right_items`.
    """

    def __init__(
        self, config: RunConfig, language_model: LanguageModel, strategy: nn.Module, recipe: Recipe, out: Path
    ) -> None:
        accelerate = require("accelerate", "train", "Training")
        opt = config.optimizer
        self.config, self.lm, self.strategy, self.recipe, self.out = config, language_model, strategy, recipe, out
        self.accelerator = accelerate.Accelerator(mixed_precision=opt.mixed_precision)
        language_model.model.requires_grad_(False)
        if config.lora.rank:
            torch.manual_seed(config.seed)
            add_lora(language_model.model, Lora(**config.lora.model_dump()))
        self.packer, fusion = self._pieces()
        if self.accelerator.device.type == "cpu":  # a third quicker than the fused kernel, whose backward is slow here
            language_model.model.set_attn_implementation("eager")
        self.trained = {name: value for name, value in fusion.named_parameters() if value.requires_grad}
        self.optimizer = torch.optim.AdamW(self._groups(), weight_decay=opt.weight_decay, betas=(0.9, 0.98))
        self.fusion, self.optimizer = self.accelerator.prepare(fusion, self.optimizer)
        self.progress = Progress()

    def _pieces(self) -> tuple[Callable[[Sequence[Any]], Any], nn.Module]:
        """What makes a batch of a recipe's items, and the module that judges it, as :class:`Fusion` does."""
        assert isinstance(self.strategy, Strategy)
        self.strategy.attach(self.lm.model)
        return Packer(self.lm, self.strategy.n_tokens), Fusion(self.lm, self.strategy)

    @property
    def is_main(self) -> bool:
        """Of several processes, the one that writes."""
        return bool(self.accelerator.is_main_process)

    def _groups(self) -> list[dict[str, Any]]:
        opt, groups = self.config.optimizer, dict[float, list[nn.Parameter]]()
        for name, value in self.trained.items():
            known = [part for part in opt.learning_rates if part in name]
            rate = opt.learning_rates[max(known, key=len)] if known else opt.learning_rate
            groups.setdefault(rate, []).append(value)
        return [{"params": values, "lr": rate, "base": rate} for rate, values in groups.items()]

    def run(self) -> None:
        """Train to the last step, or until the validation loss stops falling. KeyboardInterrupt keeps the state."""
        opt = self.config.optimizer
        self.out.mkdir(parents=True, exist_ok=True)
        try:
            with (self.out / "log.jsonl").open("a" if self.progress.step else "w", encoding="utf-8") as stream:
                for line in self._steps():
                    if self.is_main:
                        stream.write(json.dumps(line) + "\n")
                        stream.flush()
                    if self.progress.since_best >= opt.patience:
                        logger.info("stopped early at step %d", self.progress.step)
                        break
        finally:
            self._save_state()
        self.accelerator.wait_for_everyone()
        with suppress(FileNotFoundError):
            self._load(load_file(self.out / "best.safetensors"))

    def restore(self) -> None:
        """Take up the state in the folder, for :meth:`run` to go on from.

        Raises:
            InputError: there is none, or it is damaged or of another configuration.
        """
        path = self.out / "state.safetensors"
        if not path.exists():
            raise InputError(f"There is nothing to resume in {self.out}. Start without --resume.")
        try:
            with safe_open(path, "pt") as stream:
                kept = stream.metadata()
                tensors = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
            progress = Progress(int(kept["step"]), float(kept["best_loss"]), int(kept["since_best"]))
            with torch.no_grad():
                for name, value in self.trained.items():
                    value.copy_(tensors[f"weights.{name}"])
        except (SafetensorError, KeyError, TypeError, RuntimeError) as error:
            raise InputError(
                f"{path} is damaged, or of another configuration ({error}). Resume with the configuration that it was "
                "begun with, or start without --resume in another folder."
            ) from error
        for name, value in self.trained.items():
            parts = ("step", "exp_avg", "exp_avg_sq")
            if f"exp_avg.{name}" in tensors:
                self.optimizer.state[value] = {part: tensors[f"{part}.{name}"].to(value.device) for part in parts}
        self.progress = progress

    def _steps(self) -> Iterator[dict[str, Any]]:
        opt, progress = self.config.optimizer, self.progress
        started, rank, ranks = time.monotonic(), self.accelerator.process_index, self.accelerator.num_processes
        sums = torch.zeros(3)
        self.fusion.train()
        while progress.step < opt.steps:
            for group in self.optimizer.param_groups:
                group["lr"] = group["base"] * _scale(progress.step, opt.warmup_steps, opt.steps)
            batch = self.packer(self.recipe.batch(progress.step * ranks + rank, opt.batch_pictures))
            with self.accelerator.autocast():
                loss, wanted, right = self.fusion(batch.to(self.accelerator.device))
            self.accelerator.backward(loss / wanted.sum())
            norm = self.accelerator.clip_grad_norm_(list(self.trained.values()), opt.clip_norm)
            self.optimizer.step()
            self.optimizer.zero_grad()
            progress.step += 1
            sums += _sums(loss, wanted, right)
            evaluate = progress.step % opt.evaluate_every_steps == 0 or progress.step == opt.steps
            if progress.step % 25 == 0 or evaluate:
                line: dict[str, Any] = {
                    "step": progress.step,
                    "loss": round(float(sums[0] / sums[1]), 4),
                    "token_accuracy": round(float(sums[2] / sums[1]), 4),
                    "gradient_norm": round(float(norm), 3),
                    "elapsed_s": round(time.monotonic() - started, 1),
                }
                sums.zero_()
                if evaluate:
                    line |= self._validate()
                yield line

    def exact(self, packs: Sequence[Any]) -> list[bool]:
        """Of each question in turn, whether greedy decoding gives the answer to the letter: it does if and only if
        every token of the answer, its end included, is the likeliest behind the ones before."""
        return [right for _, rights in self._judged(packs) for right in rights]

    def _judged(self, packs: Sequence[Any]) -> Iterator[tuple[Tensor, list[bool]]]:
        """In batches: the sums of the loss, the tokens and the right ones; and which questions are right."""
        self.fusion.eval()
        size = 2 * self.config.optimizer.batch_pictures
        for start in range(0, len(packs), size):
            batch = self.packer(packs[start : start + size]).to(self.accelerator.device)
            with torch.no_grad(), self.accelerator.autocast():
                loss, wanted, right = self.fusion(batch)
            yield _sums(loss, wanted, right), self._right_items(packs[start : start + size], batch, wanted & ~right)
        self.fusion.train()

    def _right_items(self, packs: Sequence[Any], batch: Any, wrong: Tensor) -> list[bool]:
        """Of each question in turn, whether no token of its answer is wrong. ``wrong``: bool (b, t)."""
        flags = (wrong.unsqueeze(-1) & nn.functional.one_hot(batch.blocks.clamp_min(0)).bool()).any(1).tolist()
        return [not flag for row, pack in zip(flags, packs, strict=True) for flag in row[1 : len(pack.pairs) + 1]]

    def _validate(self) -> dict[str, float]:
        judged = list(self._judged(self.recipe.validation()))
        sums = torch.stack([part for part, _ in judged]).sum(0)
        exact = [right for _, rights in judged for right in rights]
        loss = float(sums[0] / sums[1])
        progress = self.progress
        progress.since_best = 0 if loss < progress.best_loss else progress.since_best + 1
        if loss < progress.best_loss:
            progress.best_loss = loss
            if self.is_main:
                _write(self.state(), self.out / "best.safetensors")
        self._save_state()
        return {"validation_loss": round(loss, 4), "validation_exact": round(sum(exact) / len(exact), 4)}

    def state(self) -> dict[str, Tensor]:
        """What was trained and what the strategy keeps: "strategy.*" and "model.*lora*", fp16 on the CPU."""
        state = {f"strategy.{name}": value for name, value in self.strategy.state_dict().items()}
        state |= {f"model.{name}": value for name, value in lora_state(self.lm.model).items()}
        return {name: value.detach().to("cpu", torch.float16).contiguous() for name, value in state.items()}

    def _load(self, state: dict[str, Tensor]) -> None:
        fusion = self.accelerator.unwrap_model(self.fusion)
        with torch.no_grad():
            own = fusion.state_dict()
            for name, value in state.items():
                own[name].copy_(value)

    def _save_state(self) -> None:
        """Weights and moments in full precision, to go on from."""
        if not self.is_main:
            return
        tensors = {f"weights.{name}": value.detach().cpu() for name, value in self.trained.items()}
        moments = self.optimizer.state
        for name, value in self.trained.items():
            for part, moment in moments.get(value, {}).items():
                tensors[f"{part}.{name}"] = moment.detach().cpu()
        progress = {key: str(value) for key, value in vars(self.progress).items()}
        _write(tensors, self.out / "state.safetensors", progress)


def _sums(loss: Tensor, wanted: Tensor, right: Tensor) -> Tensor:
    return torch.stack([loss.detach().float(), wanted.sum().float(), right.sum().float()]).cpu()


def _write(tensors: dict[str, Tensor], path: Path, metadata: dict[str, str] | None = None) -> None:
    """Whole or not at all: a run that is cut short leaves the file before."""
    part = path.with_suffix(".part")
    save_file({name: value.contiguous() for name, value in tensors.items()}, part, metadata)
    part.replace(path)


def _scale(step: int, warmup: int, steps: int) -> float:
    """Linear warm-up, then half a cosine down to a twentieth."""
    if step < warmup:
        return (step + 1) / warmup
    done = (step - warmup) / max(1, steps - warmup)
    return 0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * done))
