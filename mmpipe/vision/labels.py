"""The classes of ImageNet in words: what each is called, and what everyday kinds of thing it is.

The table is ``data/imagenet.tsv``; ``tools/imagenet_labels.py`` made it, and says from what.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Label:
    """A class of ImageNet.

    ``name``: what people call it in English; two pairs of classes share one (missile, sunglasses). ``kinds``: what it
    is, the finest kind first: ("dog", "mammal", "animal"); two classes have none (website, bubble).
    """

    synset: str  # in WordNet 3.0, e.g. "n02099601"
    name: str
    other_names: tuple[str, ...]  # WordNet's, some of them scientific, and those of daily life
    kinds: tuple[str, ...]


@cache
def imagenet_labels() -> tuple[Label, ...]:
    """The 1000 classes of ILSVRC 2012, in the order of the logits of every classifier trained on them."""
    lines = files("mmpipe.vision").joinpath("data/imagenet.tsv").read_text("utf-8").splitlines()
    rows = [line.split("\t") for line in lines if not line.startswith("#")]
    return tuple(Label(synset, name, _split(others), _split(kinds)) for synset, name, others, kinds in rows[1:])


@cache
def kinds() -> Mapping[str, tuple[int, ...]]:
    """Kind -> the indices of its classes, the widest kind first."""
    classes: dict[str, list[int]] = {}
    for index, label in enumerate(imagenet_labels()):
        for kind in label.kinds:
            classes.setdefault(kind, []).append(index)
    widest_first = sorted(classes, key=lambda kind: -len(classes[kind]))
    return {kind: tuple(classes[kind]) for kind in widest_first}


def _split(cell: str) -> tuple[str, ...]:
    return tuple(cell.split("|")) if cell else ()
