"""What the C library and the kernel libraries keep for later is kept within bounds.

A server that is asked different things for hours meets a new length of sound or text every few seconds. What is
compiled for each, and what each thread's heap once needed, would then grow with the time, and not with what it holds.
"""

from __future__ import annotations

import ctypes
import os
from functools import cache
from typing import Any

#: Between two calls of :func:`trim`. A server with three live sessions held 720 MB after two minutes, 625 MB with it.
TRIM_EVERY_S = 30.0

_M_ARENA_MAX = -8  # of glibc's malloc.h

#: What oneDNN compiles for a shape of matrices takes one to two megabytes, and it keeps 1024 of them unless told.
_KERNELS = 32
_KERNELS_VARIABLE = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"


def bound_kernel_cache() -> None:
    """Have oneDNN, inside CTranslate2 and torch, keep 32 compiled kernels instead of 1024.

    Compiling one again takes a millisecond or two, beside which the pass that needs it takes a hundred. To be called
    before either has computed anything; a capacity that the user has set stays.
    """
    os.environ.setdefault(_KERNELS_VARIABLE, str(_KERNELS))


def bound_heap() -> None:
    """Have the C library keep as many heaps as there are processors. To be called before threads are started.

    By itself it makes eight heaps for each processor, one for nearly every thread of a server, and each keeps what its
    thread once needed most. Nothing where the C library is not glibc, or the user has set ``MALLOC_ARENA_MAX``.
    """
    mallopt = _function("mallopt")
    if mallopt is not None and "MALLOC_ARENA_MAX" not in os.environ:
        mallopt(_M_ARENA_MAX, max(2, os.cpu_count() or 1))


def resident_bytes() -> int:
    """Of this process, in memory. 0 where psutil is not installed."""
    try:
        import psutil
    except ImportError:
        return 0
    return int(psutil.Process().memory_info().rss)


def trim() -> None:
    """Give back what is free. Nothing where the C library is not glibc."""
    malloc_trim = _function("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


@cache
def _function(name: str) -> Any:
    try:
        return getattr(ctypes.CDLL(None), name)
    except (AttributeError, OSError, TypeError):
        return None
