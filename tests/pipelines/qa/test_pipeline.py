"""From a picture to an answer: on random weights, where the way counts and not the words."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
import torch

from mmpipe import Message, MultimodalQA
from mmpipe.errors import ClosedError, ImageError, InputError, StageError
from mmpipe.fusion.strategies import FeatureBatch
from mmpipe.generation.engine import GenerationEngine
from mmpipe.generation.requests import GenerationRequest, Prompt
from mmpipe.pipelines.multimodal_qa import Question
from mmpipe.pipelines.multimodal_qa.fused import fast_dtype
from mmpipe.pipelines.multimodal_qa.image_encoding import load
from mmpipe.stage import ImageEncoder
from mmpipe.types import Image, ImageFeatures
from mmpipe.vision import images

Make = Callable[..., MultimodalQA]
SHORT = 12  # tokens


def test_the_answer_is_what_the_language_model_says_to_the_embeddings_of_the_picture(make: Make, parts: Any) -> None:
    model = parts.fused()
    lm, strategy = model.language_model, model.strategy
    (features,) = parts.Colours().run([parts.RED])
    before = [lm.turn_start_id, *lm.encode("user\n")]
    after = [*lm.encode("What is this?"), lm.turn_end_id, *lm.encode("\n"), lm.turn_start_id, *lm.encode("assistant\n")]
    picture = strategy(FeatureBatch.of([features]))[0]
    by_hand = Prompt(embeddings=torch.cat([lm.embed(before), picture, lm.embed(after)]))
    with GenerationEngine(lm) as engine:
        (expected,) = engine.generate([GenerationRequest(by_hand, max_new_tokens=SHORT)])
    answer = make(fused_model=parts.fused()).ask("What is this?", parts.RED, max_new_tokens=SHORT)
    assert answer.said == expected.text.strip()
    assert (answer.question, answer.language, answer.refused) == ("What is this?", "en", False)


@pytest.mark.parametrize(
    ("strategy", "settings"),
    [("prefix", {}), ("additive", {}), ("soft_words", {}), ("cross_attention", {"layers": 2, "every": 1, "grid": 2})],
)
def test_every_strategy_shows_the_picture_to_the_language_model(
    make: Make, parts: Any, strategy: str, settings: dict[str, int]
) -> None:
    model = parts.fused(strategy, **settings)
    for gate in (block.gate for block in getattr(model.strategy, "blocks", {}).values()):
        gate.fill_(2.0)
    if strategy == "additive":
        model.strategy.gate.fill_(2.0)
    qa = make(fused_model=model)
    answers = {qa.ask("What?", picture, max_new_tokens=40).said for picture in (parts.RED, parts.GREEN, parts.BLUE)}
    assert len(answers) > 1


def test_a_picture_may_be_a_path_bytes_or_an_image_and_stand_anywhere_in_the_question(
    make: Make, parts: Any, tmp_path: Path
) -> None:
    qa, path = make(), tmp_path / "red.png"
    images.save(parts.RED, path)
    said = [qa.ask("What?", red, max_new_tokens=SHORT).said for red in (parts.RED, path, str(path), path.read_bytes())]
    assert len(set(said)) == 1
    chat = [Message("user", ("What?",))]
    assert qa.chat([Message("user", (path, "What?"))], max_new_tokens=SHORT).said == said[0]
    with pytest.raises(InputError, match="no picture"):
        qa.chat(chat)
    between = Question.about("Is <image> or <image> older?", [parts.RED, parts.BLUE])
    assert [type(part) for part in between.messages[0].content] == [str, Image, str, Image, str]


def test_several_pictures_are_told_apart_by_their_order(make: Make, parts: Any) -> None:
    qa = make()
    chat = qa.model.render([Message("user", (parts.RED, parts.BLUE, "Which?"))])
    red, blue = parts.Colours().run([parts.RED, parts.BLUE])
    one, other = qa.model.prompt(chat, [red, blue]), qa.model.prompt(chat, [blue, red])
    assert one.embeddings is not None
    assert other.embeddings is not None
    first, second = (slice(medium.start, medium.stop) for medium in chat.media)
    assert torch.equal(one.embeddings[first], other.embeddings[second])
    assert not torch.equal(one.embeddings[first], other.embeddings[first])
    with pytest.raises(InputError, match=r"8 placeholders .* 4 embeddings"):
        qa.model.prompt(chat, [red])


def test_many_mixed_questions_are_answered_as_each_alone(make: Make, parts: Any) -> None:
    asked = [
        Question.about(text, pictures, max_new_tokens=tokens, **options)
        for pictures, text, tokens, options in [
            (parts.RED, "What is this?", 30, {}),
            ([parts.RED, parts.BLUE], "Which of the two is it, and why do you think so?", 10, {}),
            (parts.GREEN, "Is it?", 10, {"choices": ["yes", "no"]}),
            (parts.BLUE, "?", 1, {}),
            (parts.GREEN, "Tell me more. " * 10, 20, {}),
        ]
    ] * 4
    alone = [make().answer(question) for question in asked[:5]]
    together = make().ask_many(iter(asked))
    assert [answer.said for answer in together] == [answer.said for answer in alone] * 4
    assert [answer.choices for answer in together[:5]] == [pytest.approx(answer.choices, abs=1e-6) for answer in alone]
    assert len({answer.said for answer in alone}) > 3


def test_one_question_that_cannot_be_answered_ends_the_rest(qa: MultimodalQA, parts: Any, tmp_path: Path) -> None:
    asked = [Question.about("What?", parts.RED, max_new_tokens=2) for _ in range(3)]
    with pytest.raises(ImageError, match=r"no\.png"):
        qa.ask_many([*asked, Question.about("What?", tmp_path / "no.png"), *asked])
    assert qa.ask("What?", parts.RED, max_new_tokens=2).confidence > 0  # it goes on working


def test_the_same_picture_is_encoded_once_and_a_conversation_is_not_read_again(
    qa: MultimodalQA, encoder: Any, parts: Any
) -> None:
    talk = qa.conversation()
    talk.ask("What is this, and what is it good for?", parts.RED, max_new_tokens=SHORT)
    first = qa.engine.stats
    talk.ask("Why?", max_new_tokens=SHORT)
    second = qa.engine.stats
    assert encoder.seen == 1
    assert second.reused_tokens - first.reused_tokens > first.prefilled_tokens * 0.9
    qa.ask("What?", Image(parts.RED.pixels.copy()), max_new_tokens=1)
    assert encoder.seen == 1


def test_a_conversation_keeps_what_was_shown_and_said_and_forgets_what_failed(qa: MultimodalQA, parts: Any) -> None:
    talk = qa.conversation()
    with pytest.raises(InputError, match="no picture"):
        talk.ask("What is this?")
    answer = talk.ask("What is this?", parts.RED, max_new_tokens=SHORT)
    with pytest.raises(InputError, match="no question"):
        talk.ask(" ", parts.GREEN)
    later = talk.ask("And this?", [parts.BLUE], choices=["a dog", "a cat"])
    assert [message.role for message in talk.messages] == ["user", "assistant", "user", "assistant"]
    assert talk.messages[0].parts == (parts.RED, "What is this?")
    assert talk.messages[1].parts == (answer.text,)
    assert talk.messages[2].parts == (parts.BLUE, "And this?")
    assert talk.messages[3].parts == (later.text,)
    assert later.text in ("a dog", "a cat", "I cannot tell.")


def test_a_conversation_goes_on_about_what_was_shown_whatever_becomes_of_the_file(
    qa: MultimodalQA, encoder: Any, parts: Any, tmp_path: Path
) -> None:
    snapshot = tmp_path / "snapshot.png"
    images.save(parts.RED, snapshot)
    talk = qa.conversation()
    talk.ask("What is this?", snapshot, max_new_tokens=SHORT)
    images.save(parts.BLUE, snapshot)
    talk.ask("And now?", str(snapshot), max_new_tokens=SHORT)
    snapshot.unlink()
    talk.ask("What was in the first picture?", max_new_tokens=SHORT)
    shown = [load(part) for message in talk.messages for part in message.parts if not isinstance(part, str)]
    assert [tuple(picture.pixels[0, 0]) for picture in shown] == [(250, 5, 5), (5, 5, 250)]
    assert encoder.seen == 2
    assert talk.explain().answer.text
    with pytest.raises(ImageError, match=r"snapshot\.png"):
        talk.ask("And this?", snapshot)
    snapshot.write_text("no picture")
    with pytest.raises(ImageError, match=r"snapshot\.png"):
        talk.ask("And this?", snapshot)


@pytest.mark.parametrize("sign", ["博物馆今天关闭", "Das Museum ist heute geschlossen", "Entrée interdite à tous"])
def test_a_conversation_goes_on_after_a_sign_in_a_language_that_nothing_translates(
    make: Make, parts: Any, sign: str
) -> None:
    talk = make(reader=parts.Page(sign)).conversation()
    assert talk.ask("What does the sign say?", parts.RED).text == sign
    talk.ask("What is this?", max_new_tokens=SHORT)
    assert talk.messages[1].parts == (sign,)


def test_a_question_that_is_cancelled_while_its_answer_is_spoken_is_forgotten(make: Make, parts: Any) -> None:
    class Slow(parts.Beep):  # type: ignore[misc, name-defined]
        began, go_on = Event(), Event()

        def run(self, items: Sequence[Any]) -> list[Any]:
            self.began.set()
            assert self.go_on.wait(10)
            return super().run(items)  # type: ignore[no-any-return]

    talk = make(synthesizers=[Slow()]).conversation()
    stream = talk.stream("What is this?", parts.RED, speak=True, max_new_tokens=SHORT)
    assert Slow.began.wait(10)
    stream.cancel()
    Slow.go_on.set()
    with suppress(CancelledError):
        stream.result(10)
    assert talk.messages == ()


def test_whoever_waits_is_told_of_a_panic_too(make: Make, parts: Any) -> None:
    class Panic(BaseException):
        pass

    def panic(*_: object) -> float:
        raise Panic("of a library in Rust")

    stream = make(confidence=panic).stream("What is this?", parts.RED, max_new_tokens=SHORT)
    with pytest.raises(Panic):
        stream.result(10)


def test_how_clear_the_pictures_shown_last_are_is_what_counts(make: Make, parts: Any) -> None:
    seen: list[list[int]] = []

    def confidence(_: str, __: Sequence[float], pictures: Sequence[ImageFeatures]) -> float:
        seen.append([int(picture.logits.argmax()) for picture in pictures])
        return 1.0

    talk = make(confidence=confidence).conversation()
    red, green, blue = range(3)
    talk.ask("What is this?", parts.RED, max_new_tokens=SHORT)
    talk.ask("And these?", [parts.GREEN, parts.BLUE], max_new_tokens=SHORT)
    talk.ask("Is it an animal?", max_new_tokens=SHORT)
    talk.explain()
    assert seen == [[red], [green, blue], [green, blue], [green, blue]]


def test_a_stream_gives_the_answer_in_pieces_to_threads_and_coroutines(qa: MultimodalQA, parts: Any) -> None:
    expected = qa.ask("What?", parts.RED, max_new_tokens=30)
    stream = qa.stream("What?", parts.RED, max_new_tokens=30)
    assert "".join(stream).strip() == expected.text
    assert "".join(stream).strip() == expected.text  # again, for who comes late
    assert stream.result().text == expected.text

    async def read() -> tuple[str, str]:
        one, other = (qa.stream("What?", parts.RED, max_new_tokens=30) for _ in range(2))
        pieces = [piece async for piece in one]
        return "".join(pieces), (await other).text

    pieces, text = asyncio.run(read())
    assert pieces.strip() == text == expected.text


class Slow(ImageEncoder):
    """Waits to be told before it looks."""

    identity = ""

    def __init__(self, inner: ImageEncoder) -> None:
        self.inner, self.began, self.go_on = inner, Event(), Event()
        self.labels = inner.labels

    def run(self, items: Sequence[Image]) -> list[ImageFeatures]:
        self.began.set()
        assert self.go_on.wait(10)
        return self.inner.run(items)


def test_a_cancelled_question_is_not_answered(make: Make, parts: Any) -> None:
    slow = Slow(parts.Colours())
    qa = make(fused_model=parts.fused(encoder=slow))
    stream = qa.stream("What?", parts.RED, max_new_tokens=1500)
    assert slow.began.wait(10)
    stream.cancel()
    slow.go_on.set()
    with pytest.raises(CancelledError):
        stream.result(10)
    with pytest.raises(CancelledError):
        list(stream)
    assert qa.engine.stats.generated_tokens < 1500

    async def give_up() -> None:
        task = asyncio.create_task(_await(qa.stream("What?", parts.RED, max_new_tokens=1500)))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(give_up())


async def _await(stream: Any) -> Any:
    return await stream


def test_closing_fails_what_is_under_way_and_what_waits(make: Make, parts: Any) -> None:
    slow = Slow(parts.Colours())
    qa = make(fused_model=parts.fused(encoder=slow))
    streams = [qa.stream(f"What {n}?", parts.RED) for n in range(60)]
    assert slow.began.wait(10)
    slow.go_on.set()
    qa.engines.close()
    qa.close()
    for stream in streams:
        with pytest.raises((ClosedError, StageError)):
            stream.result(10)
    with pytest.raises(ClosedError):
        qa.stream("What?", parts.RED)
    qa.close()


def test_what_goes_wrong_in_an_encoder_is_told_and_does_not_stay(make: Make, parts: Any) -> None:
    class Blind(parts.Colours):  # type: ignore[misc, name-defined]
        def run(self, items: Sequence[Image]) -> list[ImageFeatures]:
            if any(item.pixels[0, 0, 0] == 0 for item in items):
                raise RuntimeError("too dark")
            return super().run(items)  # type: ignore[no-any-return]

    qa = make(fused_model=parts.fused(encoder=Blind()))
    with pytest.raises(StageError, match="too dark"):
        qa.ask("What?", Image(np.zeros((9, 9, 3), np.uint8)))
    assert qa.ask("What?", parts.RED, max_new_tokens=2).confidence > 0


def test_bfloat16_is_used_only_where_the_processor_multiplies_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for native, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda native=native: native, raising=False)
        assert fast_dtype("cpu") == expected
    monkeypatch.delattr(torch.cpu, "_is_avx512_bf16_supported")  # nothing promises that it stays
    assert fast_dtype("cpu") == "float32"
