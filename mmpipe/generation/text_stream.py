"""From tokens to text as it can be shown: whole characters only, and nothing that may turn out to be a stop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tokenizers.decoders import DecodeStream


class TextStream:
    """The text of one answer, token by token.

    A character can be cut across tokens: it is given when it is whole, and never if the answer ends before. Where the
    text could be the beginning of a stop string, it is held back until that is decided.
    """

    def __init__(self, tokenizer: Any, stop_strings: Sequence[str] = ()) -> None:
        self._backend = tokenizer.backend_tokenizer
        self._decoder = DecodeStream(skip_special_tokens=True)
        self._stops = tuple(stop_strings)
        self._held = ""
        self.stopped = False  # a stop string has come; what stands before it was given

    def push(self, token_id: int) -> str:
        """The text that ``token_id`` makes certain."""
        self._held += self._decoder.step(self._backend, token_id) or ""
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.stopped = True
            self._held = self._held[: min(found)]
            return self.flush()
        kept = max((_overlap(self._held, stop) for stop in self._stops), default=0)
        certain = len(self._held) - kept
        text, self._held = self._held[:certain], self._held[certain:]
        return text

    def flush(self) -> str:
        """What was held back: the answer has ended, and it was no stop."""
        text, self._held = self._held, ""
        return text


def _overlap(text: str, stop: str) -> int:
    """How long a beginning of ``stop`` stands at the end of ``text``."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if text.endswith(stop[:n])), 0)
