from __future__ import annotations

from mmpipe.pipelines.live.agreement import AgreementOptions, LocalAgreement
from mmpipe.types import Word

#: Any two hypotheses are successive.
EACH = AgreementOptions(apart_s=0.0)


def words(text: str, start_s: float = 0.0, per_word_s: float = 0.5) -> list[Word]:
    return [
        Word(word, start_s + n * per_word_s, start_s + (n + 1) * per_word_s, 0.9) for n, word in enumerate(text.split())
    ]


def said(found: tuple[Word, ...]) -> str:
    return " ".join(word.text for word in found)


def test_a_word_is_final_when_two_hypotheses_agree() -> None:
    agreement = LocalAgreement(EACH)
    first = agreement.update(words("He was not an"), 2.0)
    assert said(first.committed) == ""
    assert said(first.tail) == "He was not an"
    second = agreement.update(words("He was not ill and"), 3.0)
    assert said(second.committed) == "He was not"
    assert said(second.tail) == "ill and"


def test_the_last_word_is_held_back_although_both_agree() -> None:
    agreement = LocalAgreement(EACH)
    agreement.update(words("the con"), 2.0)
    assert said(agreement.update(words("the con"), 2.5).committed) == "the"


def test_a_word_at_the_edge_of_the_sound_may_still_grow() -> None:
    agreement = LocalAgreement(AgreementOptions(hold_back_s=0.8, apart_s=0.0))
    agreement.update(words("one two three four"), 2.0)
    assert said(agreement.update(words("one two three four"), 2.1).committed) == "one two"


def test_case_and_punctuation_do_not_disagree() -> None:
    agreement = LocalAgreement(EACH)
    agreement.update(words("well. then he went"), 2.5)
    assert said(agreement.update(words("Well, then he left"), 3.0).committed) == "Well, then he"


def test_a_hypothesis_that_heard_little_more_confirms_nothing() -> None:
    agreement = LocalAgreement(AgreementOptions(apart_s=1.0))
    agreement.update(words("he was not amiss"), 2.0)
    update = agreement.update(words("he was not a miss"), 2.5)  # shown, and that is all
    assert said(update.committed) == ""
    assert said(update.tail) == said(agreement.tail) == "he was not a miss"
    agrees_with_the_first = agreement.update(words("he was not amiss at all"), 3.0)
    assert said(agrees_with_the_first.committed) == "he was not amiss"


def test_rare_hypotheses_may_be_less_far_apart() -> None:
    agreement = LocalAgreement(AgreementOptions(apart_s=1.5))
    agreement.update(words("he was not amiss"), 2.0)
    assert said(agreement.update(words("he was not amiss"), 3.1).committed) == "he was not"


def test_disagreement_does_not_last_for_ever() -> None:
    agreement = LocalAgreement(AgreementOptions(force_after_s=4.0, apart_s=0.0))
    agreement.update(words("a b c d e f g h i j k l"), 6.0)
    update = agreement.update(words("x b c d e f g h i j k l"), 6.5)
    assert said(update.committed) == "x b c d e"  # what ended before 2.5 s


def test_what_is_final_is_not_said_again_although_its_times_move() -> None:
    agreement = LocalAgreement(EACH)
    agreement.update(words("one two three four five"), 3.0)
    agreement.update(words("one two three four five"), 3.1)
    update = agreement.update(words("two three four five six seven", start_s=0.58), 3.9)
    assert said(update.committed) == "five"
    assert said(update.tail) == "six seven"


def test_a_word_that_is_truly_said_twice_is_kept_twice() -> None:
    agreement = LocalAgreement(EACH)
    agreement.update(words("very very good"), 2.0)
    assert said(agreement.update(words("very very good indeed"), 2.5).committed) == "very very good"
    assert said(agreement.finish(words("good good good", start_s=1.6)).committed) == "good good good"


def test_the_end_of_an_utterance_makes_everything_final() -> None:
    agreement = LocalAgreement(EACH)
    agreement.update(words("He was"), 1.0)
    assert said(agreement.finish(words("He was not.")).committed) == "He was not."
    assert agreement.tail == ()


def test_times_of_final_words_never_go_back() -> None:
    agreement = LocalAgreement(EACH)
    found: list[Word] = []
    for n in range(2, 12):
        found += agreement.update(
            words("a b c d e f g h i j k l".rsplit(" ", 12 - n)[0], start_s=0.03 * (n % 3)), n * 0.5
        ).committed
    starts = [word.start_s for word in found]
    assert starts == sorted(starts)
    assert len(found) > 5
