"""The tab that translates recordings: what there is to choose, and what happens when it is chosen."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.context import Context

from mmpipe.demo import recording_view as view
from mmpipe.demo.errors import told
from mmpipe.demo.live_tab import mounted
from mmpipe.demo.models import DemoModels
from mmpipe.demo.pairs import Pairs
from mmpipe.demo.recording_job import MAX_DURATION_S, JobState, RecordingJob, Wanted, probe
from mmpipe.demo.session_store import SessionStore
from mmpipe.errors import MmpipeError
from mmpipe.untrusted import UntrustedMedia

EXAMPLES = Path(__file__).parent / "examples"
#: (what the button says, file, language of the recording)
_EXAMPLES = (
    ("Audio book, English", "sense_and_sensibility.ogg", "en"),
    ("Announcements, Spanish", "announcements_es.ogg", "es"),
    ("Video, English", "audio_book.mp4", "en"),
)
#: Recordings that are worked on at the same time; they share the batches of every stage.
AT_ONCE = 8
#: The page is told of news at most so often.
_NEWS_S = 0.15
_FIND_OUT = ("Find out", "")
_START, _TO = _FIND_OUT[1], "pt"
_LIMITS = f"Of any kind, up to {MAX_DURATION_S / 60:.0f} minutes. It stays on this server, and goes when you leave."


@dataclass(slots=True)
class RecordingSession:
    """What a visitor has going on in this tab."""

    folder: Path
    job: RecordingJob | None = None
    jobs: int = 0

    def begin(self, source: Path, wanted: Wanted, news: Any) -> RecordingJob:
        """A job in place of the one before, whose files go."""
        self.close()
        self.jobs += 1
        self.job = RecordingJob(source, self.folder / f"translated-{self.jobs}", wanted, news)
        return self.job

    def close(self) -> None:
        if self.job is not None:
            self.job.discard()


def build(models: DemoModels) -> None:
    """Everything of the tab, with ``models`` behind it."""
    pairs, sessions = models.pairs, SessionStore(RecordingSession)
    threads = ThreadPoolExecutor(AT_ONCE, "mmpipe-recording")  # for minutes at a time: not those that all others use

    with gr.Column(elem_classes="mm-panel mm-desk"):
        given = filled_by("recorder.js", "rec-given", hint=_LIMITS)
        with gr.Row(elem_classes="mm-examples"):
            gr.HTML('<span class="mm-hint">Or try one:</span>')
            examples = [gr.Button(says, size="sm", elem_classes="mm-example") for says, _, _ in _EXAMPLES]
        with gr.Row(elem_classes="rec-choices"):
            source = gr.Dropdown(
                [_FIND_OUT, *pairs.sources()],
                value=_START,
                label="Spoken language",
                min_width=200,
                elem_id="rec-source",
            )
            target = gr.Dropdown(
                pairs.targets(), value=_TO, label="Translate into", min_width=200, elem_id="rec-target"
            )
        quality = gr.HTML(_quality(pairs, None, _TO), apply_default_css=False, elem_id="rec-quality")
        speak = gr.Checkbox(True, label="Speak the translation", elem_id="rec-speak")
        with gr.Row(elem_classes="mm-actions"):
            start = gr.Button("Translate", variant="primary", elem_id="rec-start")
            stop = gr.Button("Stop, keep what is finished", visible=False, elem_id="rec-stop")
    with gr.Column(elem_classes="mm-panel mm-outcome"):
        progress = gr.HTML("", apply_default_css=False, elem_id="rec-progress")
        player = filled_by("recording.js", "rec-player")

    async def translate(
        upload: dict[str, str] | None, language: str, to: str, speaks: bool, request: gr.Request
    ) -> AsyncIterator[tuple[Any, Any, Any, Any]]:
        """Start, and tell the page what comes: progress, player, start, stop."""
        idle = gr.update(interactive=True), gr.update(visible=False)
        if not upload:
            yield (
                view.problem("There is no recording yet. Drop one above, record one, or try an example."),
                None,
                *idle,
            )
            return
        news, loop = asyncio.Event(), asyncio.get_running_loop()

        def tell() -> None:
            with suppress(RuntimeError):  # the server has ended
                loop.call_soon_threadsafe(news.set)

        session = sessions.of(request)
        try:
            recording = sessions.claim(request, upload)
            wanted = Wanted(to, language or None, speaks and to in pairs.voices)
            job = session.begin(recording, wanted, tell)
        except (MmpipeError, OSError) as error:
            yield view.problem(told(error)), None, *idle
            return
        yield view.stages(job.snapshot()), None, gr.update(interactive=False), gr.update(visible=True, interactive=True)
        work, shown = loop.run_in_executor(threads, job.run, models), None
        try:
            while not work.done():
                await _first(work, news)
                news.clear()
                if session.job is not job:  # another was begun, and tells the page itself
                    return
                now = job.snapshot()
                key = len(now.segments), len(now.downloads), now.done_s["decoded"] >= now.duration_s > 0
                changed = view.player(job, now) if key != shown else gr.skip()
                shown = key
                yield view.stages(now), changed, gr.skip(), gr.skip()
                await asyncio.sleep(_NEWS_S)
        finally:  # the visitor left
            job.cancel()
        now = job.snapshot()
        yield view.stages(now), view.player(job, now), *idle

    def cancel(request: gr.Request) -> Any:
        job = sessions.of(request).job
        if job is not None and job.snapshot().state is JobState.RUNNING:
            job.cancel()
        return gr.update(interactive=False)

    def take(upload: dict[str, str] | None, request: gr.Request) -> tuple[Any, Any, Any]:
        """Look at once whether what was uploaded can be translated."""
        if not upload:
            return gr.skip(), gr.skip(), gr.skip()
        try:
            recording = sessions.claim(request, upload)
            probe(UntrustedMedia(recording, recording.name))
        except Exception as error:
            return None, view.problem(told(error)), None
        return _given(recording), "", None

    def example(file: str, language: str) -> Callable[[gr.Request], tuple[Any, str, Any]]:
        def load(request: gr.Request) -> tuple[Any, str, Any]:
            own = sessions.of(request).folder / file
            shutil.copyfile(EXAMPLES / file, own)
            return _given(own), language, gr.update(choices=pairs.targets(language), value=_TO)

        return load

    def chosen(language: str, to: str) -> tuple[Any, str]:
        known = pairs.targets(language or None)
        kept = to if any(code == to for _, code in known) else known[0][1]
        return gr.update(choices=known, value=kept), _quality(pairs, language or None, kept)

    quiet: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
    job_of: dict[str, Any] = {
        "fn": translate,
        "inputs": [given, source, target, speak],
        "outputs": [progress, player, start, stop],
        "concurrency_limit": AT_ONCE,
        "concurrency_id": "recordings",
        **quiet,
    }
    start.click(**job_of)
    for button, (_, file, spoken) in zip(examples, _EXAMPLES, strict=True):
        button.click(example(file, spoken), None, [given, source, target], **quiet).then(**job_of)
    stop.click(cancel, None, [stop], concurrency_limit=None, queue=False, **quiet)
    given.upload(take, [given], [given, progress, player], concurrency_limit=AT_ONCE, **quiet)
    source.change(chosen, [source, target], [target, quality], **quiet)
    target.change(lambda language, to: _quality(pairs, language or None, to), [source, target], [quality], **quiet)
    page = Context.root_block
    assert page is not None
    page.unload(sessions.left)


def _given(recording: Path) -> dict[str, str]:
    return {"path": str(recording), "name": recording.name}


def _quality(pairs: Pairs, source: str | None, target: str) -> str:
    tier = pairs.tier(source, target) or ""
    return f'<p class="mm-tier" data-tier="{tier}" role="status">{pairs.quality(source, target)}</p>'


def filled_by(module: str, elem_id: str, **props: Any) -> gr.HTML:
    """A component that ``module``, a file of ``static/``, fills."""
    script = mounted(module)
    return gr.HTML(None, html_template="", apply_default_css=False, js_on_load=script, elem_id=elem_id, **props)


async def _first(work: asyncio.Future[None], news: asyncio.Event) -> None:
    """Wait until the work is done, or there is news of it."""
    waiting = asyncio.ensure_future(news.wait())
    either: set[asyncio.Future[Any]] = {work, waiting}
    try:
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    finally:
        waiting.cancel()
