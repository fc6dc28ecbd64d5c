"""What a session has said and a client may not have received yet."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections import defaultdict, deque
from dataclasses import dataclass

from mmpipe.pipelines.live import Event, SpokenEvent, TranslatedEvent
from mmpipe.serve.wire import Packet, to_pcm16

#: Samples of sound in one message out: 32 kB.
CHUNK = 16_384

#: What an event makes pointless to send, of what was not sent yet.
_REPLACES = {
    "partial": {"partial"},
    "committed": {"partial"},
    "draft": {"draft"},
    "final": {"draft"},
    "stats": {"stats"},
    "interrupted": {"spoken"},
}
_REPLACEABLE = frozenset().union(*_REPLACES.values())


@dataclass(frozen=True, slots=True)
class LoggedEvent:
    """An event as it travels: a JSON message, then binary ones."""

    seq: int
    kind: str
    text: str
    sound: tuple[bytes, ...]
    size_bytes: int


class EventLog:
    """Events in order, from which sending and replay read. A newer partial, draft or stats replaces an older one, and
    what was spoken before an interruption needs no player any more.

    Nothing else is ever taken out before it was sent. What was sent is kept for a replay: until it is acknowledged,
    or until the log is over ``keep_bytes``.
    """

    def __init__(self, keep_bytes: int) -> None:
        self.last_seq = 0
        self.forgotten_seq = 0  # the last event that was sent and is not kept any more
        self.replaced = 0
        self.size_bytes = 0
        self._keep_bytes = keep_bytes
        self._entries: list[LoggedEvent] = []
        self._replaceable: defaultdict[str, deque[int]] = defaultdict(deque)  # their numbers, by kind
        self._counted_seq = self._counted_bytes = 0  # what lies behind that number: bytes_after it

    def add(self, event: Event, sent_seq: int) -> bool:
        """Note ``event``. ``sent_seq``: the last one that was sent. False: there is no room without losing some."""
        kind = _kind(event)
        for replaced in _REPLACES.get(kind, ()):
            seqs = self._replaceable[replaced]
            self.replaced += sum(seq > sent_seq for seq in seqs)
            while seqs:
                self._remove(bisect_left(self._entries, seqs[0], key=_seq))
        entry = _entry(event, kind)
        self._entries.append(entry)
        if kind in _REPLACEABLE:
            self._replaceable[kind].append(entry.seq)
        self.size_bytes += entry.size_bytes
        self._counted_bytes += entry.size_bytes
        self.last_seq = event.seq
        while self.size_bytes > self._keep_bytes and self._entries[0].seq <= sent_seq:
            self._forget_first()
        return self.size_bytes <= self._keep_bytes

    def acknowledge(self, seq: int) -> None:
        while self._entries and self._entries[0].seq <= seq:
            self._forget_first()

    def after(self, seq: int) -> LoggedEvent | None:
        """The first event after ``seq``."""
        at = self._place(seq)
        return self._entries[at] if at < len(self._entries) else None

    def bytes_after(self, seq: int) -> int:
        """Asked at every event, with a ``seq`` that mostly grows: only what it has passed since is looked at."""
        if seq < self._counted_seq:  # a client has come back for what was sent already
            self._counted_seq, self._counted_bytes = 0, self.size_bytes
        passed = self._entries[self._place(self._counted_seq) : self._place(seq)]
        self._counted_seq = seq
        self._counted_bytes -= sum(entry.size_bytes for entry in passed)
        return self._counted_bytes

    def _place(self, seq: int) -> int:
        return bisect_right(self._entries, seq, key=_seq)

    def _forget_first(self) -> None:
        self.forgotten_seq = self._entries[0].seq
        self._remove(0)

    def _remove(self, at: int) -> None:
        entry = self._entries.pop(at)
        self.size_bytes -= entry.size_bytes
        if entry.seq > self._counted_seq:
            self._counted_bytes -= entry.size_bytes
        if entry.kind in _REPLACEABLE:
            self._replaceable[entry.kind].popleft()  # of its kind, the oldest is always taken first


def _seq(entry: LoggedEvent) -> int:
    return entry.seq


def _kind(event: Event) -> str:
    if isinstance(event, TranslatedEvent):
        return "final" if event.final else "draft"
    return event.type


def _entry(event: Event, kind: str) -> LoggedEvent:
    found = event.as_dict()
    sound: tuple[bytes, ...] = ()
    if isinstance(event, SpokenEvent):
        samples = event.audio.samples
        found["samples"] = len(samples)
        starts = range(0, len(samples), CHUNK)
        sound = tuple(Packet(event.seq, at, to_pcm16(samples[at : at + CHUNK])).pack() for at in starts)
    text = json.dumps(found, ensure_ascii=False)
    return LoggedEvent(event.seq, kind, text, sound, len(text) + sum(map(len, sound)))
