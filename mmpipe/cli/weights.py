"""``mmpipe pull``, ``models`` and ``doctor``."""

from __future__ import annotations

import os
import platform
import shutil
from importlib import metadata
from importlib.util import find_spec
from typing import Annotated

import typer
from rich.table import Table

from mmpipe.cli.console import downloading, err, guarded, out, size
from mmpipe.errors import MmpipeError

#: What the speech path needs: `mmpipe pull` without a name fetches these.
ESSENTIAL = ("silero-vad", "whisper-base", "kokoro")

#: optional module -> (extra that installs it, what it is for)
OPTIONAL = {
    "espeakng_loader": ("espeak", "phonemes for Kokoro and Piper, espeak voices"),
    "xllamacpp": ("llama", "translation by GGUF models"),
    "sentencepiece": ("marian", "OPUS-MT and NLLB models"),
    "jiwer": ("eval", "word error rate, for mmpipe bench"),
    "sacrebleu": ("eval", "BLEU and chrF, for mmpipe bench"),
    "torch": ("qa", "questions about pictures"),
    "rapidocr": ("ocr", "text in pictures"),
    "sounddevice": ("mic", "microphone and loudspeaker"),
    "fastapi": ("serve", "the WebSocket server"),
    "gradio": ("demo", "the page in the browser"),
    "accelerate": ("train", "training of adapters"),
    "pypinyin": ("zh", "spoken Chinese"),
    "pyopenjtalk": ("ja", "spoken Japanese"),
}


@guarded
def pull(
    names: Annotated[
        list[str] | None, typer.Argument(help="Model names. Default: what speech translation needs.")
    ] = None,
    accept_license: Annotated[bool, typer.Option(help="Accept the restrictions of a model's license.")] = False,
) -> None:
    """Download models and verify them."""
    from mmpipe.weights import fetch

    for name in names or ESSENTIAL:
        with downloading() as report:
            folder = fetch(name, accept_license=accept_license, progress=report)
        err.print(f"{name}: {folder}", markup=False)


@guarded
def models() -> None:
    """List the known models, which of them are here, and their licenses."""
    from mmpipe.weights import available

    table = Table("name", "what", "license", "size", "here", box=None, pad_edge=False, header_style="bold")
    for status in available():
        entry = status.entry
        terms = entry.license + (" (must be accepted)" if entry.restrictions else "")
        table.add_row(entry.name, entry.what, terms, size(entry.size_bytes), str(status.state))
    out.print(table)


@guarded
def doctor() -> None:
    """Check the installation and verify every model file."""
    from mmpipe.weights import WeightsState, available, verify
    from mmpipe.weights.settings import cache_root, hub_offline, offline

    healthy = True
    out.print(f"mmpipe {metadata.version('mmpipe')}, Python {platform.python_version()}, {platform.platform()}")
    root = cache_root()
    space = shutil.disk_usage(next(p for p in (root, *root.parents) if p.exists()))
    out.print(f"cache {root}, {size(space.free)} free; {os.cpu_count()} cores")
    if offline() or hub_offline():
        out.print("offline: " + ("nothing is fetched (MMPIPE_OFFLINE)" if offline() else "the hub is not asked"))
    try:
        import ctranslate2

        gpus = ctranslate2.get_cuda_device_count()
        out.print(f"ctranslate2 {ctranslate2.__version__}: " + (f"{gpus} CUDA device(s)" if gpus else "CPU"))
    except ImportError as error:
        healthy = False
        out.print(f"[red]ctranslate2 does not import: {error}[/]")
    out.print("\n[bold]optional parts[/]")
    for module, (extra, what) in OPTIONAL.items():
        state = "here" if find_spec(module) else f"missing: pip install 'mmpipe\\[{extra}]'"
        out.print(f"  {module:16} {state:38} {what}")
    state = "here" if shutil.which("apertium") else "missing: apt-get install apertium"
    out.print(f"  {'apertium':16} {state:38} rule-based translation")
    out.print("\n[bold]models[/]")
    for status in available():
        name = status.entry.name
        try:
            found = verify(name).state if status.state is not WeightsState.ABSENT else status.state
        except MmpipeError as error:
            err.print(str(error), markup=False)
            found = WeightsState.DAMAGED
        note = ""
        if found is WeightsState.DAMAGED:
            healthy, note = False, f"repair it: mmpipe pull {name}"
        elif found is WeightsState.ABSENT and name in ESSENTIAL:
            healthy, note = False, f"fetch it: mmpipe pull {name}"
        out.print(f"  {name:16} {found:10} {note}")
    if not healthy:
        raise typer.Exit(1)
