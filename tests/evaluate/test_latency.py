"""Every expected number is worked out by hand beside it."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mmpipe.audio.recognition.whisper import Whisper
from mmpipe.errors import InputError
from mmpipe.evaluate.clips import Clip
from mmpipe.evaluate.latency import (
    Spread,
    TimedSentence,
    align_tokens,
    average_lagging,
    erasure,
    length_adaptive_average_lagging,
    normalized_erasure,
    resegment,
    stream_laal,
    tokens,
)
from mmpipe.evaluate.reference import Reference, join_clips
from mmpipe.evaluate.replay_log import LiveReport, measure, read_log
from mmpipe.pipelines.live.events import (
    CommittedEvent,
    EndedEvent,
    Event,
    PartialEvent,
    SpokenEvent,
    StatsEvent,
    TranslatedEvent,
    WarningEvent,
)
from mmpipe.types import Audio, Segment, Word

# --- the definitions --------------------------------------------------------------------------------------------------


def test_average_lagging_counts_up_to_the_first_word_after_the_source_has_ended() -> None:
    # X = 4 s, R = 4: an ideal word each second, at 0 1 2 3. Lags: 1-0, 2-1, 4-2; the fourth is not counted: tau = 3.
    assert average_lagging([1, 2, 4, 4], 4.0, 4) == pytest.approx((1 + 1 + 2) / 3)


def test_average_lagging_takes_all_words_when_none_comes_after_the_end() -> None:
    # Ideal at 0 2: lags 1-0, 3-2.
    assert average_lagging([1, 3], 4.0, 2) == pytest.approx(1.0)


def test_output_that_begins_after_the_source_lags_by_its_first_delay() -> None:
    assert average_lagging([5, 9], 4.0, 2) == 5
    assert length_adaptive_average_lagging([5, 9], 4.0, 2) == 5


def test_output_longer_than_its_reference_is_rewarded_by_al_and_not_by_laal() -> None:
    delays_s = [1, 1, 2, 2, 3, 3]
    # AL: ideal words at 0 2 4 6 8 10 (4 s / 2): lags 1 -1 -2 -4 -5 -7, mean -3.
    assert average_lagging(delays_s, 4.0, 2) == pytest.approx(-3.0)
    # LAAL: six words of output, ideal at 0 2/3 4/3 2 8/3 10/3, which sum to 10; delays sum to 12: 2 / 6.
    assert length_adaptive_average_lagging(delays_s, 4.0, 2) == pytest.approx(1 / 3)


def test_output_shorter_than_its_reference_gives_laal_equal_to_al() -> None:
    assert length_adaptive_average_lagging([1, 3], 4.0, 4) == average_lagging([1, 3], 4.0, 4)


def test_stream_laal_counts_delays_from_the_start_of_each_sentence_and_leaves_out_empty_ones() -> None:
    sentences = [
        TimedSentence(0.0, 2.0, ("a", "b")),
        TimedSentence(3.0, 4.0, ("c",)),
        TimedSentence(10.0, 14.0, ("d", "e")),
    ]
    # First: 1 and 2 s, ideal 0 and 1: lags 1 1. Third: 1 and 3.5 s after its start, ideal 0 and 2: lags 1 1.5.
    parts = [slice(0, 2), slice(2, 2), slice(2, 4)]
    assert stream_laal([1, 2, 11, 13.5], parts, sentences) == pytest.approx((1 + (1 + 1.5) / 2) / 2)
    assert stream_laal([], [slice(0, 0)] * 3, sentences) is None


def test_output_is_cut_where_it_differs_least_from_the_reference_sentences() -> None:
    references = [["Good", "morning."], ["How", "are", "you?"], ["Fine."]]
    output = ["good", "morning", "to", "all", "how", "you", "fine"]
    assert [output[part] for part in resegment(output, references)] == [
        ["good", "morning", "to", "all"],  # what resembles neither neighbour goes with the first
        ["how", "you"],
        ["fine"],
    ]


def test_a_sentence_without_output_gets_an_empty_part() -> None:
    assert resegment(["one", "three"], [["one"], ["two", "two"], ["three"]]) == [slice(0, 1), slice(1, 1), slice(1, 2)]
    assert resegment([], [["one"], ["two"]]) == [slice(0, 0), slice(0, 0)]
    assert resegment(["one"], []) == []


def test_alignment_of_nothing_is_no_error() -> None:
    assert align_tokens([], []) == []
    assert [chunk.kind for chunk in align_tokens(["a"], [])] == ["delete"]


def test_characters_are_counted_where_no_spaces_are_written() -> None:
    assert tokens("今天 好。", "zh") == ["今", "天", "好", "。"]
    assert tokens(" well  done. ", "en") == ["well", "done."]


def test_erasure_is_what_must_go_before_the_new_text_can_be_written() -> None:
    assert erasure(["a", "b", "c"], ["a", "b", "c", "d"]) == 0
    assert erasure(["a", "b", "c"], ["a", "x", "c", "d"]) == 2


def test_normalized_erasure_sums_erasures_over_the_final_length() -> None:
    # a > a b: 0; a b > a c d: 1; a c d > a c d e: 0. One token gone, four stay.
    assert normalized_erasure([["a"], ["a", "b"], ["a", "c", "d"], ["a", "c", "d", "e"]]) == pytest.approx(1 / 4)
    assert normalized_erasure([["a"], []]) is None


def test_spread_gives_percentiles() -> None:
    spread = Spread.of([1.0, 2.0, 3.0, 4.0, 10.0])
    # p95: place 0.95 * 4 = 3.8, between 4 and 10: 4 + 0.8 * 6.
    assert spread == Spread(5, 1.0, 4.0, 3.0, pytest.approx(8.8), 10.0)
    assert Spread.of([]) is None


# --- a log ------------------------------------------------------------------------------------------------------------


def words(text: str, start_s: float, each_s: float = 0.5) -> tuple[Word, ...]:
    return tuple(
        Word(word, start_s + n * each_s, start_s + (n + 1) * each_s, 0.9) for n, word in enumerate(text.split())
    )


def sentence(text: str, start_s: float) -> Segment:
    timed = words(text, start_s)
    return Segment(start_s, timed[-1].end_s, text, "en", timed)


def reference(*said: Segment, translations: tuple[str, ...] = ()) -> Reference:
    return Reference(said, 20.0, translations)


def near(*delays_s: float) -> Any:
    """What a spread over ``delays_s`` must equal, as a tuple, but for rounding."""
    spread = Spread.of(delays_s)
    assert spread
    return pytest.approx(astuple(spread))


class Log:
    """Writes events as a session does."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []

    def add(self, kind: type[Event], emitted_s: float, *, heard_until_s: float | None = None, **values: Any) -> None:
        rests_on_sound = kind in (PartialEvent, CommittedEvent, TranslatedEvent)
        if rests_on_sound:
            values["heard_until_s"] = heard_until_s or 0.0
        record = kind(seq=len(self.records) + 1, emitted_s=emitted_s, **values).as_dict()
        if rests_on_sound and heard_until_s is None:
            del record["heard_until_s"]  # as in the log of another program
        self.records.append(json.loads(json.dumps(record)))

    def partial(self, emitted_s: float, text: str, start_s: float) -> None:
        self.add(PartialEvent, emitted_s, start_s=start_s, end_s=start_s + 0.5, text=text, language="en")

    def committed(self, emitted_s: float, text: str, start_s: float, **more: float) -> None:
        said = words(text, start_s)
        span = {"start_s": start_s, "end_s": said[-1].end_s}
        self.add(CommittedEvent, emitted_s, text=text, language="en", words=said, **span, **more)

    def translated(
        self, emitted_s: float, text: str, of: tuple[float, float], *, final: bool = True, **more: float
    ) -> None:
        self.add(
            TranslatedEvent,
            emitted_s,
            start_s=of[0],
            end_s=of[1],
            text=text,
            source_text="",
            language="pt",
            final=final,
            **more,
        )

    def spoken(self, emitted_s: float, of: tuple[float, float], duration_s: float) -> None:
        audio = Audio(np.zeros(round(duration_s * 8000), np.float32), 8000)
        self.add(SpokenEvent, emitted_s, start_s=of[0], end_s=of[1], text="", audio=audio)

    def measured(self, against: Reference) -> LiveReport:
        return measure(self.records, against)


