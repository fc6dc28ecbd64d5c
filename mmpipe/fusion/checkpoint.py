"""A trained fusion as a folder: what it was trained for, and its weights. No pickles.

``config.json``: the strategy with its settings and shapes, the low-rank matrices' rank, the encoder and the language
model with digests, the digest of the weights. ``adapter.safetensors``: fp16, "strategy.*" and "model.*". A third file,
``provenance.json``, tells how it was made; nothing reads it but people.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpipe.errors import WeightsError
from mmpipe.extras import require
from mmpipe.fusion.lora import Lora, merge_lora
from mmpipe.fusion.strategies import Shapes, Strategy, build

if TYPE_CHECKING:
    from torch import Tensor

    from mmpipe.generation.language_model import LanguageModel

#: Raised when older folders can no longer be read.
FORMAT = 1
#: The adapter that mmpipe carries, for SmolLM2 135M and EfficientNet-Lite2.
DEFAULT_ADAPTER = Path(__file__).parent / "adapters" / "soft_words"


@dataclass(frozen=True, slots=True)
class AdapterTarget:
    """What an adapter works with. ``encoder``: the ``identity`` of an encoder; ``language_model``: its ``revision``."""

    encoder: str
    language_model: str
    encoder_name: str = ""
    language_model_name: str = ""


def save(folder: Path, strategy: Strategy, state: dict[str, Tensor], fits: AdapterTarget, lora: Lora | None) -> None:
    """Write ``config.json`` and ``adapter.safetensors``. ``state``: as :meth:`Trainer.state` gives it."""
    as_bytes = require("safetensors.torch", "qa", "Fusion").save
    folder.mkdir(parents=True, exist_ok=True)
    weights = folder / "adapter.safetensors"
    weights.write_bytes(as_bytes(state))  # save_file would let nobody else read it
    config = {
        "format": FORMAT,
        "strategy": {"name": strategy.name, "settings": strategy.settings, "shapes": asdict(strategy.shapes)},
        "lora": asdict(lora) if lora else None,
        "fits": asdict(fits),
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")


def load(folder: Path, language_model: LanguageModel, encoder: str | None = None) -> Strategy:
    """The strategy in ``folder``, in eval mode; its low-rank matrices are added to ``language_model``, in place.

    ``encoder``: the ``identity`` of the encoder whose features will come; None: not known, and not compared.

    Raises:
        WeightsError: no such folder, or it is damaged, or was made for another encoder or language model.
    """
    load_file = require("safetensors.torch", "qa", "Fusion").load_file
    config = _config(folder)
    fits, made = AdapterTarget(**config["fits"]), config["strategy"]
    if fits.language_model != language_model.revision:
        raise WeightsError(
            f"The adapter in {folder} was trained for the language model {fits.language_model_name} "
            f"({fits.language_model[:12]}), not for {language_model.source.name} ({language_model.revision[:12]}). "
            "Load that one, or train an adapter: mmpipe train fusion."
        )
    if encoder is not None and fits.encoder != encoder:
        raise WeightsError(
            f"The adapter in {folder} was trained for the image encoder {fits.encoder!r}, not for {encoder!r}. "
            "Use that one, or train an adapter: mmpipe train fusion."
        )
    shapes = Shapes(**made["shapes"] | {"spatial": tuple(made["shapes"]["spatial"])})
    try:
        content = (folder / "adapter.safetensors").read_bytes()
        if hashlib.sha256(content).hexdigest() != config["sha256"]:
            raise WeightsError(f"The adapter in {folder} is damaged: its digest is not the noted one. Train it again.")
        state = load_file(folder / "adapter.safetensors")
        strategy = build(made["name"], shapes, made["settings"])
        strategy.load_state_dict({name: value.float() for name, value in _part(state, "strategy.").items()})
        if config["lora"]:
            merge_lora(language_model.model, _part(state, "model."), Lora(**config["lora"]))
    except (OSError, KeyError, RuntimeError, AttributeError, TypeError) as error:
        raise WeightsError(f"The adapter in {folder} cannot be loaded: {error}. Train it again.") from error
    strategy.to(language_model.device)
    strategy.attach(language_model.model)
    return strategy.eval().requires_grad_(False)


def _part(state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: value for name, value in state.items() if name.startswith(prefix)}


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        known = config["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{folder} holds no fusion adapter: {error}. Name the folder that a training wrote."
        ) from error
    if known != FORMAT:
        raise WeightsError(f"The adapter in {folder} has format {known}; this mmpipe reads {FORMAT}. Train it again.")
    return dict(config)
