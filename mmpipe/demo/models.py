"""The models behind the page, one set for all visitors, loaded in the background while the page is up already."""

from __future__ import annotations

import asyncio
import logging
from contextlib import ExitStack
from functools import cached_property
from threading import Thread
from typing import TYPE_CHECKING, Self

from mmpipe.batching import BatcherStats
from mmpipe.demo.pairs import Pairs
from mmpipe.errors import MissingDependencyError, MmpipeError
from mmpipe.extras import require
from mmpipe.generation.options import EngineOptions
from mmpipe.logs import without_text
from mmpipe.pipelines.engines import Engines, Lazy, ModelStatus

if TYPE_CHECKING:
    from mmpipe.pipelines.live import LiveModels
    from mmpipe.pipelines.multimodal_qa import MultimodalQA, PictureReader
    from mmpipe.pipelines.speech_translation import SpeechTranslator

logger = logging.getLogger(__name__)

#: For what questions have in common with earlier ones: the last twenty conversations or so.
PREFIX_CACHE_BYTES = 32 << 20
#: Translated and spoken once before the page says that it is ready: what most visitors begin with.
WARM_PAIR = ("en", "pt")


class DemoModels:
    """Everything the tabs need, loaded when it is first asked for, or by :meth:`warmup`. May be used from any thread.

    Live sessions, recordings and questions run on the same engines behind the same batchers: whoever comes at the
    same time shares a batch. A context manager.

    ``engines``: whose; None: the built-in ones, loaded for this.
    """

    def __init__(self, engines: Engines | None = None) -> None:
        generation = EngineOptions(prefix_cache_bytes=PREFIX_CACHE_BYTES)
        self._made_here = ExitStack()
        if engines is None:
            engines = self._made_here.enter_context(Engines(interactive=True, generation=generation))
        self._engines = engines
        # What visitors see first comes first.
        self._recognizer = Lazy("Speech recognition", lambda: engines.recognizer)
        self._translators = Lazy("Translation", lambda: engines.translators)
        self._voice = Lazy("Voice", lambda: engines.text_to_speech().check(WARM_PAIR[1]))
        self._live: Lazy[LiveModels] = Lazy("Live sessions, first run", self._load_live)
        self._reader: Lazy[PictureReader] = Lazy("Text in pictures", self._load_reader)
        self._qa: Lazy[MultimodalQA] = Lazy("Questions about pictures", self._load_qa)
        self._parts = self._recognizer, self._translators, self._voice, self._live, self._reader, self._qa

    # --- what the tabs use; models wait until they are loaded ---

    @property
    def live(self) -> LiveModels:
        """
        Raises:
            WeightsError, MissingDependencyError: a model cannot be had.
        """
        return self._live()

    def translator(
        self, to: str, *, source: str | None = None, voice: str | None = None, speed: float = 1.0
    ) -> SpeechTranslator:
        """What translates recordings into ``to``: costs nothing to make, one for each job. Use it in a ``with``.

        Raises:
            WeightsError, MissingDependencyError: a model cannot be had.
            LanguageError: nothing can speak, or translate into, the language.
        """
        from mmpipe.pipelines.speech_translation import SpeechTranslator

        return SpeechTranslator(to, self._engines, source=source, voice=voice, speed=speed)

    @property
    def qa(self) -> MultimodalQA:
        """
        Raises:
            MissingDependencyError: the extra "qa" is not installed.
            WeightsError: a model cannot be had.
        """
        return self._qa()

    @property
    def reader(self) -> PictureReader:
        """
        Raises:
            WeightsError, MissingDependencyError: a model cannot be had.
        """
        return self._reader()

    @property
    def recognized(self) -> frozenset[str]:
        """Languages that visitors may speak, in ISO 639-1.

        Raises:
            WeightsError, MissingDependencyError: the recognizer cannot be had.
        """
        return self._engines.recognizer.languages

    @cached_property
    def pairs(self) -> Pairs:
        """What can be translated and heard. The page is built with it, so no model is loaded to tell."""
        routes = self._engines.text_translator().languages()
        voices = self._engines.text_to_speech().languages()
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
        return self._engines.stats()

    def warmup(self) -> None:
        """Load everything on a thread of its own, what visitors see first before the rest. Returns at once."""
        Thread(target=self._warmup, name="mmpipe-warm-up", daemon=True).start()

    def _warmup(self) -> None:
        for part in self._parts:
            try:
                part()
            except MissingDependencyError as error:  # an extra that was not asked for
                logger.info("%s: %s", part.status.name, error)
            except MmpipeError as error:
                logger.warning("%s: %s", part.status.name, error)
            except Exception as error:  # before anybody has said anything: its message quotes nobody
                logger.error("%s cannot be loaded: %s\n%s", part.status.name, error, without_text(error))

    def close(self) -> None:
        self._made_here.close()  # first, so that what is being computed is given up, and nobody waits for it
        for pipeline in (self._qa.made, self._reader.made, self._live.made):
            if pipeline is not None:
                pipeline.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- how they are made ---

    def _load_live(self) -> LiveModels:
        from mmpipe.pipelines.live import LiveModels

        live = LiveModels(self._engines)
        asyncio.run(live.warmup([WARM_PAIR], [WARM_PAIR[1]]))
        return live

    def _load_reader(self) -> PictureReader:
        require("rapidocr", "ocr", "Reading text in pictures")
        from mmpipe.pipelines.multimodal_qa import PictureReader

        return PictureReader(self._engines)

    def _load_qa(self) -> MultimodalQA:
        from mmpipe.pipelines.multimodal_qa import MultimodalQA

        return MultimodalQA(self._engines)
