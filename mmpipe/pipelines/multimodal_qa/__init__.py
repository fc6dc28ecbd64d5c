"""Questions about pictures: :class:`MultimodalQA` answers them; the other names are what it takes and gives."""

from mmpipe.pipelines.multimodal_qa.conversation import Conversation
from mmpipe.pipelines.multimodal_qa.evidence import Evidence, PictureEvidence
from mmpipe.pipelines.multimodal_qa.fused import FusedModel
from mmpipe.pipelines.multimodal_qa.pipeline import MultimodalQA
from mmpipe.pipelines.multimodal_qa.question import AskOptions, Question
from mmpipe.pipelines.multimodal_qa.stream import AnswerStream

__all__ = [
    "AnswerStream",
    "AskOptions",
    "Conversation",
    "Evidence",
    "FusedModel",
    "MultimodalQA",
    "PictureEvidence",
    "Question",
]
