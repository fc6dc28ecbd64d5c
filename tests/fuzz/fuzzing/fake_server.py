"""A real server over engines that only pretend: ``serve``, ``demo`` or ``login`` (the demo, with a password)."""

from __future__ import annotations

import importlib.util
import logging
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parents[2]
LOGIN = ("user", "password")


def _rig() -> Any:
    """The engines of the server's own tests."""

    def module(path: Path, name: str) -> Any:
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None and spec.loader is not None
        found = importlib.util.module_from_spec(spec)
        sys.modules[name] = found
        spec.loader.exec_module(found)
        return found

    loud = module(TESTS / "conftest.py", "fuzz_tests").Loud
    return module(TESTS / "serve" / "conftest.py", "fuzz_serve").Rig(loud)


def serve() -> None:
    """``mmpipe serve`` with short deadlines, and room for all who come."""
    from mmpipe.batching import MonotonicClock
    from mmpipe.serve.server import Server

    rig = _rig()
    manager = rig.manager(
        MonotonicClock(),
        max_sessions=500,
        max_connections=500,
        max_lag_s=1e9,
        max_response_s=1e9,
        start_timeout_s=2.0,
        idle_s=3.0,
        grace_s=1.0,
        drain_s=0.5,
        close_timeout_s=0.5,
    )
    listening = socket.create_server(("127.0.0.1", 0))
    _say(listening.getsockname()[1])
    Server(manager, port=0).run([listening])


def demo(*, login: bool) -> None:
    """``mmpipe demo``: the page, its queue, its uploads."""
    from mmpipe.demo import models, server
    from mmpipe.demo.options import DemoOptions
    from mmpipe.demo.pairs import Pairs
    from mmpipe.errors import MissingDependencyError
    from mmpipe.pipelines.engines import Lazy

    rig = _rig()

    class FakeModels(models.DemoModels):
        def __init__(self) -> None:
            super().__init__(rig.models.engines)
            self._live = Lazy("live", lambda: rig.models)
            self._reader = self._qa = Lazy("pictures", _missing)

        @property
        def pairs(self) -> Pairs:  # type: ignore[override]
            routes = rig.models.translator.languages()
            return Pairs({(route.source, route.target): route for route in routes}, frozenset({"pt"}))

        def warmup(self) -> None:
            pass

    def _missing() -> Any:
        raise MissingDependencyError("There are no questions here.")

    models.DemoModels = FakeModels  # type: ignore[misc]
    said: list[str] = []

    def tell() -> None:
        while not said:
            time.sleep(0.05)
        _say(int(said[0].split("://", 1)[1].split("/")[0].rpartition(":")[2]))

    threading.Thread(target=tell, daemon=True).start()
    server.run(DemoOptions(port=0, auth=(LOGIN,) if login else (), max_upload_mb=2), said.append)


def _say(port: int) -> None:
    sys.__stdout__.write(f"{port}\n")  # type: ignore[union-attr]
    sys.__stdout__.flush()  # type: ignore[union-attr]


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    kind = sys.argv[1]
    if kind == "serve":
        serve()
    else:
        demo(login=kind == "login")