def test_commit_delay_counts_from_the_end_of_each_word_recognized_right() -> None:
    log = Log()
    log.committed(2.0, "Good mourning,", 0.1)  # a misheard word: no delay of its own
    log.committed(3.5, "Mr. Dashwood!", 1.0)
    report = log.measured(reference(sentence("good morning mister dashwood", 0.0)))
    # The words end at 0.5 1 1.5 2: delays 2 - 0.5, 3.5 - 1.5, 3.5 - 2.
    assert report.commit
    assert astuple(report.commit) == near(1.5, 2.0, 1.5)
    assert (report.words.right, report.words.wrong, report.words.missing, report.words.added) == (3, 1, 0, 0)
    assert report.wer == pytest.approx(1 / 4)


def test_a_word_that_one_side_writes_as_two_is_found() -> None:
    log = Log()
    log.committed(2.0, "an ill-disposed man", 0.0)
    report = log.measured(reference(sentence("an ill disposed man", 0.0)))
    assert report.words.right == report.words.reference == 4


def test_text_committed_twice_is_counted() -> None:
    log = Log()
    log.committed(3.0, "one two three one two three four", 0.0)
    report = log.measured(reference(sentence("one two three four", 0.0)))
    assert (report.words.right, report.words.repeated, report.words.added) == (4, 3, 3)


