"""``mmpipe train spoken`` and ``score-spoken``: a language model that hears questions itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from mmpipe.cli.console import err, guarded, out
from mmpipe.extras import require

if TYPE_CHECKING:
    from mmpipe.evaluate.fusion import Rate
    from mmpipe.evaluate.spoken_questions import Scored


def required() -> None:
    """Raises: MissingDependencyError: the extra ``train`` is not installed."""
    for module in ("torch", "pydantic", "transformers"):
        require(module, "train", "Training adapters")


@guarded
def spoken(
    config: Annotated[Path, typer.Argument(help="A TOML file such as configs/spoken.toml.", show_default=False)],
    out_folder: Annotated[Path, typer.Option("--out", help="Folder for the recordings, the log and the projector.")],
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the state in the folder.")] = False,
) -> None:
    """Train a projector through which the language model hears questions. Ctrl-C keeps what was learned."""
    required()
    import torch

    from mmpipe.audio.recognition.encoder import SpeechEncoder
    from mmpipe.audio.synthesis import TextToSpeech
    from mmpipe.fusion.audio import checkpoint
    from mmpipe.fusion.audio.config import SpokenConfig
    from mmpipe.fusion.audio.distillation import Distiller
    from mmpipe.fusion.audio.projector import AudioProjector, ProjectorShape
    from mmpipe.fusion.checkpoint import AdapterTarget
    from mmpipe.fusion.training import provenance
    from mmpipe.generation.language_model import LanguageModel
    from mmpipe.pipelines.spoken_training import recordings

    settings = SpokenConfig.read(config)
    encoder = SpeechEncoder(settings.encoder)
    language_model = LanguageModel.load(settings.language_model, dtype="bfloat16")
    with TextToSpeech() as text_to_speech:
        recipe = recordings(settings, encoder, language_model, out_folder, text_to_speech)
    torch.manual_seed(settings.seed)
    projector = AudioProjector(
        ProjectorShape(encoder.hidden_size, language_model.hidden_size, **settings.projector.model_dump())
    )
    projector.start_from(language_model)
    trainer = Distiller(settings, language_model, projector, recipe, out_folder)
    if resume:
        trainer.restore()
    results: dict[str, Any] = {"commit": provenance.commit()}
    try:
        trainer.run()
    finally:
        if trainer.is_main:
            folder = out_folder / "projector"
            fits = AdapterTarget(encoder.identity, language_model.revision, settings.encoder, settings.language_model)
            checkpoint.write(folder, projector, fits)
            results |= {"steps": trainer.progress.step, "validation_divergence": trainer.progress.told_loss}
            provenance.write(folder, settings, config, results)
            err.print(f"[green]Projector:[/] {folder}  {json.dumps(results)}")


@guarded
def score_spoken(
    projector: Annotated[
        Path, typer.Argument(help="Projector folder written by `mmpipe train spoken`.", show_default=False)
    ],
    questions: Annotated[int | None, typer.Option(help="Number of held-out questions. Default: all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Compare, on held-out spoken questions: recognized and then asked, heard by the language model, and in writing."""
    required()
    from mmpipe.audio.recognition.encoder import SpeechEncoder
    from mmpipe.audio.synthesis import TextToSpeech
    from mmpipe.evaluate import spoken_questions as lists
    from mmpipe.generation.language_model import LanguageModel
    from mmpipe.pipelines.audio_fusion import AudioFusion
    from mmpipe.pipelines.spoken_training import speak

    language_model = LanguageModel.load()
    fusion = AudioFusion.load(projector, language_model, SpeechEncoder())
    clips = lists.held_out_clips(questions)
    with TextToSpeech() as text_to_speech:
        sounds = speak(text_to_speech, clips)
    found = lists.score(language_model, clips, sounds, lists.recognize, fusion.embed)
    if as_json:
        out.print_json(data={group: {way: _figures(one) for way, one in ways.items()} for group, ways in found.items()})
        return
    for group, ways in found.items():
        table = Table(group, "first token", "same answer", "right", box=None, pad_edge=False, header_style="bold")
        for way, one in ways.items():
            table.add_row(way, str(one.first), str(one.same), str(one.right))
        out.print(table)


def _figures(one: Scored) -> dict[str, dict[str, float]]:
    return {"first": _told(one.first), "same": _told(one.same), "right": _told(one.right)}


def _told(rate: Rate) -> dict[str, float]:
    low, high = rate.interval
    return {"rate": round(rate.value, 4), "low": round(low, 4), "high": round(high, 4), "of": rate.total}
