"""English names with their article, as answers are worded."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def _exceptions() -> Mapping[str, Any]:
    """What ``articles.toml`` holds."""
    return tomllib.loads(files("mmpipe.fusion").joinpath("articles.toml").read_text("utf-8"))


def with_article(name: str) -> str:
    """ "an apple", "a dog", "broccoli"."""
    exceptions = _exceptions()
    if name in exceptions["phrases"]:
        return str(exceptions["phrases"][name])
    if name in exceptions["uncounted"]:
        return name
    vowel = name[0].lower() in "aeiou" and not name.lower().startswith(("uni", "eu", "u-", "ukulele", "one"))
    return f"{'an' if vowel else 'a'} {name}"
