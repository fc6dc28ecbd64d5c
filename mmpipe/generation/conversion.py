"""GGUF files, converted once into a folder that loads in a second.

transformers reads GGUF, but takes a quarter of a minute for 135 million weights. What it read is kept in the cache of
weights: fp16 safetensors, the configuration and the tokenizer, in the layout of any model folder. The folder is named
by the digest of the GGUF file; every file in it is verified as fetched weights are, and made again when damaged.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from mmpipe.errors import WeightsError
from mmpipe.extras import require
from mmpipe.weights import disk
from mmpipe.weights.cache import Folder
from mmpipe.weights.manifest import File

logger = logging.getLogger(__name__)

#: In the folder's name: raised when the conversion changes, so that what an older mmpipe made is not used.
_VERSION = 1
_LISTING = "converted.json"
#: On disk for a byte of Q4_1: the fp16 file is 2.7 times as large; twice in all, as a file is staged before it moves.
_ROOM_FACTOR = 4


def sha256(path: Path) -> str:
    """The digest of a file, hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def converted(gguf: Path) -> Path:
    """The folder that ``gguf`` was converted into; made now if need be. Safe with several processes at once.

    Raises:
        WeightsError: it is not a GGUF file of a model that transformers knows; or no room in the cache.
    """
    with disk.convert_os_errors():
        digest = sha256(gguf)
        folder = Folder(f"converted-{digest[:16]}-v{_VERSION}")
        if _whole(folder):
            return folder.path
        needed_bytes = _ROOM_FACTOR * gguf.stat().st_size
        with folder.locked(), disk.convert_os_errors(needed_bytes):
            if not _whole(folder):  # another process may have made it just before
                with folder.staging() as staging:
                    disk.require_room(staging, needed_bytes)
                    logger.info("Converting %s into what loads fast: half a minute, this once", gguf.name)
                    _convert(gguf, staging)
                    _commit(folder, staging, digest)
        return folder.path


def _whole(folder: Folder) -> bool:
    try:
        listing = json.loads((folder.path / _LISTING).read_text("utf-8"))
        files = [File(name, **pin) for name, pin in listing["files"].items()]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return folder.inspect(files).good


def _commit(folder: Folder, staging: Path, source_sha256: str) -> None:
    """Move every file to its place, the listing last: without it, the folder counts for nothing."""
    (folder.path / _LISTING).unlink(missing_ok=True)
    files = [_pinned(path) for path in sorted(staging.iterdir())]
    pins = {file.name: {"size_bytes": file.size_bytes, "sha256": file.sha256} for file in files}
    listing = staging / _LISTING
    listing.write_text(json.dumps({"source_sha256": source_sha256, "files": pins}, indent=1), "utf-8")
    for file in (*files, _pinned(listing)):
        folder.commit(file, staging / file.name)


def _pinned(path: Path) -> File:
    return File(path.name, path.stat().st_size, sha256(path))


def _convert(gguf: Path, target: Path) -> None:
    require("gguf", "qa", "Reading GGUF files")
    torch = require("torch", "qa", "A language model")
    transformers = require("transformers", "qa", "A language model")
    save_file = require("safetensors.torch", "qa", "A language model").save_file

    where: dict[str, Any] = {"pretrained_model_name_or_path": gguf.parent, "gguf_file": gguf.name}
    try:
        with quiet():
            model = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
            tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
    except (ValueError, KeyError, OSError, NotImplementedError) as error:
        raise WeightsError(f"transformers cannot read {gguf} ({error}). Use a GGUF file of a Llama model.") from error
    _correct(tokenizer, gguf)
    tokenizer.save_pretrained(target)
    # A model that came from GGUF refuses save_pretrained: it counts as quantized, which it no longer is.
    state = {name: weights.to(torch.float16).contiguous() for name, weights in model.state_dict().items()}
    if model.config.tie_word_embeddings:
        state.pop("lm_head.weight", None)
    save_file(state, target / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_dict()
    config.pop("quantization_config", None)
    type(model.config).from_dict(config | {"architectures": [type(model).__name__]}).save_pretrained(target)


def _correct(tokenizer: Any, gguf: Path) -> None:
    """Split numbers into digits before anything else where the file says so: transformers does not look there."""
    field = require("gguf", "qa", "Reading GGUF files").GGUFReader(gguf).get_field("tokenizer.ggml.pre")
    if field is not None and field.contents() == "smollm":
        from tokenizers import pre_tokenizers

        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars of transformers on the error stream."""
    switches = require("transformers.utils.logging", "qa", "A language model")
    gguf_reader = require("transformers.modeling_gguf_pytorch_utils", "qa", "A language model")
    shown, bar = switches.is_progress_bar_enabled(), gguf_reader.tqdm
    switches.disable_progress_bar()
    gguf_reader.tqdm = partial(bar, disable=True)  # it does not ask the switch
    try:
        yield
    finally:
        gguf_reader.tqdm = bar
        if shown:
            switches.enable_progress_bar()
