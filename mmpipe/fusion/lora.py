"""Low-rank adaptation of the language model, by peft (Hu et al. 2021, arXiv:2106.09685)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from mmpipe.extras import require

#: The matrices of a Llama layer that are adapted unless told otherwise.
TARGETS = ("q_proj", "v_proj", "o_proj", "down_proj")


@dataclass(frozen=True)
class Lora:
    rank: int = 8
    alpha: float = 16.0
    targets: Sequence[str] = TARGETS


def add_lora(model: nn.Module, lora: Lora) -> None:
    """Insert trainable matrices into ``model``, in place; everything else in it is frozen."""
    peft = require("peft", "train", "Training a language model's adapter")
    config = peft.LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=list(lora.targets), bias="none")
    model.requires_grad_(False)
    peft.inject_adapter_in_model(config, model)
    for name, value in model.named_parameters():
        if ".lora_" in name:  # the steps of training are too small for the mantissa of bfloat16
            value.data = value.data.float()


def lora_state(model: nn.Module) -> dict[str, Tensor]:
    """The inserted matrices by name."""
    return {name: value for name, value in model.state_dict().items() if ".lora_" in name}


def merge_lora(model: nn.Module, state: dict[str, Tensor], lora: Lora) -> None:
    """Add the product of the matrices in ``state`` to the weights they adapt, in place: no cost at run time, no peft.

    Raises:
        KeyError: ``state`` names a layer that the model has not.
    """
    for name, down in state.items():
        if ".lora_A." not in name:
            continue
        up = state[name.replace(".lora_A.", ".lora_B.")]
        weight: Any = model.get_parameter(name.split(".lora_A.")[0] + ".weight")
        delta = (up.float() @ down.float()) * (lora.alpha / lora.rank)
        weight.data.add_(delta.to(weight.device, weight.dtype))
