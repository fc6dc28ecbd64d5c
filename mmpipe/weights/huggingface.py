"""Weights from the Hugging Face hub, or from the mirror that ``HF_ENDPOINT`` names."""

from __future__ import annotations

import json
import logging
import re
import shutil
import threading
from collections.abc import Generator, Sequence
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mmpipe.errors import WeightsError
from mmpipe.weights import disk, settings
from mmpipe.weights.archives import Progress
from mmpipe.weights.limits import METADATA_BYTES, SourceError, TooLargeError, limit_explanations
from mmpipe.weights.manifest import File, WeightsSource
from mmpipe.weights.process import removed_on_error

logger = logging.getLogger(__name__)

#: What an unreachable hub may cost, once in a process.
PROBE_TIMEOUT_S = 3.0
_METADATA_TIMEOUT_S = 10.0
_CHUNK_BYTES = 1 << 18

#: ``hf:owner/name``, with ``@revision`` if wanted: any model repository.
NAME = re.compile(r"hf:(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[\w./-]+))?")


def held(
    source: WeightsSource, wanted: Sequence[File], staging: Path, progress: Progress
) -> Generator[tuple[File, Path]]:
    """What the hub's own cache on this machine already holds of ``source``, copied into ``staging``."""
    from huggingface_hub import try_to_load_from_cache

    for file in wanted:
        repository, revision, path = _place(source, file)
        found = try_to_load_from_cache(repository, path, revision=revision)
        if isinstance(found, str) and Path(found).stat().st_size == file.size_bytes:
            yield file, Path(shutil.copyfile(found, staging / "file"))
            progress(file.size_bytes, file.size_bytes, file.name)


def fetch(
    source: WeightsSource, wanted: Sequence[File], staging: Path, progress: Progress
) -> Generator[tuple[File, Path]]:
    """Files of ``source`` as they become ready, downloaded into ``staging``, not yet verified.

    Raises:
        SourceError: the hub may not be asked, does not answer, or does not give a file.
    """
    require_answer()
    from huggingface_hub import get_session, hf_hub_download

    limit_explanations(get_session())
    for file in wanted:
        repository, revision, path = _place(source, file)
        try:
            with removed_on_error(staging / "hub"):
                downloaded = hf_hub_download(
                    repository,
                    path,
                    revision=revision,
                    local_dir=staging / "hub",
                    endpoint=settings.hub_endpoint(),
                    tqdm_class=_bar(file, progress),
                )
        except TooLargeError:
            raise
        except Exception as error:
            if isinstance(error, OSError) and error.errno in disk.FULL | disk.FORBIDDEN:
                raise
            raise SourceError(f"{repository} does not give {path} ({_first_line(error)})") from error
        yield file, Path(downloaded)


def describe(name: str) -> dict[str, Any]:
    """A manifest's table for the repository ``name`` (see :data:`NAME`), as the hub has it now.

    Large files come with the SHA-256 that the hub publishes; small ones (``None``) without.

    Raises:
        WeightsError: ``name`` is misspelled, there is no such repository, or the hub cannot be asked.
    """
    match = NAME.fullmatch(name)
    if match is None:
        raise WeightsError(f"{name!r} is not hf:owner/name or hf:owner/name@revision")
    repository = match["repository"]
    try:
        require_answer()
        info = _model_info(repository, match["revision"])
    except TooLargeError:
        raise
    except Exception as error:
        raise WeightsError(
            f"{name} is not in the cache and cannot be fetched: {_first_line(error)}. Check the name and the network, "
            "set HF_ENDPOINT to a mirror of the hub, or give a local folder instead."
        ) from error
    siblings = [file for file in info.siblings or () if not file.rfilename.startswith(".")]
    return {
        "name": name,
        "what": "A repository of the Hugging Face hub, not pinned by mmpipe",
        "task": info.pipeline_tag or "not stated",
        "license": (info.card_data and info.card_data.license) or "not stated",
        "upstream": f"https://huggingface.co/{repository}/tree/{info.sha}",
        "files": {
            file.rfilename: {"size_bytes": file.size or 0, "sha256": file.lfs.sha256 if file.lfs else None}
            for file in siblings
        },
        "hub": {"*": f"{repository}@{info.sha}:*"},
    }


def _model_info(repository: str, revision: str | None) -> Any:
    """As ``HfApi.model_info``, which would read an answer of any length."""
    from huggingface_hub import ModelInfo, get_session
    from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]

    url = f"{settings.hub_endpoint()}/api/models/{repository}"
    if revision is not None:
        url += f"/revision/{quote(revision, safe='')}"
    session: Any = get_session()
    limit_explanations(session)
    headers, options = build_hf_headers(), {"blobs": True}
    with session.stream("GET", url, headers=headers, params=options, timeout=_METADATA_TIMEOUT_S) as answer:
        hf_raise_for_status(answer)
        content = bytearray()
        for chunk in answer.iter_bytes(_CHUNK_BYTES):
            content += chunk
            if len(content) > METADATA_BYTES:
                raise TooLargeError(f"The list of files of {repository}", METADATA_BYTES)
    return ModelInfo(**json.loads(content))  # type: ignore[no-untyped-call]


def require_answer() -> None:
    """Raises SourceError unless the hub may be asked and answers."""
    endpoint = settings.hub_endpoint()
    if settings.offline() or settings.hub_offline():
        raise SourceError(f"{'MMPIPE_OFFLINE' if settings.offline() else 'HF_HUB_OFFLINE'} is set")
    if not answers(endpoint):
        raise SourceError(f"{endpoint} does not answer")


@cache
def answers(endpoint: str) -> bool:
    """Whether anything answers there, within seconds; asked once in a process.

    Any answer counts, an error too: a mirror may refuse its front page and still serve files.
    """
    from huggingface_hub import get_session

    answered = threading.Event()

    def ask() -> None:
        try:
            get_session().head(endpoint, timeout=PROBE_TIMEOUT_S)
        except Exception as error:  # whatever it is, files would not come either
            logger.info("%s does not answer: %s", endpoint, _first_line(error))
        else:
            answered.set()

    # On a thread of its own, because looking up a host's name knows no timeout.
    asking = threading.Thread(target=ask, name="mmpipe-hub-probe", daemon=True)
    asking.start()
    asking.join(2 * PROBE_TIMEOUT_S)
    return answered.is_set()


def _place(source: WeightsSource, file: File) -> tuple[str, str, str]:
    """Repository, revision and path of a file."""
    (part,) = source.parts[file.name]
    repository, _, revision = part.archive.partition("@")
    return repository, revision, part.member


def _bar(file: File, progress: Progress) -> type[Any]:
    """huggingface_hub reports to a tqdm bar: one that draws nothing and passes the numbers on, or has had enough."""
    from huggingface_hub.utils.tqdm import tqdm

    class ProgressBar(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            self._done_bytes = int(options.get("initial") or 0)
            self._total_bytes = options.get("total")
            super().__init__(*args, **options | {"disable": True})  # type: ignore[no-untyped-call]
            self._require_fit(self._total_bytes or 0)

        def update(self, n: float | None = 1) -> None:
            self._done_bytes += int(n or 0)
            self._require_fit(self._done_bytes)
            progress(self._done_bytes, self._total_bytes, file.name)

        def _require_fit(self, size_bytes: int) -> None:
            if size_bytes > file.size_bytes:
                raise TooLargeError(file.name, file.size_bytes)

    return ProgressBar


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
