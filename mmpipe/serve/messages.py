"""Control messages, checked at the edge. Unknown fields are refused: a misspelt option must not be ignored."""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from mmpipe.audio.synthesis.text_to_speech import MAX_SPEED, MIN_SPEED
from mmpipe.errors import InputError, LanguageError
from mmpipe.pipelines.live import LiveOptions
from mmpipe.serve.wire import OPUS_RATE_HZ, Close, ProtocolError
from mmpipe.translate.languages import language_code

T = TypeVar("T")


def _code(language: str) -> str:
    try:
        return language_code(language)
    except LanguageError as error:
        raise ValueError(str(error)) from None


#: However a client calls it, what comes behind here only knows its code.
Language = Annotated[str, Field(min_length=2, max_length=16, pattern=r"^[A-Za-z_-]+$"), AfterValidator(_code)]
Hotword = Annotated[str, Field(min_length=1, max_length=64)]
Seq = Annotated[int, Field(ge=0, lt=2**32)]


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Start(_Message):
    """Begin a session."""

    type: Literal["start"]
    api_key: SecretStr | None = None
    format: Literal["pcm16", "opus"] = "pcm16"
    rate_hz: Annotated[int, Field(ge=8_000, le=48_000)] = 16_000  # of pcm16
    source: Language | None = None
    to: Language | None = None
    between: tuple[Language, Language] | None = None
    speak: bool = False
    voice: Annotated[str, Field(max_length=64)] | None = None
    speed: Annotated[float, Field(ge=MIN_SPEED, le=MAX_SPEED)] = 1.0
    headphones: bool = False
    barge_in: bool | None = None
    hotwords: Annotated[tuple[Hotword, ...], Field(max_length=100)] = ()
    partials: bool = True
    drafts: bool = True
    stats: bool = True

    @model_validator(mode="after")
    def _fits_together(self) -> Start:
        try:
            self.live_options()
        except InputError as error:
            raise ValueError(str(error)) from None
        if self.format == "opus" and "rate_hz" in self.model_fields_set and self.rate_hz != OPUS_RATE_HZ:
            raise ValueError(f"Opus is counted at {OPUS_RATE_HZ} Hz: leave out 'rate_hz'")
        return self

    def live_options(self) -> LiveOptions:
        return LiveOptions(
            to=self.to,
            source=self.source,
            between=self.between,
            speak=self.speak,
            voice=self.voice,
            speed=self.speed,
            headphones=self.headphones,
            barge_in=self.barge_in,
            hotwords=self.hotwords,
            draft=self.drafts,
        )


class Resume(_Message):
    """Go on with a session after the connection was lost."""

    type: Literal["resume"]
    api_key: SecretStr | None = None
    session: Annotated[str, Field(max_length=64)]
    token: SecretStr
    last_event: Seq  # the last event that was received whole; 0: none


class Finish(_Message):
    """No more sound will come. ``packets``: how many were sent."""

    type: Literal["finish"]
    packets: Seq


class Ack(_Message):
    """All events up to ``event`` were received whole: the server need not keep them."""

    type: Literal["ack"]
    event: Seq


class Ping(_Message):
    type: Literal["ping"]


class Playing(_Message):
    """The client's player plays the voice now, or does not."""

    type: Literal["playing"]
    playing: bool


Opening = Start | Resume
Control = Finish | Ack | Ping | Playing

_OPENING: TypeAdapter[Opening] = TypeAdapter(Annotated[Opening, Field(discriminator="type")])
_CONTROL: TypeAdapter[Control] = TypeAdapter(Annotated[Control, Field(discriminator="type")])


def parse_opening(text: str) -> Opening:
    """The first message of a connection.

    Raises:
        ProtocolError: it is none.
    """
    return _parse(_OPENING, text)


def parse_control(text: str) -> Control:
    """A later message.

    Raises:
        ProtocolError: it is none.
    """
    return _parse(_CONTROL, text)


def _parse(adapter: TypeAdapter[T], text: str) -> T:
    try:
        return adapter.validate_json(text)
    except ValidationError as error:
        # what was sent stays out of the answer and of the logs: it may hold a key
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        problem = f"{where}: {first['msg']}" if where else first["msg"]
        raise ProtocolError(
            Close.BAD_MESSAGE, f"Not a control message: {problem}. docs/protocol.md lists them."
        ) from None
