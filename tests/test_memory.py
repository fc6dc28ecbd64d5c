"""What was freed goes back to the system, and what grows with every new length is kept within bounds."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from mmpipe import memory

pytestmark = pytest.mark.skipif(memory._function("malloc_trim") is None, reason="another C library than glibc")

_HOLES = """
import ctypes, os
from mmpipe.memory import trim
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

#: Counts the heaps that threads which allocate at the same time get; the C library reserves 64 MB for each.
_HEAPS = """
import ctypes, os, sys, threading
from mmpipe.memory import bound_heap
if "bound" in sys.argv:
    bound_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
many = threading.Barrier(os.cpu_count() * 8)
def allocate():
    many.wait()
    libc.malloc(50_000)
    many.wait()
threads = [threading.Thread(target=allocate) for _ in range(many.parties)]
for thread in threads: thread.start()
for thread in threads: thread.join()
sizes = [[int(end, 16) for end in line.split()[0].split("-")] for line in open("/proc/self/maps")]
print(sum(begin % (64 << 20) == 0 for begin, _ in sizes))
"""

_KERNELS = """
import os, sys, numpy as np
from mmpipe.audio.recognition.encoder import SpeechEncoder
from mmpipe.types import Audio
def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
encoder = SpeechEncoder(threads=1)
lengths = [10 + n / 50 for n in range(48)]
encoder.run([Audio(np.zeros(round(12 * 16_000), np.float32))])
before = resident_mb()
for length_s in lengths:
    encoder.run([Audio(np.zeros(round(length_s * 16_000), np.float32))])
print(resident_mb() - before)
"""


_VOICE = """
import os
from mmpipe.audio.synthesis import Kokoro
from mmpipe.types import SpeechRequest
def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
kokoro = Kokoro()
kokoro.run([SpeechRequest("Yes.", "en", "af_heart")])
before = resident_mb()
kokoro.run([SpeechRequest("It was the best of times, and it was the worst of times. " * 3, "en", "af_heart")])
print(resident_mb() - before)
"""


def _measured(script: str, *args: str, **variables: str) -> float:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MALLOC_", "ONEDNN_"))}
    done = subprocess.run(
        [sys.executable, "-c", script, *args], capture_output=True, text=True, check=True, env=environment | variables
    )
    return float(done.stdout)


def test_what_is_free_between_what_is_used_is_given_back() -> None:
    assert _measured(_HOLES) > 50


def test_a_server_has_few_heaps() -> None:
    unbound, bound = _measured(_HEAPS), _measured(_HEAPS, "bound")
    assert unbound > 2 * max(2, os.cpu_count() or 1)
    assert bound <= max(2, os.cpu_count() or 1)


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _measured(_HEAPS, "bound", MALLOC_ARENA_MAX="1") <= 1
    monkeypatch.setenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "7")
    memory.bound_kernel_cache()
    assert os.environ["ONEDNN_PRIMITIVE_CACHE_CAPACITY"] == "7"


def test_new_lengths_of_sound_do_not_fill_the_memory() -> None:
    """Forty-eight lengths took 120 MB that were never given back."""
    assert _measured(_KERNELS, MALLOC_ARENA_MAX="2") < 60


def test_a_long_text_is_spoken_and_its_memory_given_back() -> None:
    """Of 170 letters; they left 190 MB behind."""
    assert _measured(_VOICE) < 40


def test_another_c_library_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    memory._function.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(ctypes, "CDLL", lambda _: object())
        memory.trim()
        memory.bound_heap()
    memory._function.cache_clear()
