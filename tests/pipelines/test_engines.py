"""One owner of models: loaded once, shared by pipelines, closed by whoever loaded them, in order."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from mmpipe import Engines, SpeechTranslator, Transcriber
from mmpipe.batching import Priority
from mmpipe.errors import WeightsError
from mmpipe.pipelines import engines as module
from mmpipe.pipelines.engines import Lazy, LoadState
from mmpipe.pipelines.live import LiveModels
from mmpipe.stage import Recognizer, Synthesizer, TextReader, Translator
from mmpipe.types import Audio, Image, Segment, Sentence, SpeechRequest, SpeechWindow, TextLine, Tier

PATIENCE_S = 20


class Closing:
    """Mixed into engines: notes when each is closed."""

    closed: list[str]

    def close(self) -> None:
        self.closed.append(type(self).__name__)


class Ear(Closing, Recognizer):
    languages = frozenset({"en"})
    max_items = 7

    def run(self, items: Sequence[SpeechWindow]) -> list[Segment]:
        return [Segment(0.0, item.audio.duration_s, "Yes.", "en") for item in items]


class Upper(Closing, Translator):
    pairs: Mapping[tuple[str, str], Tier] = {("en", "pt"): Tier.GOOD}

    def run(self, items: Sequence[Sentence]) -> list[str]:
        return [item.text.upper() for item in items]


class Beep(Closing, Synthesizer):
    voices: Mapping[str, Sequence[str]] = {"pt": ("beep",)}

    def run(self, items: Sequence[SpeechRequest]) -> list[Audio]:
        return [Audio(np.ones(100, np.float32), 24_000) for _ in items]


class Page(Closing, TextReader):
    def run(self, items: Sequence[Image]) -> list[tuple[TextLine, ...]]:
        return [() for _ in items]


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of engines, in the order in which they are closed."""
    found: list[str] = []
    monkeypatch.setattr(Closing, "closed", found, raising=False)
    return found


@pytest.fixture
def built_in(monkeypatch: pytest.MonkeyPatch, closed: list[str]) -> list[str]:
    """In place of the built-in engines. Gives the names of those that were loaded."""
    loaded: list[str] = []

    def maker(kind: Any, result: Any) -> Any:
        def make(*_: object) -> Any:
            loaded.append(kind.__name__)
            return result()

        return make

    monkeypatch.setattr(module, "load_recognizer", maker(Ear, Ear))
    monkeypatch.setattr(module, "installed_engines", maker(Upper, lambda: [Upper()]))
    monkeypatch.setattr("mmpipe.vision.ocr.RapidOcr", maker(Page, Page))
    return loaded


def test_nothing_is_loaded_before_it_is_needed_and_everything_once(built_in: list[str]) -> None:
    with Engines() as engines:
        assert built_in == []
        with ThreadPoolExecutor(8) as pool:
            found = set(pool.map(lambda _: engines.recognizer, range(32)))
        assert len(found) == 1
        assert built_in == ["Ear"]
        Transcriber(engines).close()
        SpeechTranslator("pt", engines).close()
        LiveModels(engines).close()
        assert built_in == ["Ear", "Upper"]


def test_what_was_loaded_here_is_closed_once_the_newest_first(built_in: list[str], closed: list[str]) -> None:
    with Engines() as engines:
        _ = engines.recognizer, engines.translators, engines.reader
    engines.close()
    assert closed == ["Page", "Upper", "Ear"]


def test_what_was_given_is_not_closed_by_engines_nor_by_pipelines(closed: list[str]) -> None:
    with Engines(Ear(), translators=[Upper()], synthesizers=[Beep()], reader=Page()) as engines:
        _ = engines.reader
        for pipeline in (Transcriber(engines), SpeechTranslator("pt", engines), LiveModels(engines)):
            pipeline.close()
    assert closed == []


def test_a_pipeline_closes_the_engines_that_it_made(built_in: list[str], closed: list[str]) -> None:
    with Transcriber():
        pass
    assert closed == ["Ear"]


def test_engines_are_closed_after_what_computes_with_them(closed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    began, go_on = threading.Event(), threading.Event()

    class Slow(Ear):
        def run(self, items: Sequence[SpeechWindow]) -> list[Segment]:
            began.set()
            assert go_on.wait(PATIENCE_S)
            assert not closed, "it was closed while it computed"
            return super().run(items)

    monkeypatch.setattr(module, "load_recognizer", lambda _: Slow())
    engines = Engines()
    window = SpeechWindow(Audio(np.zeros(16_000, np.float32)))
    under_way = engines.batchers.of(engines.recognizer).submit(window)
    assert began.wait(PATIENCE_S)
    closing = threading.Thread(target=engines.close)
    closing.start()
    go_on.set()
    closing.join(PATIENCE_S)
    assert closed == ["Slow"]
    assert under_way.done()


def test_pipelines_of_one_process_share_models_and_batchers() -> None:
    with Engines(Ear()) as engines, Transcriber(engines) as transcriber, LiveModels(engines) as live:
        assert transcriber.recognizer is live.recognizer
        live_batcher = live.engines.batchers.of(live.recognizer)
        assert transcriber.engines.batchers.of(transcriber.recognizer) is live_batcher


def test_where_somebody_waits_the_recognizers_batches_are_half_as_large_whoever_asks_first() -> None:
    for interactive, expected in ((False, 7), (True, 4)):
        with Engines(Ear(), translators=[Upper()], interactive=interactive) as engines:
            Transcriber(engines).close()
            assert engines.batchers.of(engines.recognizer).options.max_items == expected
            assert engines.batchers.of(engines.translators[0]).options.max_items == Upper.max_items


def test_recordings_let_those_go_first_who_wait_for_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Priority] = []
    with Engines(Ear(), translators=[Upper()], synthesizers=[Beep()], interactive=True) as engines:
        for engine in (engines.translators[0], engines.text_to_speech().choose("pt")[0]):
            batcher = engines.batchers.of(engine)

            def run(items: Any, *, priority: Priority, whole: Any = batcher.run) -> Any:
                asked.append(priority)
                return whole(items, priority=priority)

            monkeypatch.setattr(batcher, "run", run)
        with SpeechTranslator("pt", engines) as recording:
            recording.translator.translate("Yes.", "en", "pt")
            recording.text_to_speech.speak("Sim.", "pt")
        assert asked == [Priority.BULK, Priority.BULK]
        engines.text_translator().translate("Yes.", "en", "pt")
        assert asked[2:] == [Priority.INTERACTIVE]


def test_what_failed_to_load_is_told_and_tried_again() -> None:
    failures: list[Exception] = [WeightsError("There are no weights."), RuntimeError("what was said")]

    def make() -> str:
        if failures:
            raise failures.pop(0)
        return "made"

    lazy = Lazy("a model", make)
    assert (lazy.status.state, lazy.made) == (LoadState.WAITING, None)
    with pytest.raises(WeightsError):
        lazy()
    assert (lazy.status.state, lazy.status.why) == (LoadState.FAILED, "There are no weights.")
    with pytest.raises(RuntimeError):
        lazy()
    assert "what was said" not in lazy.status.why
    assert lazy() == lazy.made == "made"
    assert (lazy.status.state, lazy.status.why) == (LoadState.READY, "")


def test_the_light_install_loads_no_torch() -> None:
    script = (
        "import sys; from mmpipe import Engines; from mmpipe.generation.options import EngineOptions\n"
        "engines = Engines(generation=EngineOptions(prefix_cache_bytes=0)); engines.text_to_speech().languages()\n"
        "engines.close(); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
