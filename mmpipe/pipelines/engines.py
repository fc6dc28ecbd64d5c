"""One owner of models: what a process has loaded, and how all of it is called and closed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeVar

from mmpipe.audio.recognition import load_recognizer
from mmpipe.audio.synthesis import BuiltInSynthesizers, TextToSpeech
from mmpipe.audio.synthesis import Runner as SpeechRunner
from mmpipe.audio.vad import SileroVad
from mmpipe.batching import BatcherStats, BatchOptions, Device, Priority
from mmpipe.errors import MmpipeError
from mmpipe.extras import require
from mmpipe.memory import resident_bytes
from mmpipe.pipelines.batchers import Batchers
from mmpipe.stage import Recognizer, Stage, Synthesizer, TextReader, Translator
from mmpipe.translate import Glossary, TextTranslator
from mmpipe.translate.engines import installed_engines
from mmpipe.translate.sentences import Runner

if TYPE_CHECKING:
    from mmpipe.generation.engine import GenerationEngine
    from mmpipe.generation.options import EngineOptions
    from mmpipe.pipelines.multimodal_qa.fused import FusedModel
    from mmpipe.pipelines.multimodal_qa.image_encoding import BatchedImageEncoder

T = TypeVar("T")


class _Closing(Protocol):
    def close(self) -> None: ...


ClosingT = TypeVar("ClosingT", bound=_Closing)


class LoadState(StrEnum):
    WAITING = "waiting"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """How far a model is. ``memory_bytes``: by how much the process grew while it was loaded; 0 without psutil."""

    name: str  # for people
    state: LoadState = LoadState.WAITING
    why: str = ""  # it failed
    seconds: float = 0.0  # that loading took
    memory_bytes: int = 0


class Lazy(Generic[T]):
    """A value that is made once, by whoever asks first; the others wait. What failed is tried again by the next."""

    def __init__(self, name: str, make: Callable[[], T]) -> None:
        self.status = ModelStatus(name)
        self._make, self._lock = make, Lock()
        self._made: list[T] = []

    def __call__(self) -> T:
        """The value. Raises: what making it raises."""
        with self._lock:
            if not self._made:
                self._made.append(self._load())
            return self._made[0]

    @property
    def made(self) -> T | None:
        """The value, if it is there."""
        return self._made[0] if self._made else None

    def _load(self) -> T:
        began_s, before = time.monotonic(), resident_bytes()
        self.status = replace(self.status, state=LoadState.LOADING, why="")
        try:
            made = self._make()
        except Exception as error:
            why = str(error) if isinstance(error, MmpipeError) else "an internal error; the server's log says more"
            self.status = replace(self.status, state=LoadState.FAILED, why=why)
            raise
        self.status = replace(
            self.status,
            state=LoadState.READY,
            seconds=time.monotonic() - began_s,
            memory_bytes=max(0, resident_bytes() - before),
        )
        return made


class Engines:
    """The models of a process, one of each, and the batchers through which everybody calls them.

    Give the same ``Engines`` to all pipelines of a process: they then share models and batches. Each model is loaded
    when it is first needed. A context manager; may be used from any thread.

    >>> with Engines("whisper-base") as engines:  # doctest: +SKIP
    ...     transcriber, translator = Transcriber(engines), SpeechTranslator("pt", engines)

    Args:
        recognizer: an engine, the name of Whisper weights, a folder with a converted Whisper, or "module:Class" of
            your own engine.
        translators: None: :func:`~mmpipe.translate.engines.installed_engines`.
        synthesizers: None: Kokoro, Piper and espeak-ng.
        reader: of text in pictures; None: RapidOCR.
        fused_model: what answers questions about pictures, a :class:`~mmpipe.pipelines.multimodal_qa.FusedModel` or
            the folder of an adapter; None: the adapter that mmpipe carries, for SmolLM2 135M and EfficientNet-Lite2.
        generation: the bounds of what is answered at once; None: the defaults.
        interactive: batches of the recognizer are half as large as it takes at once: where somebody waits, a result
            that comes soon is worth more than the last tenth of throughput.

    What was given is closed by whoever made it; what was loaded here is closed by :meth:`close`.
    """

    def __init__(
        self,
        recognizer: Recognizer | str | Path = "whisper-base",
        *,
        translators: Sequence[Translator] | None = None,
        synthesizers: Sequence[Synthesizer] | None = None,
        reader: TextReader | None = None,
        fused_model: FusedModel | Path | None = None,
        generation: EngineOptions | None = None,
        interactive: bool = False,
    ) -> None:
        self._loaded: list[_Closing] = []  # here, in order
        self._given = (recognizer, translators or (), synthesizers or ())
        self._interactive = interactive
        self._recognizer: Lazy[Recognizer] = Lazy("Speech recognition", lambda: self._load_recognizer(recognizer))
        self._translators: Lazy[Sequence[Translator]] = Lazy("Translation", lambda: self._load_translators(translators))
        self._synthesizers = self._built_in_synthesizers() if synthesizers is None else synthesizers
        self._reader: Lazy[TextReader] = Lazy("Text in pictures", lambda: reader or self._load_reader())
        self._vad = Lazy("Voice activity", SileroVad)
        self._fused_model: Lazy[FusedModel] = Lazy("Questions about pictures", lambda: _load_model(fused_model))
        self._image_encoder: Lazy[BatchedImageEncoder] = Lazy("Image encoder", self._load_image_encoder)
        self._generation: Lazy[GenerationEngine] = Lazy("Generation", lambda: self._load_generation(generation))
        self._device = Device()  # the image encoder and the language model take turns
        self.batchers = Batchers(Priority.INTERACTIVE, self._batch_options)
        #: Whether text in pictures can be read.
        self.can_read = reader is not None or find_spec("rapidocr") is not None

    # --- the models ---

    @property
    def recognizer(self) -> Recognizer:
        """
        Raises:
            WeightsError, MissingDependencyError: it cannot be had.
            InputError: there is no such engine.
        """
        return self._recognizer()

    @property
    def vad(self) -> SileroVad:
        """
        Raises:
            WeightsError: it cannot be had.
        """
        return self._vad()

    @property
    def translators(self) -> Sequence[Translator]:
        """What translates, the preferred first."""
        return self._translators()

    @property
    def reader(self) -> TextReader:
        """
        Raises:
            WeightsError, MissingDependencyError: it cannot be had.
        """
        return self._reader()

    @property
    def fused_model(self) -> FusedModel:
        """
        Raises:
            WeightsError, MissingDependencyError: it cannot be had.
        """
        return self._fused_model()

    @property
    def image_encoder(self) -> BatchedImageEncoder:
        """That of :attr:`fused_model`. Raises: as :attr:`fused_model`."""
        return self._image_encoder()

    @property
    def generation(self) -> GenerationEngine:
        """That of :attr:`fused_model`. Raises: as :attr:`fused_model`."""
        return self._generation()

    # --- how they are called ---

    def text_translator(self, glossary: Glossary | None = None, runner: Runner | None = None) -> TextTranslator:
        """Translation of texts. ``runner``: how engines are called; None: through :attr:`batchers`."""
        return TextTranslator(self.translators, glossary, runner or self.batchers)

    def text_to_speech(self, runner: SpeechRunner | None = None) -> TextToSpeech:
        """Speech of texts. ``runner``: how engines are called; None: through :attr:`batchers`."""
        return TextToSpeech(self._synthesizers, runner or self.batchers)

    def identity(self) -> dict[str, Any]:
        """What tells these engines from others in another process, too: a job of others cannot be resumed."""
        recognizer, translators, synthesizers = self._given
        return {
            "recognizer": _named(recognizer) if isinstance(recognizer, Recognizer) else str(recognizer),
            "translators": [_named(engine) for engine in translators],  # none: those that are installed
            "synthesizers": [_named(engine) for engine in synthesizers],
        }

    def stats(self) -> dict[str, BatcherStats]:
        """What each engine's batcher has done, by the name of the engine."""
        return self.batchers.stats()

    # --- the end ---

    def close(self) -> None:
        """Free what was loaded here. What is being computed fails. May be called twice.

        What computes ends first, the newest before what it stands on; then the models it computed with.
        """
        if self._generation.made is not None:
            self._generation.made.close(drain=False)
        if self._image_encoder.made is not None:
            self._image_encoder.made.close()
        self.batchers.close()
        while self._loaded:
            self._loaded.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- how they are loaded ---

    def _load_recognizer(self, given: Recognizer | str | Path) -> Recognizer:
        if isinstance(given, Recognizer):
            return given
        return self._keep(load_recognizer(given))

    def _load_translators(self, given: Sequence[Translator] | None) -> Sequence[Translator]:
        if given is not None:
            return given
        return [self._keep(engine) for engine in installed_engines()]

    def _built_in_synthesizers(self) -> BuiltInSynthesizers:
        return self._keep(BuiltInSynthesizers())

    def _load_reader(self) -> TextReader:
        from mmpipe.vision.ocr import RapidOcr

        return self._keep(RapidOcr())

    def _load_image_encoder(self) -> BatchedImageEncoder:
        from mmpipe.pipelines.multimodal_qa.image_encoding import BatchedImageEncoder

        return BatchedImageEncoder(self.fused_model.encoder, self._device)

    def _load_generation(self, options: EngineOptions | None) -> GenerationEngine:
        from mmpipe.generation.engine import GenerationEngine

        return GenerationEngine(
            self.fused_model.language_model, options, attending=self.fused_model.attending, device=self._device
        )

    def _keep(self, made: ClosingT) -> ClosingT:
        self._loaded.append(made)
        return made

    def _batch_options(self, stage: Stage[Any, Any]) -> BatchOptions:
        halved = self._interactive and isinstance(stage, Recognizer)
        return BatchOptions(-(-stage.max_items // 2) if halved else stage.max_items, stage.max_cost)


def _load_model(given: FusedModel | Path | None) -> FusedModel:
    for module in ("torch", "transformers"):
        require(module, "qa", "Answering questions about pictures")
    from mmpipe.pipelines.multimodal_qa.fused import FusedModel

    if isinstance(given, FusedModel):
        return given
    return FusedModel.load(given) if given is not None else FusedModel.load()


def _named(engine: Stage[Any, Any]) -> list[str]:
    return [type(engine).__module__, type(engine).__qualname__, engine.name]
