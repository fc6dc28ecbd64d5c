"""Which of given answers the language model holds for the likeliest, and by how much.

Nothing is generated: the answers are read behind the prompt, all in one pass, and their probabilities compared. The
probabilities are the model's own; whether it is right as often as it is sure is for calibration to say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mmpipe.errors import InputError
from mmpipe.generation.engine import GenerationEngine
from mmpipe.generation.language_model import LanguageModel
from mmpipe.generation.requests import Prompt, Score, ScoreRequest


@dataclass(frozen=True, slots=True)
class Choice:
    """A possible answer. ``text``: its first spelling. ``probability``: among the choices, 0..1; they sum to 1.

    ``logprob``: natural, of the choice on its own, over all its spellings.
    """

    text: str
    probability: float
    logprob: float


class Choices:
    """Possible answers to one question, or to many.

    Args:
        choices: texts, or for one choice several spellings, whose probabilities add up.
        whole: the answer is this text and no more. Otherwise it begins with it: "no" then counts every answer that
            starts with no, nothing and north too.
        by: "sum": by probability. "mean": by probability for each token (its geometric mean), where the choices differ
            in length and a long one should not be at a disadvantage; of several spellings the best counts.

    Raises:
        InputError: fewer than two, an empty one, or the same twice.
    """

    def __init__(
        self,
        language_model: LanguageModel,
        choices: Sequence[str | Sequence[str]],
        *,
        whole: bool = True,
        by: Literal["sum", "mean"] = "sum",
    ) -> None:
        self._spellings = [(choice,) if isinstance(choice, str) else tuple(choice) for choice in choices]
        flat = [spelling for spellings in self._spellings for spelling in spellings]
        if len(self._spellings) < 2 or not all(self._spellings) or not all(flat):
            raise InputError("Give at least two choices, none of them empty.")
        if len(set(flat)) < len(flat):
            raise InputError(f"The choice {next(text for text in flat if flat.count(text) > 1)!r} is given twice.")
        self._by = by
        end = [language_model.turn_end_id] if whole else []
        self._token_ids = [[*language_model.encode(spelling), *end] for spelling in flat]

    def request(self, prompt: Prompt) -> ScoreRequest:
        """What to ask :meth:`GenerationEngine.score` for."""
        return ScoreRequest(prompt, self._token_ids)

    def interpret(self, scores: Sequence[Score]) -> tuple[Choice, ...]:
        """What the engine's scores mean, in the order of the choices."""
        rest = iter(scores)
        found = [[next(rest) for _ in spellings] for spellings in self._spellings]
        logprobs = [_log_sum([score.logprob for score in one]) for one in found]
        values = logprobs if self._by == "sum" else [max(score.mean_logprob for score in one) for one in found]
        total = _log_sum(values)
        return tuple(
            Choice(spellings[0], math.exp(value - total), logprob)
            for spellings, value, logprob in zip(self._spellings, values, logprobs, strict=True)
        )

    def score(self, engine: GenerationEngine, prompt: Prompt) -> tuple[Choice, ...]:
        """Ask ``engine``, and wait."""
        return self.interpret(engine.score(self.request(prompt), block=True).result())


def _log_sum(values: Sequence[float]) -> float:
    """log(sum(exp(values))), safely."""
    largest = max(values)
    return largest + math.log(sum(math.exp(value - largest) for value in values))
