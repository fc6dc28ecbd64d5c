from __future__ import annotations

import subprocess
import sys

import mmpipe

HEAVY = {"numpy", "torch", "av", "onnxruntime", "ctranslate2", "faster_whisper", "huggingface_hub", "rich", "typer"}


def run(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_import_loads_nothing_heavy() -> None:
    loaded = set(run("import mmpipe, sys; print(*sys.modules)").split())
    assert not HEAVY & loaded


def test_the_speech_path_never_loads_torch() -> None:
    code = (
        "import sys, mmpipe.pipelines.speech_translation, mmpipe.audio.recognition.whisper, mmpipe.cli;"
        "print(*(name for name in sys.modules if name.split('.')[0] in ('torch', 'torchaudio', 'transformers')))"
    )
    assert run(code).split() == []


def test_every_public_name_resolves_and_says_what_it_is() -> None:
    for name in mmpipe._PUBLIC:
        told = getattr(mmpipe, name).__doc__
        assert told, name
        assert not told.startswith(f"{name}("), f"{name}: dataclasses write this where nobody else did"


def test_stage_packages_do_not_import_one_another() -> None:
    for package, others in {
        "mmpipe.translate": ("mmpipe.audio", "mmpipe.pipelines"),
        "mmpipe.audio.recognition.whisper": ("mmpipe.translate", "mmpipe.pipelines"),
        "mmpipe.audio.synthesis": ("mmpipe.translate", "mmpipe.pipelines"),
        "mmpipe.batching": ("mmpipe.audio", "mmpipe.translate", "mmpipe.pipelines"),
    }.items():
        loaded = run(f"import sys, {package}; print(*sys.modules)").split()
        assert not [name for name in loaded if name.startswith(others)], package
