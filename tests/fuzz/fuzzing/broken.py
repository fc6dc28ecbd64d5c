"""What a campaign has to notice, for its own test."""

from __future__ import annotations

import os
import time

from fuzzing.outcome import Failure, Outcome


class Broken:
    """By turns: nothing, a crash, an end, a hang, a failure, too much memory."""

    def case(self, n: int) -> Outcome:
        match n % 6:
            case 1:
                os.abort()
            case 2:
                os._exit(3)
            case 3:
                time.sleep(3600)
            case 4:
                return Outcome(n, failures=(Failure("foreign exception", "here"),))
            case 5:
                return Outcome(n, failures=(Failure("memory", "too much"),), peak_mb=9.0)
        return Outcome(n, {"decoded": 1}, peak_mb=1.0)
