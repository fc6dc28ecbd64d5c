"""The engine on a tiny random model. What a pass may do is let through one by one, so nothing depends on time."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from mmpipe.errors import ClosedError, InputError, QueueFullError, StageError
from mmpipe.generation.engine import GenerationEngine
from mmpipe.generation.language_model import LanguageModel
from mmpipe.generation.options import EngineOptions
from mmpipe.generation.requests import FinishReason, Generation, GenerationRequest, Prompt, ScoreRequest
from mmpipe.generation.sampling import SamplingOptions

PATIENCE_S = 20
TEXTS = ("x", "hello there", "What is this? " * 9, "日本語", "a b c d e f g")


class Gate:
    """A grammar that keeps the engine waiting before each token until the test says so.

    It allows everything but ``never``, a token that would end the answer.
    """

    def __init__(self, never: int | None = None) -> None:
        self._never = never
        self._permits = threading.Semaphore(0)
        self._asked = threading.Semaphore(0)

    def start(self) -> Gate:
        return self

    def restrict(self, logits: Tensor) -> None:
        self._asked.release()
        assert self._permits.acquire(timeout=PATIENCE_S), "the test let nothing through"
        if self._never is not None:
            logits[self._never] = -torch.inf

    def accept(self, token_id: int) -> None:
        pass

    finished = False

    def await_pass(self) -> None:
        """Return when the engine has computed a pass, and waits."""
        assert self._asked.acquire(timeout=PATIENCE_S), "no pass came"

    def let(self, passes: int = 1) -> None:
        self._permits.release(passes)


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return LanguageModel.tiny(seed=1, context_tokens=1024)


@pytest.fixture
def engine(lm: LanguageModel) -> Iterator[GenerationEngine]:
    with GenerationEngine(lm) as engine:
        yield engine


def request(lm: LanguageModel, text: str, most: int = 12, **options: object) -> GenerationRequest:
    return GenerationRequest(Prompt(token_ids=lm.encode(text)), most, **options)  # type: ignore[arg-type]


def reference(lm: LanguageModel, text: str, most: int = 12) -> list[int]:
    """What transformers generates for this prompt alone."""
    ids = torch.tensor([lm.encode(text)])
    end = lm.turn_end_id
    out = lm.model.generate(ids, max_new_tokens=most, do_sample=False, eos_token_id=end, pad_token_id=end)
    return out[0, ids.shape[1] :].tolist()  # type: ignore[no-any-return]


def alone(lm: LanguageModel, one: GenerationRequest) -> Generation:
    with GenerationEngine(lm) as engine:
        return engine.generate([one])[0]


def test_batched_answers_are_those_of_transformers_one_by_one(lm: LanguageModel, engine: GenerationEngine) -> None:
    answers = engine.generate([request(lm, text) for text in TEXTS])
    assert [list(answer.token_ids) for answer in answers] == [reference(lm, text) for text in TEXTS]
    assert {answer.finish for answer in answers} == {FinishReason.LENGTH}


def test_rows_that_join_midway_and_outlive_others_are_answered_the_same(
    lm: LanguageModel, engine: GenerationEngine
) -> None:
    gate = Gate()
    first = engine.submit(request(lm, TEXTS[2], 40, grammar=gate))
    later = []
    for text in TEXTS:
        gate.await_pass()
        later.append(engine.submit(request(lm, text, 5 + 3 * len(later))))
        gate.let()
    gate.let(100)
    assert list(first.result(PATIENCE_S).token_ids) == reference(lm, TEXTS[2], 40)
    for number, (stream, text) in enumerate(zip(later, TEXTS, strict=True)):
        assert list(stream.result(PATIENCE_S).token_ids) == reference(lm, text, 5 + 3 * number)


@pytest.mark.parametrize("prefill_tokens", [1, 7])
def test_prompts_read_in_stretches_are_answered_the_same(lm: LanguageModel, prefill_tokens: int) -> None:
    options = EngineOptions(prefill_tokens=prefill_tokens, idle_prefill_tokens=prefill_tokens + 2)
    with GenerationEngine(lm, options) as engine:
        answers = engine.generate([request(lm, text) for text in TEXTS])
    assert [list(answer.token_ids) for answer in answers] == [reference(lm, text) for text in TEXTS]


def test_model_still_works_for_whoever_else_runs_it(lm: LanguageModel, engine: GenerationEngine) -> None:
    fresh = LanguageModel.tiny(seed=1, context_tokens=1024)
    fresh.model.set_attn_implementation("eager")
    ids = torch.tensor([[0, 0, 0, 0, *lm.encode("ab")], lm.encode("abcdef")])
    mask = torch.tensor([[0, 0, 0, 0, 1, 1], [1] * 6])
    ours, theirs = (one.model(input_ids=ids, attention_mask=mask).logits for one in (lm, fresh))
    torch.testing.assert_close(ours[1], theirs[1])
    torch.testing.assert_close(ours[0, -2:], theirs[0, -2:])


def test_short_question_during_a_long_answer_waits_at_most_two_passes(
    lm: LanguageModel, engine: GenerationEngine
) -> None:
    gate = Gate(never=lm.turn_end_id)
    long = engine.submit(request(lm, "tell me everything", 200, grammar=gate))
    gate.await_pass()
    gate.let(2)
    gate.await_pass()
    short = engine.submit(request(lm, "hm?", 1))
    gate.let(300)
    assert short.result(PATIENCE_S).waited_steps <= 2
    assert len(long.result(PATIENCE_S).token_ids) == 200


def test_long_prompt_holds_up_neither_answers_nor_short_questions(lm: LanguageModel) -> None:
    with GenerationEngine(lm, EngineOptions(prefill_tokens=20)) as engine:
        gate = Gate(never=lm.turn_end_id)
        answering = engine.submit(request(lm, "go on", 60, grammar=gate))
        gate.await_pass()
        long = engine.submit(request(lm, "word " * 80, 1))  # 400 tokens: 20 passes
        gate.let()
        gate.await_pass()
        short = engine.submit(request(lm, "short", 1))
        gate.let(100)
        assert short.result(PATIENCE_S).waited_steps <= 2
        assert 20 <= long.result(PATIENCE_S).waited_steps <= 24
        assert len(answering.result(PATIENCE_S).token_ids) == 60
        assert engine.stats.steps < 66  # every pass gave the answer a token


def test_oldest_prompt_is_read_on_however_many_short_ones_come(lm: LanguageModel) -> None:
    with GenerationEngine(lm, EngineOptions(prefill_tokens=8, idle_prefill_tokens=8, max_sequences=2)) as engine:
        long = engine.submit(request(lm, "y" * 80, 1))
        short = [engine.submit(request(lm, "abcdef", 1)) for _ in range(30)]
        assert long.result(PATIENCE_S).waited_steps <= 21
        for stream in short:
            stream.result(PATIENCE_S)


def test_no_more_rows_are_answered_at_once_than_allowed(lm: LanguageModel) -> None:
    with GenerationEngine(lm, EngineOptions(max_sequences=2)) as engine:
        answers = engine.generate([request(lm, text, 10) for text in TEXTS])
        assert [list(answer.token_ids) for answer in answers] == [reference(lm, text, 10) for text in TEXTS]
        assert engine.stats.steps >= 25
        assert engine.stats.mean_sequences <= 2


def test_cache_bounds_what_is_answered_at_once(lm: LanguageModel) -> None:
    options = EngineOptions(context_tokens=256, cache_tokens=256, prefix_cache_bytes=0)  # two rows of 128
    with GenerationEngine(lm, options) as engine:
        engine.generate([request(lm, text[:9], 10) for text in TEXTS])
        assert engine.stats.mean_sequences <= 2


def test_answer_ends_with_the_turn(lm: LanguageModel) -> None:
    answer = alone(lm, request(lm, "tell me everything", 200))
    assert answer.finish is FinishReason.STOP
    assert answer.token_ids[-1] == lm.turn_end_id
    assert lm.encode(answer.text)[0] == answer.token_ids[0]


def test_further_tokens_can_end_an_answer(lm: LanguageModel) -> None:
    whole = alone(lm, request(lm, "hello there", 30))
    stop = whole.token_ids[3]
    stopped = alone(lm, request(lm, "hello there", 30, stop_ids=(stop,)))
    assert (whole.finish, stopped.finish) == (FinishReason.LENGTH, FinishReason.STOP)
    assert stopped.token_ids == whole.token_ids[: whole.token_ids.index(stop) + 1]


def test_each_row_has_its_own_options(lm: LanguageModel, engine: GenerationEngine) -> None:
    plain = reference(lm, "hello there")
    warm = SamplingOptions(temperature=1.0, top_k=20, seed=5)
    greedy, drawn, again, other, varied = engine.generate(
        [
            request(lm, "hello there"),
            request(lm, "hello there", sampling=warm),
            request(lm, "hello there", sampling=warm),
            request(lm, "hello there", sampling=SamplingOptions(temperature=1.0, top_k=20, seed=6)),
            request(lm, "hello there", 40, sampling=SamplingOptions(repetition_penalty=1e6)),
        ]
    )
    assert list(greedy.token_ids) == plain
    assert drawn.token_ids == again.token_ids != other.token_ids
    assert alone(lm, request(lm, "hello there", sampling=warm)).token_ids == drawn.token_ids
    assert len(set(varied.token_ids)) == 40


def test_stop_string_ends_the_answer_before_it(lm: LanguageModel) -> None:
    full = alone(lm, request(lm, "hello there", 30))
    stop = full.text[4:6]
    stopped = alone(lm, request(lm, "hello there", 30, stop_strings=(stop,)))
    assert stopped.finish is FinishReason.STOP
    assert stopped.text == full.text[: full.text.index(stop)]


def test_log_probabilities_are_the_models_own(lm: LanguageModel) -> None:
    answer = alone(lm, request(lm, "hello there", sampling=SamplingOptions(temperature=2.0, seed=0)))
    ids = torch.tensor([[*lm.encode("hello there"), *answer.token_ids]])
    logprobs = lm.model(ids).logits[0].log_softmax(-1).detach()
    start = answer.prompt_tokens - 1
    expected = [float(logprobs[start + at, token]) for at, token in enumerate(answer.token_ids)]
    assert answer.logprobs == pytest.approx(expected, abs=1e-4)
    assert answer.mean_logprob == pytest.approx(sum(expected) / len(expected), abs=1e-4)


def test_pieces_of_a_stream_make_the_text(lm: LanguageModel, engine: GenerationEngine) -> None:
    stream = engine.submit(request(lm, "日本語", 60))
    pieces = list(stream)
    assert "".join(pieces) == stream.result().text
    assert list(stream) == pieces  # from the beginning, for whoever comes later


def test_coroutines_share_the_engine(lm: LanguageModel, engine: GenerationEngine) -> None:
    async def ask(text: str) -> tuple[str, Generation]:
        stream = engine.submit(request(lm, text, 30))
        pieces = [piece async for piece in stream]
        return "".join(pieces), await stream

    async def main() -> list[tuple[str, Generation]]:
        return await asyncio.gather(*(ask(text) for text in TEXTS))

    for (streamed, answer), text in zip(asyncio.run(main()), TEXTS, strict=True):
        assert streamed == answer.text
        assert list(answer.token_ids) == reference(lm, text, 30)


def test_coroutine_that_is_cancelled_frees_its_row(lm: LanguageModel, engine: GenerationEngine) -> None:
    async def main() -> Generation:
        gate = Gate()
        stream = engine.submit(request(lm, "hello", 500, grammar=gate))

        async def wait() -> None:
            await stream

        task = asyncio.create_task(wait())
        await asyncio.to_thread(gate.await_pass)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.let()
        return await stream

    assert asyncio.run(main()).finish is FinishReason.CANCELLED
    assert engine.stats.cancelled == 1


def test_cancelled_answer_gives_what_there_is_and_the_others_go_on(lm: LanguageModel, engine: GenerationEngine) -> None:
    gate = Gate()
    stream = engine.submit(request(lm, "hello there", 500, grammar=gate))
    other = engine.submit(request(lm, "x", 20))
    gate.await_pass()
    gate.let(3)
    for _ in range(3):
        gate.await_pass()
    stream.cancel()
    gate.let()
    answer = stream.result(PATIENCE_S)
    assert answer.finish is FinishReason.CANCELLED
    assert list(answer.token_ids) == reference(lm, "hello there", 500)[: len(answer.token_ids)]
    assert list(other.result(PATIENCE_S).token_ids) == reference(lm, "x", 20)
    stream.cancel()  # does no harm


def test_rows_that_leave_in_any_order_do_not_disturb_the_others(lm: LanguageModel, engine: GenerationEngine) -> None:
    gate = Gate()
    held = engine.submit(request(lm, "x", 30, grammar=gate))
    gate.await_pass()
    streams = [engine.submit(request(lm, text[:40], 30)) for text in TEXTS]
    gate.let(2)
    gate.await_pass()
    gate.await_pass()
    for stream in (streams[0], streams[2]):
        stream.cancel()
    gate.let(100)
    for stream, text in zip(streams, TEXTS, strict=True):
        ids = list(stream.result(PATIENCE_S).token_ids)
        assert ids == reference(lm, text[:40], 30)[: len(ids)]
    finishes = [stream.result().finish for stream in (held, *streams)]
    assert [finish is FinishReason.CANCELLED for finish in finishes] == [False, True, False, True, False, False]


def test_cancelled_while_waiting_is_never_begun(lm: LanguageModel) -> None:
    with GenerationEngine(lm, EngineOptions(max_sequences=1)) as engine:
        gate = Gate()
        busy = engine.submit(request(lm, "hello", 3, grammar=gate))
        gate.await_pass()
        waiting = engine.submit(request(lm, "x"))
        waiting.cancel()
        assert waiting.result(0).token_ids == ()
        assert waiting.result(0).finish is FinishReason.CANCELLED
        gate.let(3)
        busy.result(PATIENCE_S)
        assert engine.stats.generated_tokens == 3


def test_too_long_a_prompt_is_refused_with_the_numbers(lm: LanguageModel, engine: GenerationEngine) -> None:
    with pytest.raises(InputError, match=r"has 20000 tokens, and 12 .* room for 1024"):
        engine.submit(request(lm, "a" * 20_000))
    with pytest.raises(InputError, match="500 tokens, and 1000"):
        engine.submit(request(lm, "a" * 500, 1000))
    assert len(engine.generate([request(lm, "a" * 1020, 4)])[0].token_ids) == 4


def test_prompt_that_does_not_fit_the_model_is_refused(lm: LanguageModel, engine: GenerationEngine) -> None:
    with pytest.raises(InputError, match=r"size 7.*have 32"):
        engine.submit(GenerationRequest(Prompt(torch.zeros(3, 7))))
    with pytest.raises(InputError, match="not all finite"):
        engine.submit(GenerationRequest(Prompt(torch.full((3, 32), torch.nan))))
    with pytest.raises(InputError, match="attending"):
        engine.submit(GenerationRequest(Prompt(token_ids=[1], memory=torch.zeros(1, 2, 32))))
    with pytest.raises(InputError, match="one of them"):
        Prompt()


def test_embeddings_are_answered_as_the_tokens_they_are_of(lm: LanguageModel, engine: GenerationEngine) -> None:
    embeddings = lm.embed(lm.encode("hello there"))
    assert embeddings.requires_grad
    (answer,) = engine.generate([GenerationRequest(Prompt(embeddings), 12)])
    assert list(answer.token_ids) == reference(lm, "hello there")


def test_full_queue_refuses_at_once_and_says_when_to_come_back(lm: LanguageModel) -> None:
    with GenerationEngine(lm, EngineOptions(max_sequences=1, max_queue=2)) as engine:
        gate = Gate()
        busy = engine.submit(request(lm, "hello", 2, grammar=gate))
        gate.await_pass()
        waiting = [engine.submit(request(lm, "x")) for _ in range(2)]
        with pytest.raises(QueueFullError, match="2 requests") as refused:
            engine.submit(request(lm, "y"))
        assert refused.value.retry_after_s > 0
        assert (engine.stats.queued, engine.stats.running, engine.stats.refused) == (2, 1, 1)
        gate.let(2)
        for stream in (busy, *waiting, engine.submit(request(lm, "y"), block=True)):
            stream.result(PATIENCE_S)


def test_next_turn_computes_only_what_is_new(lm: LanguageModel, engine: GenerationEngine) -> None:
    first = engine.generate([request(lm, "It was a dark and stormy night.", 12)])[0]
    said = [*lm.encode("It was a dark and stormy night."), *first.token_ids]
    following = GenerationRequest(Prompt(token_ids=[*said, *lm.encode(" And then?")]), 12)
    before = engine.stats.prefilled_tokens
    (second,) = engine.generate([following])
    assert second.reused_tokens == len(said) - 1  # the last one it said was never computed
    assert engine.stats.prefilled_tokens - before == len(following.prompt) - second.reused_tokens
    assert second.token_ids == alone(lm, following).token_ids


def test_same_prompt_again_computes_only_its_last_token(lm: LanguageModel, engine: GenerationEngine) -> None:
    one = request(lm, "the same prompt twice")
    first, second = engine.generate([one])[0], engine.generate([one])[0]
    assert second.reused_tokens == len(one.prompt) - 1
    assert first.token_ids == second.token_ids


def test_another_picture_in_the_same_words_is_not_taken_for_the_first(
    lm: LanguageModel, engine: GenerationEngine
) -> None:
    words, random = lm.embed(lm.encode("Look at this. What is it?")).detach(), torch.Generator().manual_seed(0)
    prompts = [torch.cat((words[:14], torch.randn(4, lm.hidden_size, generator=random), words[14:])) for _ in range(2)]
    first, second = (engine.generate([GenerationRequest(Prompt(prompt), 12)])[0] for prompt in prompts)
    assert (first.reused_tokens, second.reused_tokens) == (0, 14)
    assert second.token_ids == alone(lm, GenerationRequest(Prompt(prompts[1]), 12)).token_ids != first.token_ids


def test_what_is_kept_of_prompts_is_bounded(lm: LanguageModel) -> None:
    with GenerationEngine(lm, EngineOptions(prefix_cache_bytes=25_000)) as engine:
        for text in ("a" * 30, "b" * 30, "c" * 30):
            engine.generate([request(lm, text, 1)])
        again = [engine.generate([request(lm, text, 1)])[0].reused_tokens for text in ("c" * 30, "a" * 30)]
    assert again == [29, 0]
    with GenerationEngine(lm, EngineOptions(prefix_cache_bytes=0)) as engine:
        assert [engine.generate([request(lm, "a" * 30, 1)])[0].reused_tokens for _ in range(2)] == [0, 0]


class Seen:
    """Notes what the strategy is told, and does nothing."""

    def __init__(self) -> None:
        self.calls: list[tuple[Tensor, Tensor]] = []

    def __call__(self, memory: Tensor, sees: Tensor) -> Seen:
        self.calls.append((memory, sees))
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def test_each_token_sees_the_pictures_of_its_own_row(lm: LanguageModel) -> None:
    seen = Seen()
    one, two = torch.ones(1, 2, lm.hidden_size), torch.full((2, 2, lm.hidden_size), 2.0)
    with GenerationEngine(lm, attending=seen) as engine:
        gate = Gate()
        engine.submit(request(lm, "hold", 3, grammar=gate))
        gate.await_pass()
        streams = [
            engine.submit(GenerationRequest(Prompt(token_ids=lm.encode(text), memory=memory), 2))
            for text, memory in (("abc", one), ("de", two))
        ]
        gate.let(3)
        for stream in streams:
            stream.result(PATIENCE_S)
    reading, answering = seen.calls
    assert sorted(reading[0][:, 0, 0].tolist()) == [1, 2, 2]
    by_token = (reading[1][0].float() @ reading[0][:, 0, 0]).tolist()  # 1: sees one; 4: sees both of two; 0: none
    assert sorted(by_token) == [0, 1, 1, 1, 4, 4]
    assert sorted((answering[1][0].float() @ answering[0][:, 0, 0]).tolist()) == [0, 1, 4]


def test_answer_says_where_in_the_prompt_it_looked(lm: LanguageModel, engine: GenerationEngine) -> None:
    prompts = ("hello there", "something else that is longer")
    traced = engine.generate([request(lm, text, 5, trace_attention=True) for text in prompts])
    eager = LanguageModel.tiny(seed=1, context_tokens=1024)
    eager.model.set_attn_implementation("eager")
    for text, answer in zip(prompts, traced, strict=True):
        prompt = lm.encode(text)
        out = eager.model(torch.tensor([[*prompt, *answer.token_ids]]), output_attentions=True)
        rows = slice(len(prompt) - 1, len(prompt) + 4)
        expected = torch.stack([layer[0].mean(0)[rows, : len(prompt)] for layer in out.attentions], dim=1)
        assert answer.attention is not None
        torch.testing.assert_close(answer.attention, expected, atol=1e-5, rtol=1e-4)


def test_memory_of_another_shape_is_refused_before_it_can_spoil_a_pass(lm: LanguageModel) -> None:
    with GenerationEngine(lm, attending=Seen()) as engine:
        engine.generate([GenerationRequest(Prompt(token_ids=[1], memory=torch.zeros(3, 2, lm.hidden_size)), 1)])
        with pytest.raises(InputError, match=r"\(5, 32\) .* \(2, 32\)"):
            engine.submit(GenerationRequest(Prompt(token_ids=[1], memory=torch.zeros(3, 5, lm.hidden_size)), 1))


class Broken(Gate):
    def restrict(self, logits: Tensor) -> None:
        raise ZeroDivisionError("broken grammar")


class Forbidding(Gate):
    def restrict(self, logits: Tensor) -> None:
        logits.fill_(-torch.inf)


@pytest.mark.parametrize(("grammar", "reason"), [(Broken(), "broken grammar"), (Forbidding(), "no token at all")])
def test_failing_row_fails_alone(lm: LanguageModel, engine: GenerationEngine, grammar: Gate, reason: str) -> None:
    good, bad = engine.submit(request(lm, "x", 20)), engine.submit(request(lm, "y", 20, grammar=grammar))
    with pytest.raises(StageError, match=reason):
        bad.result(PATIENCE_S)
    assert list(good.result(PATIENCE_S).token_ids) == reference(lm, "x", 20)


def test_failing_pass_fails_its_rows_and_not_the_engine(lm: LanguageModel) -> None:
    class Failing(Seen):
        def __enter__(self) -> None:
            raise RuntimeError("out of luck")

    with GenerationEngine(lm, attending=Failing()) as engine:
        bad = engine.submit(GenerationRequest(Prompt(token_ids=[1, 2], memory=torch.zeros(1, 1, lm.hidden_size))))
        with pytest.raises(StageError, match="out of luck"):
            list(bad)
        assert list(engine.generate([request(lm, "x", 9)])[0].token_ids) == reference(lm, "x", 9)
        assert (engine.stats.failed, engine.stats.done, engine.stats.running) == (1, 1, 0)


@pytest.mark.parametrize("what", ["scheduler.PromptCache", "kv_cache.KVBlock.add"])
def test_request_for_which_there_is_no_memory_is_told_so(
    lm: LanguageModel, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise RuntimeError("out of memory")

    with GenerationEngine(lm) as engine:
        with monkeypatch.context() as patch:
            patch.setattr(f"mmpipe.generation.{what}", full)
            with pytest.raises(StageError, match="out of memory"):
                engine.submit(request(lm, "x", 9)).result(PATIENCE_S)
        assert list(engine.generate([request(lm, "x", 9)])[0].token_ids) == reference(lm, "x", 9)
        assert (engine.stats.failed, engine.stats.done, engine.stats.running) == (1, 1, 0)


def test_closing_finishes_what_was_asked_for(lm: LanguageModel) -> None:
    engine = GenerationEngine(lm)
    streams = [engine.submit(request(lm, text)) for text in TEXTS]
    engine.close()
    assert all(stream.done for stream in streams)
    assert list(streams[1].result().token_ids) == reference(lm, TEXTS[1])
    with pytest.raises(ClosedError, match="closed"):
        engine.submit(request(lm, "x"))
    engine.close()


def test_closing_without_draining_fails_what_was_asked_for(lm: LanguageModel) -> None:
    engine = GenerationEngine(lm, EngineOptions(max_sequences=1))
    gate = Gate()
    running, waiting = engine.submit(request(lm, "x", 50, grammar=gate)), engine.submit(request(lm, "y"))
    scored = engine.score(ScoreRequest(Prompt(token_ids=[1]), [[2], [3]]))
    gate.await_pass()
    closing = threading.Thread(target=engine.close, kwargs={"drain": False})
    closing.start()
    gate.let(1)
    closing.join(PATIENCE_S)
    for stream in (running, waiting):
        with pytest.raises(ClosedError):
            stream.result(PATIENCE_S)
    with pytest.raises(ClosedError):
        scored.result(PATIENCE_S)


def test_forgotten_engine_finishes_and_ends_its_thread(lm: LanguageModel) -> None:
    engine = GenerationEngine(lm)
    stream = engine.submit(request(lm, "x", 5))
    thread = next(thread for thread in threading.enumerate() if thread.name == "mmpipe-generation")
    del engine
    assert list(stream.result(PATIENCE_S).token_ids) == reference(lm, "x", 5)
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def test_every_request_is_counted_once(lm: LanguageModel, engine: GenerationEngine) -> None:
    engine.generate([request(lm, text, 4) for text in TEXTS])
    engine.score(ScoreRequest(Prompt(token_ids=[1, 2, 3]), [[4, 5], [6]])).result(PATIENCE_S)
    stats = engine.stats
    assert (stats.submitted, stats.done, stats.queued, stats.running) == (6, 6, 0, 0)
    assert stats.generated_tokens == 4 * len(TEXTS)
    assert stats.tokens_per_s > 0
    assert stats.prefilled_tokens + stats.reused_tokens == sum(len(lm.encode(text)) for text in TEXTS) + 3