def test_text_committed_twice_is_counted_also_when_the_second_time_is_taken_for_the_right_one() -> None:
    log = Log()
    log.committed(3.0, "won too three four five three four five six", 0.0)
    report = log.measured(reference(sentence("one two three four five six", 0.0)))
    assert (report.words.wrong, report.words.repeated, report.words.added) == (2, 3, 3)


def test_sentences_of_which_most_is_missing_are_counted() -> None:
    log = Log()
    log.committed(3.0, "one two three", 0.0)
    log.committed(9.0, "eight nine", 8.0)
    report = log.measured(
        reference(sentence("one two three four", 0.0), sentence("five six seven", 5.0), sentence("eight nine", 8.0))
    )
    assert (report.words.right, report.words.missing, report.words.missing_sentences) == (5, 4, 1)


def test_added_words_that_say_nothing_again_are_no_repetition() -> None:
    log = Log()
    log.committed(3.0, "one two and so three", 0.0)
    report = log.measured(reference(sentence("one two three", 0.0)))
    assert (report.words.repeated, report.words.added) == (0, 2)


def test_a_repetition_at_either_end_is_no_error() -> None:
    log = Log()
    log.committed(3.0, "go go", 0.0)
    assert log.measured(reference(sentence("go", 0.0))).words.repeated == 1
    assert log.measured(reference()).words.repeated == 0  # all of it added: nothing stands beside it


def test_first_caption_counts_from_the_start_of_each_utterance() -> None:
    log = Log()
    log.partial(0.5, "noise", 0.2)  # before the utterance has begun
    log.partial(1.8, "", 1.0)  # nothing to be seen
    log.partial(2.0, "good", 1.1)
    log.committed(2.4, "good", 1.1)
    log.committed(6.2, "morning", 2.1)  # still the first utterance, late
    log.committed(6.3, "you", 3.4)  # and this one, recognized a little later than it was said
    log.partial(7.0, "how", 5.9)
    report = log.measured(
        reference(
            sentence("good morning", 1.0),
            sentence("to you", 2.3),  # after 0.3 s: no utterance of its own
            sentence("how are you", 6.0),
            sentence("never captioned", 10.0),
        )
    )
    assert report.first_caption
    assert astuple(report.first_caption) == near(1.0, 1.0)
    assert report.uncaptioned == 1


def test_translation_and_voice_count_from_the_commit_of_the_last_word_of_their_sentence() -> None:
    log = Log()
    log.committed(2.0, "One two.", 0.0)  # until 1.0
    log.committed(3.0, "Three.", 1.0)  # until 1.5
    log.committed(4.0, "Four. Five", 1.5)  # until 2.5; "Four." until 2.0
    log.translated(2.5, "Um dois.", (0.0, 1.0), final=False)  # a draft does not count
    log.translated(3.2, "Um dois. Três.", (0.0, 1.5))
    log.translated(4.1, "Quatro.", (1.5, 2.0))
    log.spoken(3.5, (0.0, 1.5), 2.0)
    log.spoken(3.6, (0.0, 1.5), 1.0)
    log.spoken(4.5, (1.5, 2.0), 1.0)
    report = log.measured(reference(sentence("one two three four five", 0.0)))
    assert report.translated
    assert report.voice_sent
    assert report.voice_heard
    assert astuple(report.translated) == near(0.2, 0.1)
    assert astuple(report.voice_sent) == near(0.5, 0.5)
    # A player is busy from 3.5 to 6.5 with the first sentence: the second begins then, 2.5 s after its commit.
    assert astuple(report.voice_heard) == near(0.5, 2.5)
    assert report.integrity.uncommitted_translations == 0


