"""The configuration of a training on spoken questions, a TOML file. Unknown keys are refused."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from mmpipe.fusion.audio.questions import HELD_OUT_VOICES
from mmpipe.fusion.training.config import LoraConfig, RunConfig, _Strict


class ProjectorConfig(_Strict):
    """See :class:`~mmpipe.fusion.audio.projector.ProjectorShape`."""

    stack: int = Field(default=8, ge=1)
    hidden: int = Field(default=1024, ge=1)


class SpeechConfig(_Strict):
    """Each question is spoken ``clips_per_question`` times, each time by the next voice at the next speed."""

    voices: Annotated[tuple[str, ...], Field(min_length=1)]
    speeds: Annotated[tuple[float, ...], Field(min_length=1)] = (1.0,)
    clips_per_question: int = Field(default=1, ge=1)
    #: the teacher's answers are cut here
    answer_tokens: int = Field(default=12, ge=1)
    #: how many recordings of held-out questions judge while training
    validation_clips: int = Field(default=96, ge=1)

    @field_validator("voices")
    @classmethod
    def _not_held_out(cls, voices: tuple[str, ...]) -> tuple[str, ...]:
        if kept := sorted(set(voices) & set(HELD_OUT_VOICES)):
            raise ValueError(f"{', '.join(kept)} is kept for the evaluation; train with other voices")
        return voices


class SpokenConfig(RunConfig):
    """An audio projector, distilled from the text; the language model stays as it is."""

    encoder: str = "whisper-base"
    projector: ProjectorConfig = ProjectorConfig()
    lora: LoraConfig = LoraConfig(rank=0)
    speech: SpeechConfig

    @field_validator("lora")
    @classmethod
    def _frozen(cls, lora: LoraConfig) -> LoraConfig:
        if lora.rank:
            raise ValueError("an audio projector is distilled into a frozen language model: rank is 0")
        return lora
