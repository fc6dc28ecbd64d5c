"""What a session has said and a client may not have received yet."""

from __future__ import annotations

import json
from bisect import bisect_right
from dataclasses import dataclass

from mmpipe.pipelines.live import Event, Spoken, Translated
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


@dataclass(frozen=True, slots=True)
class Entry:
    """An event as it travels: a JSON message, then binary ones."""

    seq: int
    kind: str
    text: str
    sound: tuple[bytes, ...]

    @property
    def size_bytes(self) -> int:
        return len(self.text) + sum(map(len, self.sound))


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
        self._entries: list[Entry] = []

    def add(self, event: Event, sent_seq: int) -> bool:
        """Note ``event``. ``sent_seq``: the last one that was sent. False: there is no room without losing some."""
        kind = _kind(event)
        replaces = _REPLACES.get(kind, ())
        for entry in [entry for entry in self._entries if entry.kind in replaces]:
            self._entries.remove(entry)
            self.size_bytes -= entry.size_bytes
            self.replaced += entry.seq > sent_seq
        entry = _entry(event, kind)
        self._entries.append(entry)
        self.size_bytes += entry.size_bytes
        self.last_seq = event.seq
        while self.size_bytes > self._keep_bytes and self._entries[0].seq <= sent_seq:
            self.forgotten_seq = self._take_first().seq
        return self.size_bytes <= self._keep_bytes

    def acknowledge(self, seq: int) -> None:
        while self._entries and self._entries[0].seq <= seq:
            self.forgotten_seq = self._take_first().seq

    def after(self, seq: int) -> Entry | None:
        """The first event after ``seq``."""
        at = self._place(seq)
        return self._entries[at] if at < len(self._entries) else None

    def bytes_after(self, seq: int) -> int:
        return sum(entry.size_bytes for entry in self._entries[self._place(seq) :])

    def _place(self, seq: int) -> int:
        return bisect_right(self._entries, seq, key=lambda entry: entry.seq)

    def _take_first(self) -> Entry:
        entry = self._entries.pop(0)
        self.size_bytes -= entry.size_bytes
        return entry


def _kind(event: Event) -> str:
    if isinstance(event, Translated):
        return "final" if event.final else "draft"
    return event.type


def _entry(event: Event, kind: str) -> Entry:
    found = event.as_dict()
    sound: tuple[bytes, ...] = ()
    if isinstance(event, Spoken):
        samples = event.audio.samples
        found["samples"] = len(samples)
        starts = range(0, len(samples), CHUNK)
        sound = tuple(Packet(event.seq, at, to_pcm16(samples[at : at + CHUNK])).pack() for at in starts)
    return Entry(event.seq, kind, json.dumps(found, ensure_ascii=False), sound)
