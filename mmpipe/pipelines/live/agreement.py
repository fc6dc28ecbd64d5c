"""Which words of a changing hypothesis can be trusted never to change again."""

from __future__ import annotations

import unicodedata
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

from mmpipe.types import Word


@dataclass(frozen=True, slots=True)
class AgreementOptions:
    """When words are committed."""

    #: A word that ends closer than this to the end of what was heard may still grow: it is not committed.
    hold_back_s: float = 0.3
    #: Words are committed without agreement when they have waited this long, so that disagreement cannot last.
    force_after_s: float = 4.0
    #: Hypotheses are compared that heard this much more than one another; those in between only show what is being
    #: said: one that heard little more repeats the errors of the one before. Where they are made at longer intervals,
    #: because the machine is busy, two thirds of it will do.
    apart_s: float = 1.4
    #: A hypothesis may begin with up to this many words that were committed already.
    overlap_words: int = 5


@dataclass(frozen=True, slots=True)
class Update:
    """What a new hypothesis brings: words that are final, and the rest, which may change."""

    committed: tuple[Word, ...]
    tail: tuple[Word, ...]


class LocalAgreement:
    """LocalAgreement-2: a word is final when two successive hypotheses agree on it and on all words before it.

    Liu, Spanakis and Niehues (2020), "Low-Latency Sequence-to-Sequence Speech Recognition and Translation by Partial
    Hypothesis Selection"; as used by Macháček, Dabre and Bojar (2023), "Turning Whisper into a Real-Time
    Transcription System". Times count from the start of the stream.
    """

    def __init__(self, options: AgreementOptions | None = None) -> None:
        self._options = options or AgreementOptions()
        self._tail: tuple[Word, ...] = ()
        self._hypotheses: deque[tuple[float, Sequence[Word]]] = deque()  # until when each had heard
        self._recent: deque[str] = deque(maxlen=self._options.overlap_words)
        self.committed_until_s = 0.0

    def update(self, words: Sequence[Word], heard_until_s: float) -> Update:
        """Take a hypothesis over what was heard until ``heard_until_s``."""
        options = self._options
        fresh = self._fresh(words)
        earlier = self._fresh(self._earlier(heard_until_s))
        self._hypotheses.append((heard_until_s, words))
        agreed = 0
        while agreed < min(len(fresh), len(earlier)) and key(fresh[agreed]) == key(earlier[agreed]):
            agreed += 1
        settled = sum(1 for word in fresh if word.end_s <= heard_until_s - options.hold_back_s)
        overdue = 0
        if earlier:  # there was something to agree with
            overdue = sum(1 for word in fresh if word.end_s <= heard_until_s - options.force_after_s)
        count = max(min(agreed, settled, len(fresh) - 1), overdue, 0)
        return self._commit(fresh, count)

    def finish(self, words: Sequence[Word]) -> Update:
        """Take the last hypothesis of an utterance: all of it is final."""
        fresh = self._fresh(words)
        self._hypotheses.clear()
        return self._commit(fresh, len(fresh))

    @property
    def tail(self) -> tuple[Word, ...]:
        """The words of the last hypothesis that are not final."""
        return self._tail

    def _earlier(self, heard_until_s: float) -> Sequence[Word]:
        """The latest hypothesis that had heard enough less; none before there is one."""
        apart_s = self._options.apart_s
        if self._hypotheses and self._hypotheses[-1][0] <= heard_until_s - apart_s * 2 / 3:
            return self._hypotheses[-1][1]
        while len(self._hypotheses) > 1 and self._hypotheses[1][0] <= heard_until_s - apart_s:
            self._hypotheses.popleft()
        return self._hypotheses[0][1] if self._hypotheses and self._hypotheses[0][0] <= heard_until_s - apart_s else ()

    def _fresh(self, words: Sequence[Word]) -> tuple[Word, ...]:
        """``words`` without those that were committed before, whose times move a little from window to window."""
        until_s = self.committed_until_s
        fresh = [word for word in words if (word.start_s + word.end_s) / 2 > until_s]
        if fresh and fresh[0].start_s < until_s + 1.0:
            keys, recent = [key(word) for word in fresh], list(self._recent)
            for n in range(min(len(keys), len(recent)), 0, -1):
                if keys[:n] == recent[-n:] and fresh[n - 1].start_s < until_s + 0.1:
                    del fresh[:n]
                    break
        # a word cannot begin before what is final has ended
        return tuple(replace(w, start_s=max(w.start_s, until_s), end_s=max(w.end_s, until_s)) for w in fresh)

    def _commit(self, words: tuple[Word, ...], count: int) -> Update:
        committed, self._tail = words[:count], words[count:]
        self._recent.extend(key(word) for word in committed)
        if committed:
            self.committed_until_s = committed[-1].end_s
        return Update(committed, self._tail)


def key(word: Word) -> str:
    """What must be equal for two hypotheses to agree: letters and digits, not case and punctuation."""
    text = unicodedata.normalize("NFKC", word.text).casefold()
    return "".join(c for c in text if c.isalnum()) or text
