"""What repeats is counted rather than written: a flood of requests must not become a flood of log lines."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock

from mmpipe.batching import Clock, MonotonicClock

EVERY_S = 60.0
#: What makes events alike: of a log line its logger, level, text without details, and the cause.
Kind = tuple[object, ...]
_DECIDED = "_mmpipe_written"  # on a record: whether it is written, for the second handler that sees it


@dataclass(slots=True)
class _Seen:
    written_s: float
    withheld: int = 0


class Repeats:
    """Which of many like events are written: the first, and then one every ``every_s``. From any thread."""

    def __init__(self, every_s: float = EVERY_S, max_kinds: int = 512, clock: Clock | None = None) -> None:
        self.every_s, self._max_kinds, self._clock = every_s, max_kinds, clock or MonotonicClock()
        self._seen: OrderedDict[Kind, _Seen] = OrderedDict()
        self._lock = Lock()

    def withheld(self, kind: Kind) -> int | None:
        """None: do not write this one. Otherwise: how many like it were not written since the last that was."""
        with self._lock:
            now_s, seen = self._clock.now_s(), self._seen.get(kind)
            if seen is not None and now_s - seen.written_s < self.every_s:
                seen.withheld += 1
                return None
            count = seen.withheld if seen is not None else 0
            self._seen[kind] = _Seen(now_s)
            self._seen.move_to_end(kind)
            if len(self._seen) > self._max_kinds:
                self._seen.popitem(last=False)
            return count

    def due(self, all_of_them: bool = False) -> list[tuple[Kind, int]]:
        """Kinds of which some were withheld and nothing was written for ``every_s``, with how many. To be asked now
        and then: nothing may follow a burst."""
        with self._lock:
            now_s = self._clock.now_s()
            found = []
            for kind, seen in self._seen.items():
                if seen.withheld and (all_of_them or now_s - seen.written_s >= self.every_s):
                    found.append((kind, seen.withheld))
                    seen.written_s, seen.withheld = now_s, 0
            return found


class RepeatFilter(logging.Filter):
    """Of warnings and errors that are the same but for their details, one line a minute, with how many more there
    were. To be put on handlers: loggers do not filter what comes from below them."""

    def __init__(self, repeats: Repeats | None = None) -> None:
        super().__init__()
        self._repeats = repeats or Repeats()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        decided: bool | None = getattr(record, _DECIDED, None)
        if decided is None:
            decided = self._decide(record)
            setattr(record, _DECIDED, decided)
        return decided

    def _decide(self, record: logging.LogRecord) -> bool:
        cause = record.exc_info[1] if record.exc_info else None
        where = cause.__traceback__ if cause is not None else None
        while where is not None and where.tb_next is not None:
            where = where.tb_next
        at = (where.tb_frame.f_code.co_filename, where.tb_lineno) if where is not None else None
        count = self._repeats.withheld((record.name, record.levelno, str(record.msg), type(cause), at))
        if count:
            record.msg, record.args = f"{record.getMessage().rstrip()} ({_more(count)})", ()
        return count is not None

    def flush(self, all_of_them: bool = False) -> None:
        """Say how many more there were of what does not come any more."""
        for kind, count in self._repeats.due(all_of_them):
            name, level, text = kind[:3]
            assert isinstance(name, str) and isinstance(level, int)
            logging.getLogger(name).log(level, "%s: %s", _more(count), str(text).rstrip(), extra={_DECIDED: True})


def _more(count: int) -> str:
    return f"{count} more like it"


@contextmanager
def counting_repeats() -> Iterator[RepeatFilter]:
    """The handlers of this process count what repeats, meanwhile."""
    counting = RepeatFilter()
    handlers = list(logging.getLogger().handlers)
    for handler in handlers:
        handler.addFilter(counting)
    try:
        yield counting
    finally:
        counting.flush(all_of_them=True)
        for handler in handlers:
            handler.removeFilter(counting)
