"""The synthesizers to choose from: those that mmpipe has, or those that a caller gave."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from threading import Lock

from mmpipe.audio.synthesis.espeak import Espeak
from mmpipe.audio.synthesis.kokoro import Kokoro
from mmpipe.audio.synthesis.piper import Piper
from mmpipe.errors import MissingDependencyError
from mmpipe.stage import Synthesizer

logger = logging.getLogger(__name__)

#: The voices of the Piper weights that mmpipe knows: they are loaded only when asked for by name.
_PIPER_VOICES: Mapping[str, tuple[str, ...]] = {"en": ("joe",)}


class Synthesizers(ABC):
    """Synthesizers, the preferred first."""

    @abstractmethod
    def candidates(self, language: str, voice: str | None) -> Iterator[Synthesizer]:
        """Those that may have ``voice`` of ``language``.

        Raises:
            MissingDependencyError, WeightsError: the next one cannot be had.
        """

    @abstractmethod
    def listed(self, language: str | None = None) -> Iterable[Synthesizer]:
        """Those that are there for ``language``, or for any."""

    @abstractmethod
    def languages(self) -> frozenset[str]:
        """Languages that one of them speaks."""

    def voices(self, language: str) -> list[str]:
        """Names of the voices for ``language``, the default first."""
        names = (engine.voices.get(language, ()) for engine in self.listed(language))
        return list(dict.fromkeys(chain.from_iterable(names)))


class GivenSynthesizers(Synthesizers):
    """Those of a caller, who closes them."""

    def __init__(self, engines: Sequence[Synthesizer]) -> None:
        self._engines = engines

    def candidates(self, language: str, voice: str | None) -> Iterator[Synthesizer]:
        return iter(self._engines)

    def listed(self, language: str | None = None) -> Iterable[Synthesizer]:
        return self._engines

    def languages(self) -> frozenset[str]:
        return frozenset(language for engine in self._engines for language in engine.voices)


class BuiltInSynthesizers(Synthesizers):
    """Kokoro, then Piper for the voice "joe", then espeak-ng: each is made when it is first needed."""

    def __init__(self) -> None:
        self._made: dict[type[Synthesizer], Synthesizer] = {}
        self._making = Lock()

    def candidates(self, language: str, voice: str | None) -> Iterator[Synthesizer]:
        if language in Kokoro.languages:
            yield self._make(Kokoro)
        if voice in _PIPER_VOICES.get(language, ()):
            yield self._make(Piper)
        yield self._make(Espeak)

    def listed(self, language: str | None = None) -> Iterable[Synthesizer]:
        kokoro = [self._make(Kokoro)] if language is None or language in Kokoro.languages else []
        return [*kokoro, *self._espeak()]

    def languages(self) -> frozenset[str]:
        """No model is loaded to tell."""
        return Kokoro.languages.union(*(engine.voices for engine in self._espeak()))

    def voices(self, language: str) -> list[str]:
        found: dict[str, None] = {}
        for engine in self.listed(language):
            found |= dict.fromkeys(engine.voices.get(language, ()))
            if isinstance(engine, Kokoro):
                found |= dict.fromkeys(_PIPER_VOICES.get(language, ()))
        return list(found)

    def close(self) -> None:
        """Free what was made. May be called twice."""
        with self._making:
            made, self._made = list(self._made.values()), {}
        for engine in made:
            engine.close()

    def _espeak(self) -> list[Synthesizer]:
        try:
            return [self._make(Espeak)]
        except MissingDependencyError as error:
            logger.info("%s", error)
            return []

    def _make(self, kind: type[Synthesizer]) -> Synthesizer:
        with self._making:
            if kind not in self._made:
                self._made[kind] = kind()
            return self._made[kind]
