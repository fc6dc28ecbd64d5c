"""How much memory a process has, and has had."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path


def reset_peak(pid: int | str = "self") -> None:
    """Let :func:`peak_mb` begin anew. Where the system does not allow that, the peak is that of the whole life."""
    with suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5", "ascii")


def peak_mb(pid: int | str = "self") -> float:
    """The most that was resident since the last :func:`reset_peak`; 0 for a process that is gone."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text("ascii", "replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    return 0.0
