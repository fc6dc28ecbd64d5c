from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import mmpipe

PACKAGE = Path(mmpipe.__file__).parent
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


def test_no_two_classes_share_a_name() -> None:
    """Who reads a name in one module should not have to ask which of several it is."""
    found: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.setdefault(node.name, []).append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert {name: places for name, places in found.items() if len(places) > 1} == {}
