"""The JSONL recipe: real pictures with questions and answers. Features are computed once."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

from torch import Tensor, nn

from mmpipe.errors import InputError
from mmpipe.fusion.strategies.base import FeatureBatch
from mmpipe.fusion.training.packing import Pack
from mmpipe.types import ImageFeatures

#: Pictures by path -> their features.
Encode = Callable[[Sequence[Path]], list[ImageFeatures]]
_AT_ONCE = 32


def read(path: Path) -> dict[Path, list[tuple[str, str]]]:
    """The questions and answers in ``path`` by picture.

    Raises:
        InputError: no such file, a line that is not {"image", "question", "answer"}, or a picture that is not there.
    """
    found: dict[Path, list[tuple[str, str]]] = {}
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {path}: {error}.") from error
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            image, pair = path.parent / row["image"], (str(row["question"]), str(row["answer"]))
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f'{path}, line {number}: not {{"image", "question", "answer"}}: {error!r}.') from error
        if image not in found and not image.is_file():
            raise InputError(f"{path}, line {number}: there is no picture {image}.")
        found.setdefault(image, []).append(pair)
    if not found:
        raise InputError(f"{path} holds no questions.")
    return found


class FeatureTable:
    """Features of many pictures in memory, fp16, the spatial ones averaged to ``grid`` places a side at most."""

    def __init__(self, encode: Encode, grid: int) -> None:
        self._encode, self._grid = encode, grid
        self._parts: dict[Path, tuple[Tensor, Tensor, Tensor]] = {}

    def add(self, paths: Sequence[Path]) -> None:
        new = [path for path in dict.fromkeys(paths) if path not in self._parts]
        for start in range(0, len(new), _AT_ONCE):
            some = new[start : start + _AT_ONCE]
            batch = FeatureBatch.of(self._encode(some))
            spatial = nn.functional.adaptive_avg_pool2d(batch.spatial, min(self._grid, *batch.spatial.shape[2:]))
            for path, *parts in zip(some, batch.pooled, spatial, batch.logits, strict=True):
                self._parts[path] = tuple(part.half() for part in parts)

    def __getitem__(self, path: Path) -> FeatureBatch:
        return FeatureBatch(*(part.float().unsqueeze(0) for part in self._parts[path]))


class Jsonl:
    """Each pass over the data in a new order. Without ``validation``, a fiftieth of the pictures is held out for it."""

    def __init__(
        self, train: Path, validation: Path | None, table: FeatureTable, seed: int, questions_per_row: int = 8
    ) -> None:
        self.seed, self.questions, self.table = seed, questions_per_row, table
        seen = read(train)
        if validation:
            held = read(validation)
        else:
            out = Random(seed).sample(sorted(seen), max(1, len(seen) // 50))  # noqa: S311
            held = {path: seen.pop(path) for path in out}
            if not seen:
                raise InputError(f"{train} is about one picture only: nothing can be held out. Give data.validation.")
        table.add([*seen, *held])
        self._train, self._held = self._chunks(seen), self._chunks(held)
        self._order: tuple[int, list[int]] = (-1, [])

    def packs(self, path: Path) -> list[Pack]:
        """What another file asks, such as a test."""
        asked = read(path)
        self.table.add(list(asked))
        return [self._pack(*chunk) for chunk in self._chunks(asked)]

    def batch(self, step: int, pictures: int) -> Sequence[Pack]:
        chosen = []
        for at in range(step * pictures, (step + 1) * pictures):
            epoch, place = divmod(at, len(self._train))
            if self._order[0] != epoch:
                order = list(range(len(self._train)))
                Random(f"{self.seed}/{epoch}").shuffle(order)  # noqa: S311
                self._order = epoch, order
            chosen.append(self._pack(*self._train[self._order[1][place]]))
        return chosen

    def validation(self) -> Sequence[Pack]:
        return [self._pack(*chunk) for chunk in self._held]

    def _chunks(self, asked: dict[Path, list[tuple[str, str]]]) -> list[tuple[Path, list[tuple[str, str]]]]:
        size = self.questions
        return [
            (path, pairs[start : start + size])
            for path, pairs in sorted(asked.items())
            for start in range(0, len(pairs), size)
        ]

    def _pack(self, path: Path, pairs: Sequence[tuple[str, str]]) -> Pack:
        return Pack(self.table[path], pairs)
