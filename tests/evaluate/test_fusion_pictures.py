"""How pictures come out of the archives that they are published in."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from mmpipe.errors import InputError
from mmpipe.evaluate import fusion_pictures


def resources(files: dict[str, bytes]) -> bytes:
    """A Qt resource archive, version 3: one folder "pictures" with ``files``."""
    names, at = b"", {}
    for name in ("pictures", *files):
        at[name] = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
    data, places = b"", []
    for content in files.values():
        places.append(len(data))
        data += struct.pack(">I", len(content)) + content
    tree = struct.pack(">IHII8x", 0, 2, 1, 1) + struct.pack(">IHII8x", at["pictures"], 2, len(files), 2)
    for name, place in zip(files, places, strict=True):
        tree += struct.pack(">IHHHI8x", at[name], 0, 0, 0, place)
    start = 24
    head = b"qres" + struct.pack(">5I", 3, start, start + len(tree), start + len(tree) + len(data), 0)
    return head + tree + data + names


def test_files_of_a_resource_archive_keep_path_and_content() -> None:
    files = {"koala.webp": b"RIFF koala", "ééé.webp": b"", "README": b"public domain"}
    found = dict(fusion_pictures._resources(resources(files)))
    assert found == {f"pictures/{name}": content for name, content in files.items()}


def test_the_picture_of_a_puzzle_is_among_its_files() -> None:
    puzzle = b"2\nmini-s.jpg\n4\nabcd1-t.jpg\n7\nthe oneand more"
    assert fusion_pictures._puzzle_picture(puzzle) == b"the one"
    assert fusion_pictures._puzzle_picture(b"nothing like it") == b""


def test_a_picture_that_is_not_where_it_was_is_said_and_nothing_is_called_complete(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(fusion_pictures, "_run", lambda *_: None)  # fetches nothing
    for _ in range(2):
        with pytest.raises(InputError, match="is not in what was fetched"):
            fusion_pictures.fetch_pictures("held_out", tmp_path)
    with pytest.raises(InputError, match="Known: stamps, photos, held_out"):
        fusion_pictures.fetch_pictures("others", tmp_path)
