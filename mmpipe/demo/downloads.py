"""What the live tab showed, as subtitles: the page sends its rows, the library writes the file."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from mmpipe.subtitles import Item, render
from mmpipe.types import Segment, TranslatedSegment, Translation, Word

Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Language = Annotated[str, Field(max_length=16)]

#: A session of four hours has about five thousand sentences.
MAX_ROWS = 20_000
#: Sentences and words, in brackets.
MAX_PARTS = 200_000


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ShownWord(_Model):
    text: Annotated[str, Field(max_length=200)]
    start_s: Seconds
    end_s: Seconds
    probability: float


class ShownRow(_Model):
    """A sentence as the page shows it: ``Row`` in ``static/captions.js``."""

    start_s: Seconds
    end_s: Seconds
    text: Annotated[str, Field(max_length=5_000)]
    language: Language
    words: Annotated[tuple[ShownWord, ...], Field(max_length=2_000, fail_fast=True)]
    translation: Annotated[str, Field(max_length=10_000)] | None
    target: Language | None
    turn: bool  # where a turn begins is for the eye

    def source(self) -> Segment:
        words = tuple(Word(word.text, word.start_s, word.end_s, word.probability) for word in self.words)
        return Segment(self.start_s, self.end_s, self.text, self.language, words)

    def item(self, wanted: str) -> Item | None:
        """What a file of ``wanted`` texts has of this row."""
        if wanted == "source":
            return self.source()
        if self.translation is None:
            return None if wanted == "translation" else self.source()
        translation = Translation(self.text, self.translation, self.language, self.target or "")
        return TranslatedSegment(self.source(), translation)


class SubtitleRequest(_Model):
    """``text``: in which languages."""

    kind: Literal["srt", "vtt", "json"]
    text: Literal["both", "translation", "source"]
    rows: Annotated[tuple[ShownRow, ...], Field(max_length=MAX_ROWS, fail_fast=True)]

    def render(self) -> str:
        items = [item for row in self.rows if (item := row.item(self.text)) is not None]
        return render(items, self.kind, bilingual=self.text == "both")
