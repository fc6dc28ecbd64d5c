"""What a soak has found, as rows of tables and as JSON; and whether the bars hold."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from mmpipe.evaluate.latency import Spread
from mmpipe.evaluate.soak_faults import internal
from mmpipe.evaluate.soak_result import (
    Done,
    Growth,
    Soak,
    added_up,
    commit_delays,
    descriptors_growth,
    memory_growth,
    threads_growth,
    word_error_rate_of,
)

Row = dict[str, Any]

#: Memory may differ by this much between the end and the time after the warm-up.
MEMORY_LIMIT = 0.05
#: Of a load shorter than this the memory says nothing: caches and pools are still being filled.
MIN_JUDGED_S = 600.0
#: Pools of threads have upper bounds, and grow when more is done at once than ever before: so many more may be left.
POOLED_THREADS = 8
POOLED_DESCRIPTORS = 4
#: Sentences that may be missing beside an offline transcript: live, speech is recognized in other pieces.
MISSING_LIMIT = 0.01
SLICE_S = 600.0
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Bar:
    """What must hold. ``held`` is None where the run was too short, or was stopped, to tell."""

    name: str
    found: str
    wanted: str
    held: bool | None


def broken(soak: Soak) -> bool:
    """Whether a bar is broken."""
    return any(bar.held is False for bar in bars(soak))


def bars(soak: Soak) -> list[Bar]:
    """Everything that must hold."""
    dead = sum(sample.health_s is None for sample in soak.samples)
    events = sum(s.heard.repeated + s.heard.changed + s.heard.lost + s.heard.disordered for s in soak.sessions)
    moved = sum(s.report.integrity.changed + s.report.integrity.backwards for s in soak.sessions if s.report)
    failed = [session.heard.failure for session in soak.sessions if session.heard.failure]
    return [
        Bar("the server lives", soak.crashed or "yes", "yes", not soak.crashed),
        _zero("health checks without an answer", dead),
        _memory_bar(soak),
        _back_bar("descriptors", soak, POOLED_DESCRIPTORS),
        _back_bar("threads", soak, POOLED_THREADS),
        _zero("events lost, repeated, changed or out of order", events),
        _zero("committed words that changed or went back", moved),
        _missing_bar(soak),
        _none("sessions that failed", failed),
        _none("recordings that failed", soak.recordings.failures),
        _none("questions that failed", soak.questions.failures),
        _zero("faults answered by an internal error", soak.tally.internal_errors),
        _zero("faults that could not be injected", soak.tally.not_injected),
    ]


def _zero(name: str, count: int) -> Bar:
    return Bar(name, str(count), "0", count == 0)


def _none(name: str, failures: list[str]) -> Bar:
    why = f" ({'; '.join(dict.fromkeys(failures[-_SHOWN:]))})" if failures else ""
    return Bar(name, f"{len(failures)}{why}", "0", not failures)


def _memory_bar(soak: Soak) -> Bar:
    name, wanted = "memory after the warm-up, to the end", f"within {MEMORY_LIMIT:.0%}"
    found = memory_growth(soak.samples, soak.warmup_s)
    if found is None:
        return Bar(name, "not measured", wanted, None)
    judged = soak.load_s >= MIN_JUDGED_S
    text = f"{found.share:+.1%}" + ("" if judged else ", too short to tell")
    return Bar(name, text, wanted, abs(found.share) <= MEMORY_LIMIT if judged else None)


def _back_bar(name: str, soak: Soak, pooled: int) -> Bar:
    wanted = f"as before, at most {pooled} more in pools"
    if soak.idle_before is None or soak.idle_after is None:
        return Bar(f"{name} when idle again", "not measured", wanted, None)
    before, after = getattr(soak.idle_before, name), getattr(soak.idle_after, name)
    return Bar(f"{name} when idle again", f"{before} -> {after}", wanted, after <= before + pooled)


def _missing_bar(soak: Soak) -> Bar:
    name, wanted = "sentences missing, against offline", f"at most {MISSING_LIMIT:.0%}"
    words = added_up([session.offline.words for session in soak.sessions if session.offline])
    if words is None:
        return Bar(name, "not measured", wanted, None)
    sentences = sum(session.sentences for session in soak.sessions if session.offline)
    missing = words.missing_sentences
    return Bar(name, f"{missing} of {sentences}", wanted, missing <= max(1, MISSING_LIMIT * sentences))


# --- rows -------------------------------------------------------------------------------------------------------------


def rows(soak: Soak) -> Iterator[Row]:
    """Figures, delays over time, faults and bars: four tables, one after the other."""
    for name, value in _figures(soak):
        yield {"figure": name, "value": value}
    yield from _delays(soak)
    yield from _faults(soak)
    verdicts = {True: "held", False: "BROKEN", None: "not judged"}
    for bar in bars(soak):
        yield {"bar": bar.name, "found": bar.found, "wanted": bar.wanted, "verdict": verdicts[bar.held]}


def _figures(soak: Soak) -> Iterator[tuple[str, Any]]:
    yield "length of the load, min", round(soak.load_s / 60, 1)
    if soak.interrupted:
        yield "stopped early", "yes"
    memory = memory_growth(soak.samples, soak.warmup_s)
    yield from _growth("memory, MB", memory)
    resident = [sample.resident_mb for sample in soak.samples if sample.resident_mb is not None]
    if resident:
        yield "memory, MB, highest", round(max(resident))
        yield "memory of its children, MB, highest", round(max(sample.children_mb for sample in soak.samples))
        yield "children, most", max(sample.children for sample in soak.samples)
    for idle, sample in (("idle before", soak.idle_before), ("idle after", soak.idle_after)):
        if sample is not None:
            mb = sample.resident_mb and round(sample.resident_mb)
            yield f"{idle}: memory MB, descriptors, threads", f"{mb}, {sample.descriptors}, {sample.threads}"
    if soak.idle_after is not None:
        after_s = soak.idle_after_s
        yield (
            "idle as before after, s",
            f"not within {soak.options['settle_s']:g}" if after_s is None else round(after_s),
        )
    yield from _growth("descriptors", descriptors_growth(soak.samples, soak.warmup_s))
    yield from _growth("threads", threads_growth(soak.samples, soak.warmup_s))
    health = Spread.of([sample.health_s for sample in soak.samples if sample.health_s is not None])
    if health:
        yield "answer to a health check, s, p50 / p95 / max", _spread(health)
    if len(soak.samples) > 1:
        first, last = soak.samples[0], soak.samples[-1]
        yield "processors busy", round((last.cpu_s - first.cpu_s) / max(1e-9, last.at_s - first.at_s), 2)
        yield "server's log, MB", round(last.log_mb, 2)
        yield "errors in it", soak.log_errors
        yield "files of visitors, MB", round(last.disk_mb, 1)
    yield from _live(soak)
    yield from _done("recordings", soak.recordings)
    yield from _done("questions", soak.questions)
    yield "faults injected", soak.tally.injected


def _live(soak: Soak) -> Iterator[tuple[str, Any]]:
    heard = [session.heard for session in soak.sessions]
    yield "live sessions", len(heard)
    yield "refused at first", soak.refused
    yield "connections cut / resumed", f"{sum(h.cuts for h in heard)} / {sum(h.resumed for h in heard)}"
    yield "events received", sum(h.received for h in heard)
    yield "events asked for again and compared", sum(h.audited for h in heard)
    delays = Spread.of([delay_s for _, delay_s in commit_delays(soak.sessions)])
    if delays:
        yield "commit of a word, s, p50 / p95 / max", _spread(delays)
    spoken = added_up([session.report.words for session in soak.sessions if session.report])
    offline = added_up([session.offline.words for session in soak.sessions if session.offline])
    if spoken is not None and offline is not None:
        yield "words spoken", spoken.reference
        yield "WER, %", round(100 * word_error_rate_of(spoken), 2)
        yield "WER offline, %", soak.offline_wer and round(100 * soak.offline_wer, 2)
        yield "WER against offline, %", round(100 * word_error_rate_of(offline), 2)
        yield "words repeated, against offline", offline.repeated
        yield "sentences missing, against offline", offline.missing_sentences


def _growth(name: str, found: Growth | None) -> Iterator[tuple[str, Any]]:
    if found is not None:
        yield (
            f"{name}, after the warm-up -> at the end",
            f"{found.before:.0f} -> {found.after:.0f} ({found.share:+.1%})",
        )
        yield f"{name}, slope an hour", round(found.per_hour, 1)


def _done(name: str, done: Done) -> Iterator[tuple[str, Any]]:
    yield f"{name} done / failed", f"{len(done.took_s)} / {len(done.failures)}"
    took = Spread.of(done.took_s)
    if took:
        yield f"{name}, s, p50 / p95 / max", _spread(took)


def _spread(spread: Spread) -> str:
    return f"{spread.p50_s:.2f} / {spread.p95_s:.2f} / {spread.max_s:.2f}"


def _delays(soak: Soak) -> Iterator[Row]:
    """The delay of commits, ten minutes by ten minutes."""
    slices: dict[int, list[float]] = {}
    for at_s, delay_s in commit_delays(soak.sessions):
        slices.setdefault(int(at_s // SLICE_S), []).append(delay_s)
    for n, delays_s in sorted(slices.items()):
        spread = Spread.of(delays_s)
        assert spread is not None
        yield {
            "minutes": f"{n * SLICE_S / 60:.0f}-{(n + 1) * SLICE_S / 60:.0f}",
            "commit p50, s": round(spread.p50_s, 2),
            "commit p95, s": round(spread.p95_s, 2),
            "words": spread.count,
        }


def _faults(soak: Soak) -> Iterator[Row]:
    for kind, answers in soak.tally.answers.items():
        told = ", ".join(f"{answer}: {n}" for answer, n in answers.most_common())
        yield {"fault": kind, "injected": answers.total(), "answers": told}


def as_json(soak: Soak) -> dict[str, Any]:
    """Everything, as plain JSON types; nothing of what was said."""
    return {
        "options": soak.options,
        "figures": dict(_figures(soak)),
        "bars": [asdict(bar) for bar in bars(soak)],
        "delays": list(_delays(soak)),
        "faults": {
            kind: {"answers": dict(answers), "internal_errors": sum(n for a, n in answers.items() if internal(a))}
            for kind, answers in soak.tally.answers.items()
        },
        "recordings": asdict(soak.recordings),
        "questions": asdict(soak.questions),
        "sessions": [session.as_dict() for session in soak.sessions],
        "samples": [asdict(sample) for sample in soak.samples],
        "idle_before": soak.idle_before and asdict(soak.idle_before),
        "idle_after": soak.idle_after and asdict(soak.idle_after),
    }
