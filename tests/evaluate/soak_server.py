"""The demo application over engines that need no models, for one soak in the tests: its port is the argument."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import mmpipe.demo.models as models
import mmpipe.pipelines.engines as engines
from mmpipe.demo import DemoOptions, run
from mmpipe.errors import MissingDependencyError

TESTS = Path(__file__).parent.parent


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.parent.name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def not_here(_: object) -> None:
    raise MissingDependencyError("These tests do without.")


rig, sounds = load(TESTS / "serve" / "conftest.py"), load(TESTS / "conftest.py")
engines.SileroVad = lambda: sounds.Loud(rig.LEVEL / 2)  # type: ignore[assignment,misc]
without_models = engines.Engines(rig.Reader(), translators=[rig.Upper()], synthesizers=[rig.Beep()], interactive=True)
models.Engines = lambda *_, **__: without_models  # type: ignore[assignment,misc]
models.DemoModels._load_reader = not_here  # type: ignore[assignment,method-assign]
models.DemoModels._load_qa = not_here  # type: ignore[assignment,method-assign]
run(DemoOptions(port=int(sys.argv[1]), max_sessions=16))
