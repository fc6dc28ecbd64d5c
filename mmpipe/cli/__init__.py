"""The command ``mmpipe``: a thin layer that turns words on a command line into calls of the library."""

from __future__ import annotations

import os

# On few cores, OpenMP threads that spin while they wait take the processor from the stage that has work. The library
# leaves the environment alone; the command may set it, before anything loads OpenMP.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from mmpipe.cli.app import app, main

__all__ = ["app", "main"]
