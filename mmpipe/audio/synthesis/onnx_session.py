"""How the synthesis models are opened in ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmpipe.errors import WeightsError

if TYPE_CHECKING:
    from pathlib import Path


def open_session(model: Path, threads: int) -> Any:
    """An ``onnxruntime.InferenceSession`` on the CPU.

    Raises:
        WeightsError: ``model`` is not there, or is no model that can be run.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    # Waiting threads sleep instead of spinning: recognition and translation run on the same cores.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no common base but this
        raise WeightsError(f"{model} cannot be run: {error}. Fetch it again, or name another folder") from error
