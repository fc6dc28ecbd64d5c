"""How busy the machine is, measured, to decide whether one more session would break the others."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mmpipe.batching import BatcherStats, Clock
from mmpipe.pipelines.live import Answers
from mmpipe.serve.options import ServeOptions

#: What is older says little about now.
WINDOW_S = 15.0
#: The recognizer has hardly a pause.
FULL = 0.8


class LoadMeter:
    """Watches the recognizer's answers and the sessions' lag over the last seconds."""

    def __init__(self, recognizer: Callable[[], BatcherStats], answers: Callable[[], Answers], clock: Clock) -> None:
        self._recognizer = recognizer
        self._answers = answers
        self._clock = clock
        self._samples: deque[tuple[float, BatcherStats, Answers]] = deque()
        self._lags: deque[tuple[float, float]] = deque()

    def sample(self) -> None:
        """Look at the recognizer; to be called about once a second."""
        now_s = self._clock.now_s()
        self._samples.append((now_s, self._recognizer(), self._answers()))
        while len(self._samples) > 2 and self._samples[0][0] < now_s - WINDOW_S:
            self._samples.popleft()

    def forget(self) -> None:
        """Begin anew."""
        self._samples.clear()
        self._lags.clear()

    def note_lag(self, lag_s: float) -> None:
        """What a session reported."""
        self._lags.append((self._clock.now_s(), lag_s))

    @property
    def lag_s(self) -> float:
        """The largest of the last seconds."""
        since_s = self._clock.now_s() - WINDOW_S
        while self._lags and self._lags[0][0] < since_s:
            self._lags.popleft()
        return max((lag_s for _, lag_s in self._lags), default=0.0)

    @property
    def response_s(self) -> float:
        """Mean time in the last seconds from a session's wanting to be heard to the recognizer's answer."""
        if len(self._samples) < 2:
            return 0.0
        (*_, before), (*_, now) = self._samples[0], self._samples[-1]
        return (now.total_s - before.total_s) / max(now.count - before.count, 1)

    @property
    def utilization(self) -> float:
        """The part of the last seconds in which the recognizer computed, 0..1."""
        if len(self._samples) < 2:
            return 0.0
        (_, before, _), (_, now, _) = self._samples[0], self._samples[-1]
        uptime_s = now.uptime_s - before.uptime_s
        return (now.run_s - before.run_s) / uptime_s if uptime_s > 0 else 0.0

    def refusal(self, options: ServeOptions) -> str | None:
        """Why no more sessions should be admitted; None: they may."""
        # a machine that is not full may be slow with a single long window
        if self.utilization > FULL and self.response_s > options.max_response_s:
            return f"recognition takes {self.response_s:.1f} s to answer"
        if self.lag_s > options.max_lag_s:
            return f"sessions are {self.lag_s:.1f} s behind their speakers"
        return None
