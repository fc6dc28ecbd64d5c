from __future__ import annotations

import random
import time

import numpy as np

from mmpipe.pipelines.live import (
    CommittedEvent,
    Event,
    InterruptedEvent,
    PartialEvent,
    SpokenEvent,
    StatsEvent,
    TranslatedEvent,
)
from mmpipe.serve.eventlog import EventLog
from mmpipe.types import Audio


def make(seq: int, kind: str) -> Event:
    times = {"seq": seq, "emitted_s": 0.0, "start_s": 0.0, "end_s": 1.0}
    if kind == "partial":
        return PartialEvent(**times, heard_until_s=1.0, text="so", language="en")
    if kind == "committed":
        return CommittedEvent(**times, heard_until_s=1.0, text="so", language="en", words=())
    if kind == "spoken":
        return SpokenEvent(**times, text="so", audio=Audio(np.zeros(20_000, np.float32), 24_000))
    if kind == "stats":
        return StatsEvent(
            **times,
            heard_s=1.0,
            lag_s=0.0,
            real_time_factor=0.1,
            to_translate=0,
            to_speak=0,
            dropped_partials=0,
            dropped_speech=0,
            voice_behind_s=0.0,
            unheard_s=0.0,
        )
    if kind == "interrupted":
        return InterruptedEvent(**times, heard_until_s=1.0, dropped=1)
    return TranslatedEvent(
        **times, heard_until_s=1.0, text="so", source_text="so", language="pt", final=kind == "final"
    )


def held(log: EventLog, after: int = 0) -> list[tuple[int, str]]:
    found = []
    while (entry := log.after(after)) is not None:
        after = entry.seq
        found.append((entry.seq, entry.kind))
    return found


def filled(*kinds: str, keep_bytes: int = 1_000_000, sent_seq: int = 0) -> EventLog:
    log = EventLog(keep_bytes)
    for seq, kind in enumerate(kinds, 1):
        log.add(make(seq, kind), sent_seq)
    return log


def test_a_newer_partial_draft_or_stats_replaces_the_older_one() -> None:
    log = filled("partial", "draft", "stats", "partial", "draft", "stats")
    assert held(log) == [(4, "partial"), (5, "draft"), (6, "stats")]


def test_what_is_final_replaces_what_was_shown_before_and_is_never_replaced() -> None:
    log = filled("partial", "committed", "draft", "final", "partial", "committed", "final", "spoken")
    assert held(log) == [(2, "committed"), (4, "final"), (6, "committed"), (7, "final"), (8, "spoken")]


def test_after_an_interruption_nothing_that_was_spoken_before_is_sent() -> None:
    log = filled("spoken", "final", "spoken", "interrupted", "spoken")
    assert held(log) == [(2, "final"), (4, "interrupted"), (5, "spoken")]


def test_what_is_acknowledged_is_let_go() -> None:
    log = filled("committed", "committed", "final")
    log.acknowledge(2)
    assert held(log) == [(3, "final")]
    assert log.forgotten_seq == 2
    assert log.size_bytes == log.bytes_after(0) > 0
    log.acknowledge(3)
    assert log.size_bytes == 0


def test_replay_begins_after_what_was_received() -> None:
    assert held(filled("committed", "committed", "final"), after=2) == [(3, "final")]


def test_over_its_bound_it_forgets_what_was_sent_and_says_up_to_where() -> None:
    log = EventLog(100_000)
    assert log.add(make(1, "spoken"), 0)  # 40 kB each
    assert log.add(make(2, "spoken"), 1)
    assert log.add(make(3, "spoken"), 2)
    assert log.forgotten_seq == 1
    assert held(log) == [(2, "spoken"), (3, "spoken")]


def test_over_its_bound_it_loses_nothing_that_was_not_sent() -> None:
    log = EventLog(100_000)
    assert log.add(make(1, "spoken"), 0)
    assert log.add(make(2, "spoken"), 0)
    assert not log.add(make(3, "spoken"), 0)
    assert held(log) == [(1, "spoken"), (2, "spoken"), (3, "spoken")]
    assert log.forgotten_seq == 0


def test_what_is_unsent_is_counted_rightly_whatever_is_added_replaced_and_let_go() -> None:
    chance = random.Random(11)
    kinds = ("partial", "committed", "draft", "final", "stats", "spoken", "interrupted")
    log, sent = EventLog(400_000), 0
    for seq in range(1, 2_000):
        log.add(make(seq, chance.choice(kinds)), sent)
        if chance.random() < 0.7:
            sent = chance.randint(sent, seq)
        if chance.random() < 0.1:
            log.acknowledge(chance.randint(0, sent))
        asked = sent if chance.random() < 0.9 else chance.randint(log.forgotten_seq, sent)
        held_bytes = sum(entry.size_bytes for entry in log._entries if entry.seq > asked)
        assert log.bytes_after(asked) == held_bytes
        assert log.size_bytes == sum(entry.size_bytes for entry in log._entries)
        assert [n for n, kind in held(log) if kind == "partial"] == list(log._replaceable["partial"])


def test_a_client_that_never_acknowledges_does_not_make_each_event_dearer() -> None:
    """All that was sent was looked at again, twice, for every event that came."""

    def cost_s(count: int) -> float:
        log = filled(*["committed"] * count, keep_bytes=1_000_000_000, sent_seq=0)
        best = 1.0
        for n in range(20):
            began_s = time.perf_counter()
            for k in range(50):
                log.add(make(count + 50 * n + k + 1, "final"), count)
                log.bytes_after(count)
            best = min(best, time.perf_counter() - began_s)
        return best

    assert cost_s(20_000) < 5 * cost_s(100) + 1e-3
