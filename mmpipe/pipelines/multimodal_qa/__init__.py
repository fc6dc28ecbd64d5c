"""Questions about pictures: :class:`MultimodalQA` answers them; the other names are what it takes and gives.

They are loaded when they are first used: reading text in pictures needs no language model, and no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

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

__all__ = list(_PUBLIC)


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
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
