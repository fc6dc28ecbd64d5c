"""``mmpipe train``: adapters that fuse pictures into a language model, and how good they are."""

from __future__ import annotations

import json
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from mmpipe.cli import train_spoken
from mmpipe.cli.bench import PICTURES, Pictures
from mmpipe.cli.console import err, guarded, out
from mmpipe.cli.train_spoken import required

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mmpipe.stage import ImageEncoder

app = typer.Typer(help="Train adapters that fuse pictures or sound into a language model.", no_args_is_help=True)
app.command()(train_spoken.spoken)
app.command()(train_spoken.score_spoken)

Config = Annotated[Path, typer.Argument(help="A TOML file; configs/ has examples.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
@guarded
def fusion(
    config: Config,
    out_folder: Annotated[Path, typer.Option("--out", help="Folder for the log, the state and the adapter.")],
    resume: Annotated[bool, typer.Option("--resume", help="Resume from the state in the folder.")] = False,
    score_pictures: Annotated[
        bool, typer.Option("--score", help="Score on the lists of real images at the end.")
    ] = False,
    pictures: Pictures = PICTURES,
) -> None:
    """Train one adapter. Ctrl-C or SIGTERM keeps what was learned: go on with --resume.

    With several GPUs: accelerate launch $(which mmpipe) train fusion CONFIG --out FOLDER.
    """
    required()
    from mmpipe.evaluate.fusion_scores import score_adapters
    from mmpipe.fusion import checkpoint
    from mmpipe.fusion.lora import Lora
    from mmpipe.fusion.training import provenance
    from mmpipe.fusion.training.config import TrainingConfig
    from mmpipe.fusion.training.trainer import Trainer
    from mmpipe.generation.language_model import LanguageModel

    settings = TrainingConfig.read(config)
    encoder = _encoder(settings.encoder)
    language_model = LanguageModel.load(settings.language_model, dtype="bfloat16")
    strategy, recipe = _prepared(settings, encoder, language_model)
    test = recipe.packs(settings.data.test) if settings.data.test else []
    trainer = Trainer(settings, language_model, strategy, recipe, out_folder)
    if resume:
        trainer.restore()
    results: dict[str, Any] = {"commit": provenance.commit()}
    try:
        with _interruptible():
            trainer.run()
        if test:
            exact = trainer.exact(test)
            results["test"] = {"exact": round(sum(exact) / len(exact), 4), "questions": len(exact)}
    finally:
        if trainer.is_main:
            folder = out_folder / "adapter"
            fits = checkpoint.AdapterTarget(
                encoder.identity, language_model.revision, settings.encoder.name, settings.language_model
            )
            lora = Lora(**settings.lora.model_dump()) if settings.lora.rank else None
            checkpoint.save(folder, strategy, trainer.state(), fits, lora)
            results |= {"steps": trainer.progress.step, "validation_loss": trainer.progress.told_loss}
            provenance.write(folder, settings, config, results)
            err.print(f"[green]Adapter:[/] {folder}  {json.dumps(results)}")
    if score_pictures and trainer.is_main:
        del trainer, language_model
        results["scores"] = score_adapters([folder], encoder, pictures)
        provenance.write(folder, settings, config, results)
        _show(results["scores"])


@app.command()
@guarded
def score(
    adapters: Annotated[
        list[Path] | None, typer.Argument(help="Adapter folders. Default: the one shipped with mmpipe.")
    ] = None,
    pictures: Pictures = PICTURES,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Also score the held-out list, on which no choice was based.")
    ] = False,
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option(help="Data type of the language model.")] = "float32",
    as_json: AsJson = False,
) -> None:
    """Compare adapters on fixed lists of real pictures, beside the language model told the class in words."""
    required()
    from mmpipe.evaluate.fusion import LISTS, SEEN
    from mmpipe.evaluate.fusion_scores import score_adapters
    from mmpipe.fusion import checkpoint
    from mmpipe.fusion.training.config import EncoderConfig

    which, folders = LISTS if held_out else SEEN, adapters or [checkpoint.DEFAULT_ADAPTER]
    scores = score_adapters(folders, _encoder(EncoderConfig()), pictures, which, dtype)
    if as_json:
        out.print_json(data=scores)
    else:
        _show(scores)


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGINT and SIGTERM raise KeyboardInterrupt: also in the background of a script, where the shell has SIGINT
    ignored, and where a cluster takes the machine back."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _encoder(settings: Any) -> ImageEncoder:
    from mmpipe.vision.efficientnet import EfficientNetLite
    from mmpipe.vision.multilevel import MultiLevelEfficientNetLite

    if settings.levels:
        return MultiLevelEfficientNetLite(settings.name, size_px=settings.size_px)
    return EfficientNetLite(settings.name)


def _prepared(settings: Any, encoder: Any, language_model: Any) -> tuple[Any, Any]:
    """The strategy before training, and the recipe."""
    import numpy as np
    import torch

    from mmpipe.fusion.strategies import Shapes, build
    from mmpipe.fusion.training.data_free import DataFree
    from mmpipe.fusion.training.jsonl import FeatureTable, Jsonl
    from mmpipe.types import Image
    from mmpipe.vision.images import load
    from mmpipe.vision.labels import imagenet_labels

    blank = encoder.run([Image(np.zeros((32, 32, 3), np.uint8))])[0]
    shapes = Shapes.between(blank, language_model.hidden_size)
    torch.manual_seed(settings.seed)
    strategy = build(settings.strategy.name, shapes, settings.strategy.settings)
    subjects, data = imagenet_labels(), settings.data
    strategy.start_from(language_model, subjects)
    if data.recipe == "data-free":
        weight, bias = (torch.from_numpy(part) for part in (encoder.classifier_weight, encoder.classifier_bias))
        grid = shapes.spatial[1:]
        return strategy, DataFree(
            weight,
            bias,
            subjects,
            grid,
            settings.seed,
            data.questions_per_row,
            several=data.several,
            turns=data.turns,
        )
    table = FeatureTable(lambda paths: encoder.run([load(path) for path in paths]), getattr(strategy, "grid", 0) or 1)
    return strategy, Jsonl(data.train, data.validation, table, settings.seed, data.questions_per_row)


def _show(scores: dict[str, Any]) -> None:
    for which, systems in scores.items():
        sorts = list(systems["cascade"])
        table = Table(which, *sorts, box=None, pad_edge=False, header_style="bold")
        for name, cells in systems.items():
            told = (cells.get(sort) for sort in sorts)
            table.add_row(name, *(f"{c['rate']:.3f} ({c['low']:.2f}-{c['high']:.2f})" if c else "" for c in told))
        out.print(table)
