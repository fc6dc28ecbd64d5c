"""The configuration of a training, a TOML file. Unknown keys are refused."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mmpipe.errors import InputError
from mmpipe.fusion.lora import TARGETS


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StrategyConfig(_Strict):
    name: str
    settings: dict[str, Any] = {}


class EncoderConfig(_Strict):
    """An EfficientNet-Lite. ``levels``: spatial features of its earlier layers too; then ``size_px`` may be chosen."""

    name: str = "efficientnet-lite2"
    levels: bool = False
    size_px: int | None = Field(default=None, ge=32)


class LoraConfig(_Strict):
    """``rank`` 0: the language model stays as it is."""

    rank: int = Field(default=8, ge=0)
    alpha: float = Field(default=16.0, gt=0)
    targets: tuple[str, ...] = TARGETS


class DataConfig(_Strict):
    """``recipe``: "data-free" makes pictures up from the encoder's classifier; "jsonl" reads ``train``.

    A line of a JSONL file: {"image": path, "question": ..., "answer": ...}, the path relative to the file.
    """

    recipe: Literal["data-free", "jsonl"]
    train: Path | None = None
    #: judged by while training, to stop early; without it a fiftieth of ``train`` is held out
    validation: Path | None = None
    #: scored at the end, never looked at before
    test: Path | None = None
    #: questions about the same pictures in one sequence, at most; fewer where these are several, or come in turns
    questions_per_row: int = Field(default=8, ge=1)
    #: data-free: share of rows with two or three pictures in place of one
    several: float = Field(default=0.0, ge=0, le=1)
    #: data-free: share of rows that go on with a conversation, with another picture or without
    turns: float = Field(default=0.0, ge=0, le=1)

    @model_validator(mode="after")
    def _of_the_recipe(self) -> Self:
        if self.several + self.turns > 1:
            raise ValueError("several and turns are shares of the same rows: together at most 1")
        if self.recipe != "data-free" and self.several + self.turns:
            raise ValueError("several and turns are for the data-free recipe")
        if self.recipe == "data-free" and (self.train or self.validation or self.test):
            raise ValueError("train, validation and test are for the jsonl recipe; the data-free one reads no files")
        return self


class OptimizerConfig(_Strict):
    steps: int = Field(ge=1)
    #: rows in one step, mostly of one picture each; of spoken questions: recordings
    batch_pictures: int = Field(default=4, ge=1)
    learning_rate: float = Field(default=7e-4, gt=0)
    #: of parameters whose name starts so, in place of ``learning_rate``; "lora": the low-rank matrices
    learning_rates: dict[str, float] = {}
    warmup_steps: int = Field(default=50, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    mixed_precision: Literal["no", "bf16", "fp16"] = "bf16"
    evaluate_every_steps: int = Field(default=250, ge=1)
    #: stop when the validation loss did not fall in so many evaluations
    patience: int = Field(default=8, ge=1)


class RunConfig(_Strict):
    """What every training is told."""

    language_model: str = "smollm2-135m"
    seed: int = 0
    lora: LoraConfig = LoraConfig()
    optimizer: OptimizerConfig

    @classmethod
    def read(cls, path: Path) -> Self:
        """Paths in the file are relative to it.

        Raises:
            InputError: no such file, no TOML, or keys and values that are not known.
        """
        try:
            raw = tomllib.loads(path.read_text("utf-8"))
            for key in ("train", "validation", "test"):
                if isinstance(raw.get("data"), dict) and key in raw["data"]:
                    raw["data"][key] = path.parent / raw["data"][key]
            return cls.model_validate(raw)
        except OSError as error:
            raise InputError(f"Cannot read the configuration {path}: {error.strerror or error}.") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path} is not a TOML file: {error}.") from error
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise InputError(f"{path}: {where}: {first['msg']}.") from error


class TrainingConfig(RunConfig):
    """An adapter for pictures."""

    encoder: EncoderConfig = EncoderConfig()
    strategy: StrategyConfig
    data: DataConfig

    @classmethod
    def read(cls, path: Path) -> Self:
        config = super().read(path)
        if config.data.recipe == "jsonl" and config.data.train is None:
            raise InputError(f"{path}: data.train: the jsonl recipe wants a file to train on.")
        return config
