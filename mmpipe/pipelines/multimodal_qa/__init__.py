"""Questions about pictures: :class:`MultimodalQA` answers them; the other names are what it takes and gives.

They are loaded when they are first used: reading text in pictures needs no language model, and no torch. Without the
extra ``qa``, what needs it raises MissingDependencyError.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mmpipe.extras import require

#: public name -> module of this package that defines it
_PUBLIC = {
    "AnswerStream": "stream",
    "AskOptions": "question",
    "Conversation": "conversation",
    "Evidence": "evidence",
    "FusedModel": "fused",
    "MultimodalQA": "pipeline",
    "PictureEvidence": "evidence",
    "PictureReader": "reading",
    "Question": "question",
}

#: What works without the extra ``qa``.
_LIGHT = ("evidence", "reading", "stream")

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _PUBLIC[name] not in _LIGHT:
        for module in ("torch", "transformers"):
            require(module, "qa", "Answering questions about pictures")
    value = getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    globals()[name] = value
    return value


if TYPE_CHECKING:
    from mmpipe.pipelines.multimodal_qa.conversation import Conversation as Conversation
    from mmpipe.pipelines.multimodal_qa.evidence import Evidence as Evidence
    from mmpipe.pipelines.multimodal_qa.evidence import PictureEvidence as PictureEvidence
    from mmpipe.pipelines.multimodal_qa.fused import FusedModel as FusedModel
    from mmpipe.pipelines.multimodal_qa.pipeline import MultimodalQA as MultimodalQA
    from mmpipe.pipelines.multimodal_qa.question import AskOptions as AskOptions
    from mmpipe.pipelines.multimodal_qa.question import Question as Question
    from mmpipe.pipelines.multimodal_qa.reading import PictureReader as PictureReader
    from mmpipe.pipelines.multimodal_qa.stream import AnswerStream as AnswerStream
