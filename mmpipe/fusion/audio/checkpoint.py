"""A trained audio projector as a folder: ``config.json`` and ``projector.safetensors`` (fp16), no pickles.

A third file, ``provenance.json``, tells how it was made; nothing reads it but people.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load, save

from mmpipe.errors import InputError, WeightsError
from mmpipe.fusion.audio.projector import AudioProjector, ProjectorShape
from mmpipe.fusion.checkpoint import AdapterTarget

if TYPE_CHECKING:
    from mmpipe.generation.language_model import LanguageModel

#: Raised when older folders can no longer be read.
FORMAT = 1
_KIND = "audio projector"
_WEIGHTS = "projector.safetensors"


def write(folder: Path, projector: AudioProjector, fits: AdapterTarget) -> None:
    """``fits``: ``encoder`` is the ``identity`` of the speech encoder."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().to("cpu", torch.float16) for name, value in projector.state_dict().items()}
    content = save(state)
    (folder / _WEIGHTS).write_bytes(content)
    config = {
        "kind": _KIND,
        "format": FORMAT,
        "shape": asdict(projector.shape),
        "fits": asdict(fits),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n", "utf-8")


def read(folder: Path, language_model: LanguageModel, encoder: str) -> AudioProjector:
    """The projector in ``folder``, in eval mode, float32, where the language model is.

    ``encoder``: the ``identity`` of the speech encoder whose frames will come.

    Raises:
        WeightsError: no such folder, or it is damaged, or was made for another encoder or language model.
    """
    config = _config(folder)
    try:
        fits, shape = AdapterTarget(**config["fits"]), ProjectorShape(**config["shape"])
        content = (folder / _WEIGHTS).read_bytes()
    except (OSError, KeyError, TypeError, InputError) as error:
        raise WeightsError(f"The audio projector in {folder} cannot be loaded: {error}. Train it again.") from error
    theirs = (
        ("language model", fits.language_model_name, fits.language_model, language_model.revision),
        ("speech encoder", fits.encoder_name, fits.encoder, encoder),
    )
    for what, name, wanted, given in theirs:
        if wanted != given:
            raise WeightsError(
                f"The audio projector in {folder} was trained for the {what} {name} ({wanted!r}), not for {given!r}. "
                "Load that one, or train a projector: mmpipe train spoken."
            )
    if hashlib.sha256(content).hexdigest() != config.get("sha256"):
        raise WeightsError(f"The audio projector in {folder} is damaged: its digest is not the noted one. Train again.")
    projector = AudioProjector(shape)
    try:
        projector.load_state_dict({name: value.float() for name, value in load(content).items()})
    except RuntimeError as error:
        raise WeightsError(f"The audio projector in {folder} does not have the noted shape: {error}") from error
    return projector.to(language_model.device).eval().requires_grad_(False)


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        kind, known = config["kind"], config["format"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{folder} holds no audio projector: {error!r}. Name the folder that mmpipe train spoken wrote."
        ) from error
    if kind != _KIND or known != FORMAT:
        raise WeightsError(
            f"{folder} holds {kind!r} in format {known}; this mmpipe reads {_KIND!r} in format {FORMAT}. Train again."
        )
    return dict(config)