def test_flicker_compares_what_is_shown_with_what_takes_its_place() -> None:
    log = Log()
    log.partial(1.0, "good", 0.0)
    log.partial(1.5, "good warning", 0.0)
    log.committed(2.0, "Good", 0.0)  # "good warning" gives way to "Good morning how": 2 erased
    log.partial(2.0, "morning how", 0.5)
    log.committed(2.5, "morning", 0.5)
    log.partial(2.5, "how are", 1.0)  # grew: 0
    log.committed(3.0, "how are you", 1.0)  # grew: 0
    report = log.measured(reference(sentence("good morning how are you", 0.0)))
    assert report.caption_erasure == pytest.approx(2 / 5)


def test_a_caption_that_was_shown_last_and_never_committed_has_flickered() -> None:
    log = Log()
    log.committed(1.0, "good", 0.0)
    log.partial(1.5, "warning", 0.5)
    log.committed(2.0, "morning", 0.5)
    assert log.measured(reference(sentence("good morning", 0.0))).caption_erasure == pytest.approx(1 / 2)


def test_drafts_of_translations_flicker_until_the_final_one() -> None:
    log = Log()
    log.committed(2.0, "One two.", 0.0)
    log.translated(1.0, "uma", (0.0, 0.5), final=False)
    log.translated(1.5, "um dois", (0.0, 1.0), final=False)  # 1 erased
    log.translated(2.1, "um dois.", (0.0, 1.0))  # 1 erased
    log.translated(3.0, "três", (1.0, 1.5), final=False)  # a new sentence: 0
    log.translated(3.1, "três quatro", (1.0, 2.0))
    assert log.measured(reference(sentence("one two", 0.0))).translation_erasure == pytest.approx(2 / 4)


def test_lagging_of_the_translation_on_both_clocks() -> None:
    log = Log()
    log.committed(2.0, "Good morning.", 0.0, heard_until_s=1.5)
    log.translated(2.5, "Bom dia.", (0.0, 1.0), heard_until_s=1.5)
    log.translated(8.0, "Como vai você?", (5.0, 6.5), heard_until_s=7.0)
    report = log.measured(
        reference(
            sentence("good morning", 0.0), sentence("how are you", 5.0), translations=("Bom dia.", "Como está você?")
        )
    )
    lagging = report.translation
    assert lagging is not None
    # First sentence, 1 s: all of it came after its end: LAAL is the first delay, 1.5 s heard and 2.5 s by the clock.
    # Second, from 5 s to 6.5 s: the same, 2 and 3 s.
    assert lagging.stream_laal_s == pytest.approx((1.5 + 2) / 2)
    assert lagging.stream_laal_ca_s == pytest.approx((2.5 + 3) / 2)
    # The whole: 20 s, five words, an ideal word each 4 s: 0 4 8 12 16, which sum to 40.
    assert lagging.al_s == lagging.laal_s == pytest.approx((2 * 1.5 + 3 * 7 - 40) / 5)
    assert lagging.al_ca_s == lagging.laal_ca_s == pytest.approx((2 * 2.5 + 3 * 8 - 40) / 5)
    assert (lagging.sentences, lagging.empty_sentences) == (2, 0)
    assert report.transcript is not None
    assert report.transcript.empty_sentences == 1
    assert report.chrf is not None
    assert 50 < report.chrf < 100


def test_without_the_sound_heard_the_audio_clock_is_not_guessed() -> None:
    log = Log()
    log.committed(2.0, "Good morning.", 0.0)
    lagging = log.measured(reference(sentence("good morning", 0.0))).transcript
    assert lagging is not None
    assert (lagging.al_s, lagging.laal_s, lagging.stream_laal_s) == (None, None, None)
    assert lagging.stream_laal_ca_s == pytest.approx(2.0)


