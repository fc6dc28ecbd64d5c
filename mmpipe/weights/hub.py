"""Weights from the Hugging Face hub, or from the mirror that ``HF_ENDPOINT`` names."""

from __future__ import annotations

import logging
import shutil
import threading
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from mmpipe.weights import settings
from mmpipe.weights.archives import Progress, SourceError
from mmpipe.weights.manifest import File, Part, Source

log = logging.getLogger(__name__)

#: How long an unreachable hub may cost, once in a process.
PROBE_TIMEOUT_S = 3.0


def fetch(source: Source, wanted: Sequence[File], staging: Path, progress: Progress) -> Iterator[tuple[File, Path]]:
    """Files of ``source`` as they are ready, written into ``staging``, not yet verified.

    What the hub's own cache already holds is copied from there, online or not.
    """
    from huggingface_hub import try_to_load_from_cache

    absent = []
    for file in wanted:
        (part,) = source.parts[file.name]
        repository, _, revision = part.archive.partition("@")
        held = try_to_load_from_cache(repository, part.member, revision=revision)
        if isinstance(held, str):
            yield file, Path(shutil.copyfile(held, staging / "file"))
        else:
            absent.append(file)
    if not absent:
        return
    require()
    for file in absent:
        (part,) = source.parts[file.name]
        yield file, _download(part, file, staging, progress)


def require() -> None:
    """Raises SourceError unless the hub may be asked and answers."""
    from huggingface_hub import constants

    if settings.hub_offline():
        raise SourceError("HF_HUB_OFFLINE is set" if not settings.offline() else "MMPIPE_OFFLINE is set")
    if not answers(constants.ENDPOINT):
        raise SourceError(f"{constants.ENDPOINT} does not answer")


@cache
def answers(endpoint: str) -> bool:
    """Whether anything answers there, within seconds; asked once in a process.

    Any answer counts, also an error: a mirror may refuse its front page and still serve files.
    """
    from huggingface_hub import get_session

    answered = threading.Event()

    def ask() -> None:
        try:
            get_session().head(endpoint, timeout=PROBE_TIMEOUT_S)
        except Exception as error:  # noqa: BLE001  whatever it is, the hub is not to be had
            log.info("the hub %s does not answer: %s", endpoint, error)
        else:
            answered.set()

    # On a thread of its own, because looking up a name knows no timeout.
    asking = threading.Thread(target=ask, name="mmpipe-hub-probe", daemon=True)
    asking.start()
    asking.join(PROBE_TIMEOUT_S + 1)
    return answered.is_set()


def _download(part: Part, file: File, staging: Path, progress: Progress) -> Path:
    from huggingface_hub import hf_hub_download

    repository, _, revision = part.archive.partition("@")
    try:
        path = hf_hub_download(
            repository,
            part.member,
            revision=revision,
            local_dir=staging / "hub",
            tqdm_class=_bar(file.name, progress),
        )
    except OSError as error:
        if error.errno is not None:  # the disk's, not the network's: those carry no errno
            raise
        raise SourceError(f"{part.archive} does not give {part.member} ({_first_line(error)})") from error
    except Exception as error:
        raise SourceError(f"{part.archive} does not give {part.member} ({_first_line(error)})") from error
    return Path(path)


def _bar(label: str, progress: Progress) -> type[Any]:
    """The hub reports to a bar of the tqdm kind: one that passes the numbers on and draws nothing."""
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[type-arg]
        def __init__(self, *args: Any, **options: Any) -> None:
            self._done = int(options.get("initial") or 0)
            self._all = options.get("total")
            super().__init__(*args, **{**options, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            self._done += int(n or 0)
            progress(self._done, self._all, label)
            return None

    return Bar


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
