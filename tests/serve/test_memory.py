"""Freed memory goes back to the system, although something that lies behind it is still in use."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from mmpipe.serve import memory

_HOLES = """
import ctypes, os
from mmpipe.serve.memory import trim
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.free.argtypes = [ctypes.c_void_p]
libc.memset.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t]
def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
blocks = [libc.malloc(100_000) for _ in range(1_000)]
for block in blocks:
    libc.memset(block, 1, 100_000)
for n, block in enumerate(blocks):
    if n % 10:
        libc.free(block)
before = resident_mb()
trim()
print(before - resident_mb())
"""


@pytest.mark.skipif(memory._malloc_trim() is None, reason="another C library than glibc")
def test_what_is_free_between_what_is_used_is_given_back() -> None:
    found = subprocess.run([sys.executable, "-c", _HOLES], capture_output=True, text=True, check=True, env=os.environ)
    assert float(found.stdout) > 50


def test_another_c_library_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    memory._malloc_trim.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(ctypes, "CDLL", lambda _: object())
        memory.trim()
    memory._malloc_trim.cache_clear()
