"""What a live session may be told."""

from __future__ import annotations

from dataclasses import dataclass, field

from mmpipe.errors import InputError
from mmpipe.pipelines.live.segmenter import SegmenterOptions


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """What one session wants.

    Raises:
        InputError: options that contradict one another.
    """

    to: str | None = None  # language to translate into; None: captions only
    source: str | None = None  # language that is spoken; None: detect it
    between: tuple[str, str] | None = None  # two-way: whatever is said in one is translated into the other
    speak: bool = False  # also speak the translation
    voice: str | None = None
    speed: float = 1.0
    #: The microphone does not hear the voice. Otherwise nothing is listened to while the voice is played, so that the
    #: session does not take it for somebody who speaks. True also where the sound comes from a file.
    headphones: bool = False
    #: With headphones: whoever answers the voice before it is through makes it stop. None: in a two-way talk only; in
    #: a lecture the speaker talks over the voice all the time.
    barge_in: bool | None = None
    #: The voice may be this far behind; then the oldest sentences that wait for it are left out.
    max_behind_s: float = 20.0
    hotwords: tuple[str, ...] = ()
    draft: bool = True  # translate what is not final yet, too
    segmenter: SegmenterOptions = field(default_factory=SegmenterOptions)
    stats_every_s: float = 5.0
    #: Speech without a word understood for this long is worth a warning.
    warn_after_s: float = 20.0

    def __post_init__(self) -> None:
        if self.between and (self.to or self.source):
            raise InputError("'between' names both languages: leave out 'to' and 'source'.")
        if self.between and self.between[0] == self.between[1]:
            raise InputError(f"'between' wants two languages, not {self.between[0]!r} twice.")
        if self.speak and not (self.to or self.between):
            raise InputError("'speak' needs a language to speak: give 'to' or 'between'.")

    def target(self, language: str) -> str | None:
        """What is said in ``language`` is translated into this; None: it is not."""
        if self.between:
            one, other = self.between
            return other if language == one else one
        return self.to if self.to != language else None

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """(source, target) languages that are to be translated, as far as they are known before anything is said."""
        if self.between:
            return [self.between, (self.between[1], self.between[0])]
        return [(self.source, self.to)] if self.source and self.to and self.source != self.to else []

    @property
    def voices(self) -> list[str]:
        """Languages that are to be spoken."""
        return [code for code in (self.to, *(self.between or ())) if code and self.speak]

    @property
    def barges_in(self) -> bool:
        return self.headphones and (self.between is not None if self.barge_in is None else self.barge_in)
