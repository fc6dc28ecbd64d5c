"""How fast the language model answers: alone, together with others, and while others are answered.

Needs the extra ``qa``. Everything runs in one process on the same weights; what is compared takes turns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from statistics import median
from typing import Any

from mmpipe.generation.chat import Message, render
from mmpipe.generation.engine import GenerationEngine
from mmpipe.generation.language_model import DType, LanguageModel
from mmpipe.generation.options import EngineOptions
from mmpipe.generation.requests import Generation, GenerationRequest, Prompt

Row = dict[str, Any]

#: Sixteen questions of different lengths, for answers of different lengths.
QUESTIONS = (
    "What is the capital of France?",
    "Name three fruits.",
    "Why is the sky blue? Explain it to a child who has just learned that light has colours, in simple words.",
    "Write a haiku about the sea.",
    "What is 12 plus 7?",
    "Who wrote Hamlet?",
    "How do bees make honey?",
    "Explain gravity.",
    "List the colours of the rainbow.",
    "What do cows eat?",
    "Is a tomato a fruit or a vegetable? Explain your answer in a few words, and say what a botanist would say.",
    "Translate hello to French.",
    "How many legs does a spider have?",
    "What is photosynthesis?",
    "Give me a name for a cat that likes to swim, to sleep in the sun, and to steal fish from the neighbours.",
    "What is the largest ocean?",
)


def generation(
    weights: str = "smollm2-135m",
    dtype: DType = "float32",
    runs: int = 3,
    max_new_tokens: int = 32,
    device: str = "cpu",
) -> Iterator[Row]:
    """Sixteen mixed questions, one after the other and together; the first token; who waits for whom.

    ``transformers`` is its own ``generate`` on one question after the other, and on all of them padded on the left.
    What was computed for a question is not kept for the next run, but where "next turn" says so. Medians of ``runs``.
    """
    lm = LanguageModel.load(weights, dtype=dtype, device=device)
    with GenerationEngine(lm, EngineOptions(prefix_cache_bytes=0)) as engine:
        requests = [GenerationRequest(_prompt(lm, question), max_new_tokens) for question in QUESTIONS]
        systems: dict[str, Callable[[], Sequence[Sequence[int]]]] = {
            "one by one": lambda: [_ids(engine.generate([request]))[0] for request in requests],
            "together": lambda: _ids(engine.generate(requests)),
            "transformers, one by one": lambda: [_plain(lm, [request], max_new_tokens)[0] for request in requests],
            "transformers, together": lambda: _plain(lm, requests, max_new_tokens),
        }
        engine.generate(requests[:2])
        took_s: dict[str, list[float]] = {name: [] for name in systems}
        answers: dict[str, Sequence[Sequence[int]]] = {}
        for _ in range(runs):
            for name, run in systems.items():
                began_s = time.perf_counter()
                answers[name] = run()
                took_s[name].append(time.perf_counter() - began_s)
        slowest_s = median(took_s["one by one"])
        for name, times_s in took_s.items():
            tokens = sum(map(len, answers[name]))
            same = sum(list(a) == list(b) for a, b in zip(answers[name], answers["one by one"], strict=True))
            yield {
                "what": f"16 questions, {name}",
                "seconds": round(median(times_s), 2),
                "tokens/s": round(tokens / median(times_s), 1),
                "times faster": round(slowest_s / median(times_s), 2),
                "same answers": f"{same} of 16",
            }
        yield _first_token(engine, requests, runs)
        yield _short_during_long(engine, lm, runs)
    with GenerationEngine(lm) as engine:
        yield from _next_turn(engine, lm, runs)


def _first_token(engine: GenerationEngine, requests: Sequence[GenerationRequest], runs: int) -> Row:
    times_s = [engine.generate([request])[0].first_token_s for _ in range(runs) for request in requests]
    return {"what": "first token, warm, alone", "seconds": round(median(times_s), 3), "worst": round(max(times_s), 3)}


def _short_during_long(engine: GenerationEngine, lm: LanguageModel, runs: int) -> Row:
    """A short question comes while eight long answers are being written."""
    waited: list[Generation] = []
    for _ in range(runs):
        long = [
            engine.submit(GenerationRequest(_prompt(lm, f"Write a long story about the number {n}."), 400))
            for n in range(8)
        ]
        for stream in long:
            next(iter(stream))
        waited.append(engine.generate([GenerationRequest(_prompt(lm, "What is 12 plus 7?"), 8)])[0])
        for stream in long:
            stream.cancel()
        for stream in long:
            stream.result()
    times_s = [answer.first_token_s for answer in waited]
    return {
        "what": "first token of a short question during 8 long answers",
        "seconds": round(median(times_s), 3),
        "worst": round(max(times_s), 3),
        "passes waited, worst": max(answer.waited_steps for answer in waited),
    }


def _next_turn(engine: GenerationEngine, lm: LanguageModel, runs: int) -> Iterator[Row]:
    """The first token of a second turn behind a long first one, for which what was computed is kept, and not."""
    first: list[float] = []
    second: list[Generation] = []
    for run in range(runs):
        text = f"Note {run}. " + " ".join(QUESTIONS)
        begin = [Message("user", text)]
        answer = engine.generate([GenerationRequest(Prompt(token_ids=render(lm, begin).token_ids), 8)])[0]
        first.append(answer.first_token_s)
        turn = [*begin, Message("assistant", answer.text), Message("user", "And why?")]
        second.append(engine.generate([GenerationRequest(Prompt(token_ids=render(lm, turn).token_ids), 8)])[0])
    yield {"what": f"first token of a prompt of {answer.prompt_tokens} tokens", "seconds": round(median(first), 3)}
    yield {
        "what": f"first token of its next turn, {second[-1].reused_tokens} of {second[-1].prompt_tokens} tokens known",
        "seconds": round(median(one.first_token_s for one in second), 3),
    }


def _prompt(lm: LanguageModel, question: str) -> Prompt:
    return Prompt(token_ids=render(lm, [Message("user", question)]).token_ids)


def _ids(answers: Sequence[Generation]) -> list[tuple[int, ...]]:
    return [answer.token_ids for answer in answers]


def _plain(lm: LanguageModel, requests: Sequence[GenerationRequest], most: int) -> list[list[int]]:
    """Greedy ``generate`` of transformers on one batch, padded on the left."""
    import torch

    longest = max(len(request.prompt) for request in requests)
    ids = torch.full((len(requests), longest), lm.turn_end_id)
    mask = torch.zeros_like(ids)
    for row, request in enumerate(requests):
        start = longest - len(request.prompt)
        ids[row, start:], mask[row, start:] = torch.tensor(request.prompt.token_ids), 1
    out = lm.model.generate(
        ids.to(lm.device),
        attention_mask=mask.to(lm.device),
        max_new_tokens=most,
        do_sample=False,
        eos_token_id=lm.turn_end_id,
        pad_token_id=lm.turn_end_id,
    )
    answers = [row[longest:].tolist() for row in out]
    return [ids[: ids.index(lm.turn_end_id) + 1] if lm.turn_end_id in ids else ids for ids in answers]