def test_events_that_come_again_after_a_reconnection_count_once() -> None:
    log = Log()
    log.committed(2.0, "one", 0.0)
    log.committed(3.0, "two", 0.5)
    log.records += [dict(log.records[1])]
    report = log.measured(reference(sentence("one two", 0.0)))
    assert (report.integrity.repeated_events, report.integrity.changed) == (1, 0)
    assert (report.words.committed, report.words.repeated) == (2, 0)


def test_a_broken_promise_is_counted() -> None:
    log = Log()
    log.committed(2.0, "one two", 0.0)
    log.committed(3.0, "three", 0.5)  # begins before "two" ends
    log.translated(3.5, "um", (0.0, 1.0))
    log.translated(3.6, "uma", (0.0, 1.0))  # the same sentence again, another text
    log.translated(3.7, "nove", (8.0, 9.0))  # of what nobody committed
    log.partial(3.8, "x", 1.5)
    log.partial(3.9, "y", 1.5)
    log.records += [{**log.records[0], "text": "won two"}]  # sent again, changed
    del log.records[5]
    integrity = log.measured(reference(sentence("one two three", 0.0))).integrity
    assert (integrity.changed, integrity.backwards, integrity.missing_events) == (2, 1, 1)
    assert integrity.uncommitted_translations == 1


def test_a_session_over_silence_commits_nothing() -> None:
    log = Log()
    log.add(
        StatsEvent,
        5.0,
        heard_s=5.0,
        lag_s=0.25,
        real_time_factor=0.1,
        to_translate=0,
        to_speak=0,
        dropped_partials=3,
        dropped_speech=1,
        start_s=0.0,
        end_s=4.0,
        voice_behind_s=0.0,
        unheard_s=0.0,
    )
    log.add(WarningEvent, 6.0, text="", start_s=6.0, end_s=6.0)
    log.add(EndedEvent, 20.0, reason="finished", start_s=20.0, end_s=20.0)
    report = log.measured(reference())
    assert report.words.committed == 0
    assert (report.commit, report.transcript, report.wer, report.caption_erasure) == (None, None, None, None)
    assert (report.real_time_factor, report.dropped_partials, report.dropped_speech) == (0.1, 3, 1)
    assert report.lag == Spread.of([0.25])
    assert (report.warnings, report.ended) == (1, "finished")


# --- files and references ---------------------------------------------------------------------------------------------


def test_a_log_is_read_line_by_line(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"type": "ended", "seq": 1, "emitted_s": 2.5, "reason": "finished"}\n\n', encoding="utf-8")
    with path.open(encoding="utf-8") as file:
        assert [record["type"] for record in read_log(file)] == ["ended"]


@pytest.mark.parametrize("line", ['{"type": "par', "[1]", '{"emitted_s": 1}', '{"type": "a", "emitted_s": "soon"}'])
def test_a_line_that_is_no_event_is_named(line: str) -> None:
    with pytest.raises(InputError, match="Line 2"):
        read_log(['{"type": "ended", "emitted_s": 1}', line])


def test_an_event_without_a_needed_field_is_refused() -> None:
    with pytest.raises(InputError, match="'text'"):
        measure([{"type": "partial", "seq": 1, "emitted_s": 1.0}], reference())


def test_a_reference_must_be_complete() -> None:
    with pytest.raises(InputError, match="one for each"):
        reference(sentence("one", 0.0), translations=("um", "dois"))
    with pytest.raises(InputError, match="word times"):
        reference(Segment(0.0, 1.0, "one", "en"))


def test_joined_clips_say_when_each_word_is_said(librivox: list[Clip], whisper: Whisper) -> None:
    clip = librivox[1]
    audio, found = join_clips([clip, clip], (0.5, 2.0), whisper)
    length_s = (audio.duration_s - 2.5) / 2
    assert found.duration_s == audio.duration_s
    first, second = found.segments
    assert first.text == second.text == clip.text == " ".join(word.text for word in first.words)
    assert 0.5 <= first.start_s < first.end_s <= 0.5 + length_s
    assert second.start_s - first.start_s == pytest.approx(length_s + 2.0)
    assert not audio.slice(0.5 + length_s, 2.5 + length_s).samples.any()


def test_a_clip_without_text_is_named(whisper: Whisper) -> None:
    with pytest.raises(InputError, match="silent"):
        join_clips([Clip(Path("silent.wav"), "en", " ", "")], recognizer=whisper)
