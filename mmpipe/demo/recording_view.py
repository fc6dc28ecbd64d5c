"""A recording's progress and result as the page shows them: HTML for the stages, numbers and texts for the player."""

from __future__ import annotations

from base64 import b64encode
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from mmpipe.demo.pairs import name
from mmpipe.demo.recording_job import PEAKS_PER_S, JobState, RecordingJob, Snapshot
from mmpipe.types import TranslatedSegment

_LABELS = {"decoded": "Decode", "recognized": "Recognize", "translated": "Translate", "spoken": "Speak"}
_DOING = {
    "decoded": "Decoding the sound",
    "recognized": "Recognizing what is said",
    "translated": "Translating",
    "spoken": "Speaking the translation",
}


def problem(text: str) -> str:
    """An error, where the person looks."""
    return f'<p class="mm-problem" role="alert">{escape(text)}</p>'


def stages(now: Snapshot) -> str:
    """A bar for each stage, and a sentence on where things stand."""
    if now.state is JobState.FAILED and not now.segments:
        return problem(now.error)
    bars = "".join(_bar(now, stage) for stage in now.stages)
    told = problem(now.error) if now.error else f'<p class="rec-told" role="status">{escape(_status(now))}</p>'
    finished = " rec-finished" if now.state is JobState.DONE else ""
    return f'<div class="rec-progress{finished}"><ol class="rec-stages">{bars}</ol>{told}</div>'


def _bar(now: Snapshot, stage: str) -> str:
    whole = now.state is JobState.DONE
    share = 1.0 if whole else min(now.done_s[stage] / now.duration_s, 1.0) if now.duration_s else 0.0
    label = _LABELS[stage]
    return (
        f'<li><span class="rec-stage">{label}</span><progress max="100" value="{share * 100:.0f}" '
        f'aria-label="{label}"></progress><span class="rec-share">{share:.0%}</span></li>'
    )


def _status(now: Snapshot) -> str:
    count = len(now.segments)
    sentences = f"{count} sentence{'' if count == 1 else 's'}"
    if now.state is JobState.STOPPED:
        return f"Stopped. {sentences} finished and kept." if count else "Stopped before the first sentence."
    if now.state is JobState.DONE:
        spoken = name(now.segments[0].translation.source)
        return f"Done: {sentences}, spoken in {spoken}. Click a time or a word to hear it."
    doing = next((stage for stage in now.stages if now.done_s[stage] < now.duration_s * 0.999), now.stages[-1])
    return f"{_DOING[doing]} …"


def player(job: RecordingJob, now: Snapshot) -> dict[str, Any] | None:
    """What ``static/recording.js`` shows: the recording, its waveform, what is said when; files to download."""
    if not now.peaks or (now.state is JobState.FAILED and not now.segments):
        return None
    dubbed = "Video" if now.has_video else "Sound"
    return {
        "media": str(job.source) if now.has_video else str(job.listenable),
        "video": now.has_video,
        "listen": str(job.listenable),
        "dubbed": next((str(file.path) for file in now.downloads if file.kind == dubbed), None),
        "ready": now.done_s["decoded"] >= now.duration_s * 0.999,
        "duration": round(now.duration_s, 2),
        "peaks_per_s": PEAKS_PER_S,
        "peaks": b64encode(now.peaks).decode(),
        "source": _source(now.segments[0]) if now.segments else None,
        "target": _language(job.wanted.to),
        "rows": [_row(item) for item in now.segments],
        "downloads": [
            {"kind": kind, "files": [_file(file.label, file.path) for file in files]}
            for kind, files in groupby(now.downloads, key=lambda file: file.kind)
        ],
    }


def _row(item: TranslatedSegment) -> dict[str, Any]:
    return {
        "start": round(item.source.start_s, 2),
        "end": round(item.source.end_s, 2),
        "said": item.source.text,
        "language": item.source.language,
        "translation": item.translation.text,
        "words": [[word.text, round(word.start_s, 2), round(word.end_s, 2)] for word in item.source.words],
    }


def _source(item: TranslatedSegment) -> dict[str, str]:
    """What stands in the column of what was said: its transcript, or what Whisper wrote in English straight away."""
    spoken, written = item.translation.source, item.source.language
    if spoken == written:
        return _language(spoken)
    return {"code": written, "name": f"{name(written)}, from spoken {name(spoken)}"}


def _language(code: str) -> dict[str, str]:
    return {"code": code, "name": name(code)}


def _file(label: str, path: Path) -> dict[str, str]:
    return {"label": label, "path": str(path), "name": path.name}
