"""The models behind the page, one set for all visitors, loaded in the background while the page is up already."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from threading import Lock, Thread
from typing import TYPE_CHECKING, Generic, Self, TypeVar

import psutil

from mmpipe.batching import BatcherStats, Priority
from mmpipe.demo.pairs import Pairs
from mmpipe.errors import MissingDependencyError, MmpipeError
from mmpipe.extras import require
from mmpipe.logs import without_text

if TYPE_CHECKING:
    from mmpipe.pipelines.live import LiveModels
    from mmpipe.pipelines.multimodal_qa import MultimodalQA, PictureReader
    from mmpipe.pipelines.speech_translation import SpeechTranslator
    from mmpipe.stage import Recognizer, Synthesizer, Translator

logger = logging.getLogger(__name__)

T = TypeVar("T")

#: For what questions have in common with earlier ones: the last twenty conversations or so.
PREFIX_CACHE_BYTES = 32 << 20
#: Translated and spoken once before the page says that it is ready: what most visitors begin with.
WARM_PAIR = ("en", "pt")


class State(StrEnum):
    WAITING = "waiting"
    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """How far one of the models is. ``memory_bytes``: by how much the process grew while it was loaded."""

    name: str  # for people
    state: State = State.WAITING
    why: str = ""  # it failed
    seconds: float = 0.0  # that loading took
    memory_bytes: int = 0


class Part(Generic[T]):
    """A model that is made once, by whoever asks first; the others wait. A failure is told, and tried again later."""

    def __init__(self, name: str, make: Callable[[], T]) -> None:
        self.status = ModelStatus(name)
        self._make, self._lock = make, Lock()
        self._made: list[T] = []

    def get(self) -> T:
        """The model.

        Raises: what making it raises; MmpipeError as it is.
        """
        with self._lock:
            if not self._made:
                self._made.append(self._load())
            return self._made[0]

    @property
    def made(self) -> T | None:
        """The model, if it is there."""
        return self._made[0] if self._made else None

    def _load(self) -> T:
        began_s, before = time.monotonic(), _resident_bytes()
        self.status = replace(self.status, state=State.LOADING, why="")
        try:
            made = self._make()
        except Exception as error:
            why = str(error) if isinstance(error, MmpipeError) else "an internal error; the server's log says more"
            self.status = replace(self.status, state=State.FAILED, why=why)
            raise
        self.status = replace(
            self.status,
            state=State.READY,
            seconds=time.monotonic() - began_s,
            memory_bytes=max(0, _resident_bytes() - before),
        )
        return made


class DemoModels:
    """Everything the tabs need, loaded when it is first asked for, or by :meth:`warmup`. May be used from any thread.

    Live sessions, recordings and questions run on the same engines behind the same batchers: whoever comes at the
    same time shares a batch. A context manager.

    ``recognizer``: what :func:`~mmpipe.audio.recognition.load_recognizer` takes.
    """

    def __init__(self, recognizer: str = "whisper-base") -> None:
        self.recognizer_name = recognizer
        self._recognizer: Part[Recognizer] = Part("Speech recognition", lambda: _load_recognizer(recognizer))
        self._translators: Part[list[Translator]] = Part("Translation", _load_translators)
        self._synthesizers: Part[list[Synthesizer]] = Part("Voice", _load_synthesizers)
        self._live: Part[LiveModels] = Part("Live sessions, first run", self._load_live)
        self._reader: Part[PictureReader] = Part("Text in pictures", self._load_reader)
        self._qa: Part[MultimodalQA] = Part("Questions about pictures", self._load_qa)
        self._parts: tuple[Part[object], ...] = tuple(
            part  # type: ignore[misc]  # they are only read here
            for part in (self._recognizer, self._translators, self._synthesizers, self._live, self._reader, self._qa)
        )

    # --- what the tabs use; models wait until they are loaded ---

    @property
    def live(self) -> LiveModels:
        """
        Raises:
            WeightsError, MissingDependencyError: a model cannot be had.
        """
        return self._live.get()

    def translator(
        self, to: str, *, source: str | None = None, voice: str | None = None, speed: float = 1.0
    ) -> SpeechTranslator:
        """What translates recordings into ``to``: costs nothing to make, one for each job. Use it in a ``with``.

        Raises:
            WeightsError, MissingDependencyError: a model cannot be had.
            LanguageError: nothing can speak, or translate into, the language.
        """
        from mmpipe.pipelines.speech_translation import SpeechTranslator

        return SpeechTranslator(
            to,
            source=source,
            voice=voice,
            speed=speed,
            recognizer=self._recognizer.get(),
            translators=self._translators.get(),
            synthesizers=self._synthesizers.get(),
            batchers=self.live.batchers.at(Priority.BULK),
        )

    @property
    def qa(self) -> MultimodalQA:
        """
        Raises:
            MissingDependencyError: the extra "qa" is not installed.
            WeightsError: a model cannot be had.
        """
        return self._qa.get()

    @property
    def reader(self) -> PictureReader:
        """
        Raises:
            WeightsError, MissingDependencyError: a model cannot be had.
        """
        return self._reader.get()

    @property
    def recognized(self) -> frozenset[str]:
        """Languages that visitors may speak, in ISO 639-1.

        Raises:
            WeightsError, MissingDependencyError: the recognizer cannot be had.
        """
        return self._recognizer.get().languages

    @cached_property
    def pairs(self) -> Pairs:
        """What can be translated and heard. The page is built with it, so no model is loaded to tell."""
        from mmpipe.audio.synthesis import TextToSpeech
        from mmpipe.translate import TextTranslator

        routes = TextTranslator(self._translators.get()).languages()
        with TextToSpeech() as speaker:
            voices = speaker.languages()
        return Pairs({(route.source, route.target): route for route in routes}, frozenset(voices))

    # --- how they are ---

    @property
    def status(self) -> list[ModelStatus]:
        return [part.status for part in self._parts]

    @property
    def live_is_ready(self) -> bool:
        """Whether :attr:`live` is there at once."""
        return self._live.made is not None

    def stats(self) -> dict[str, BatcherStats]:
        """What each engine's batcher has done, by the name of the engine."""
        return self._live.made.batchers.stats() if self._live.made else {}

    def warmup(self) -> None:
        """Load everything on a thread of its own, what visitors see first before the rest. Returns at once."""
        Thread(target=self._warmup, name="mmpipe-warm-up", daemon=True).start()

    def _warmup(self) -> None:
        for part in self._parts:
            try:
                part.get()
            except MissingDependencyError as error:  # an extra that was not asked for
                logger.info("%s: %s", part.status.name, error)
            except MmpipeError as error:
                logger.warning("%s: %s", part.status.name, error)
            except Exception as error:  # before anybody has said anything: its message quotes nobody
                logger.error("%s cannot be loaded: %s\n%s", part.status.name, error, without_text(error))

    def close(self) -> None:
        for part in (self._qa, self._reader, self._live):
            if part.made is not None:
                part.made.close()
        for engines in (self._synthesizers.made or [], self._translators.made or []):
            for engine in engines:
                engine.close()
        if self._recognizer.made is not None:
            self._recognizer.made.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- how they are made ---

    def _load_live(self) -> LiveModels:
        from mmpipe.pipelines.live import LiveModels

        live = LiveModels(
            self._recognizer.get(), translators=self._translators.get(), synthesizers=self._synthesizers.get()
        )
        asyncio.run(live.warmup([WARM_PAIR], [WARM_PAIR[1]]))
        return live

    def _load_reader(self) -> PictureReader:
        require("rapidocr", "ocr", "Reading text in pictures")
        from mmpipe.pipelines.multimodal_qa import PictureReader
        from mmpipe.pipelines.multimodal_qa.helpers import Helpers

        return PictureReader(
            Helpers(
                self._recognizer.get(),
                self._translators.get(),
                self._synthesizers.get(),
                batchers=self.live.batchers,
            )
        )

    def _load_qa(self) -> MultimodalQA:
        for module in ("torch", "transformers"):
            require(module, "qa", "Asking about pictures")
        from mmpipe.generation.options import EngineOptions
        from mmpipe.pipelines.multimodal_qa import MultimodalQA

        return MultimodalQA(
            recognizer=self._recognizer.get(),
            translators=self._translators.get(),
            synthesizers=self._synthesizers.get(),
            batchers=self.live.batchers,
            engine_options=EngineOptions(prefix_cache_bytes=PREFIX_CACHE_BYTES),
        )


def _load_recognizer(name: str) -> Recognizer:
    from mmpipe.audio.recognition import load_recognizer

    return load_recognizer(name)


def _load_translators() -> list[Translator]:
    from mmpipe.translate.engines import installed_engines

    return installed_engines()


def _load_synthesizers() -> list[Synthesizer]:
    from mmpipe.audio.synthesis import Espeak, Kokoro

    found: list[Synthesizer] = [Kokoro()]
    try:
        found.append(Espeak())
    except MissingDependencyError as error:
        logger.info("%s", error)
    return found


def _resident_bytes() -> int:
    return int(psutil.Process().memory_info().rss)
