"""How the synthesis models are opened and run in ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmpipe.errors import WeightsError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class OnnxSession:
    """A model on the CPU that holds no more memory between two runs than its weights.

    By itself ONNX Runtime keeps what the longest text so far took: 320 MB for a sentence of 200 letters by Kokoro.

    Raises:
        WeightsError: ``model`` is not there, or is no model that can be run.
    """

    def __init__(self, model: Path, threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # Waiting threads sleep instead of spinning: recognition and translation run on the same cores.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._run_options = onnxruntime.RunOptions()
        self._run_options.add_run_config_entry("memory.enable_memory_arena_shrinkage", "cpu:0")
        try:
            self._session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common base but this
            raise WeightsError(f"{model} cannot be run: {error}. Fetch it again, or name another folder") from error

    def run(self, inputs: Mapping[str, Any], outputs: Sequence[str] | None = None) -> list[Any]:
        """The outputs of these names, or all of them.

        Args:
            inputs: arrays by the names of the model's inputs.
            outputs: names of outputs.
        """
        found: list[Any] = self._session.run(outputs, dict(inputs), self._run_options)
        return found
