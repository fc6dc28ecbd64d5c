import pytest

from mmpipe.generation.language_model import LanguageModel
from mmpipe.generation.text_stream import TextStream

TEXT = "Grüße 日本 👩‍🚀 done"


@pytest.fixture(scope="module")
def lm() -> LanguageModel:
    return LanguageModel.tiny()


def test_characters_come_whole(lm: LanguageModel) -> None:
    stream = TextStream(lm.tokenizer)
    pieces = [stream.push(token) for token in lm.encode(TEXT)]
    assert len(pieces) > len(TEXT)
    assert [piece for piece in pieces if piece] == list(TEXT)


def test_character_that_is_cut_off_is_not_shown(lm: LanguageModel) -> None:
    stream = TextStream(lm.tokenizer)
    shown = "".join(stream.push(token) for token in lm.encode("ok 日")[:-1])
    assert shown + stream.flush() == "ok "


def test_special_tokens_are_not_shown(lm: LanguageModel) -> None:
    stream = TextStream(lm.tokenizer)
    shown = [stream.push(token) for token in (*lm.encode("a"), lm.placeholder_id, *lm.encode("b"), lm.turn_end_id)]
    assert "".join(shown) == "ab"


def test_text_ends_before_a_stop_string(lm: LanguageModel) -> None:
    stream = TextStream(lm.tokenizer, ["\nQ:", "END"])
    shown = ""
    for token in lm.encode("one\ntwo\nQ: three"):
        shown += stream.push(token)
        if stream.stopped:
            break
    assert shown == "one\ntwo"


def test_what_may_become_a_stop_is_held_back_and_nothing_else(lm: LanguageModel) -> None:
    stream = TextStream(lm.tokenizer, ["aab"])
    shown = [stream.push(token) for token in lm.encode("xaaac")]
    assert shown == ["x", "", "", "a", "aac"]
    assert not stream.stopped


def test_what_was_held_back_comes_at_the_end(lm: LanguageModel) -> None:
    stream = TextStream(lm.tokenizer, ["END"])
    assert [stream.push(token) for token in lm.encode("EN")] == ["", ""]
    assert stream.flush() == "EN"
