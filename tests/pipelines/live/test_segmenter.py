from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mmpipe.audio.vad import FRAME, SileroVad, VadOptions
from mmpipe.pipelines.live.agreement import AgreementOptions
from mmpipe.pipelines.live.segmenter import SegmenterOptions, StreamSegmenter, Window
from mmpipe.types import SPEECH_RATE_HZ, Segment, Word

FRAME_S = FRAME / SPEECH_RATE_HZ
VAD = VadOptions(min_silence_s=0.5, pad_s=0.3, max_speech_s=1e9)


@pytest.fixture
def segmenter(loud: Callable[[float], SileroVad]) -> StreamSegmenter:
    options = SegmenterOptions(VAD, AgreementOptions(apart_s=0.0), first_window_s=0.4, step_s=0.5, ending_s=0.25)
    return StreamSegmenter(loud(0.5), options)


def hear(segmenter: StreamSegmenter, seconds: float, *, speech: bool) -> list[Window]:
    """The windows that come up during so much sound, frame by frame."""
    found = []
    for _ in range(round(seconds / FRAME_S)):
        segmenter.push(np.full(FRAME, 1.0 if speech else 0.0, np.float32))
        while (window := segmenter.next_window()) is not None:
            found.append(window)
            segmenter.understood(window, heard("one two"))
    return found


def heard(text: str) -> Segment:
    words = tuple(Word(word, n * 0.2, n * 0.2 + 0.2, 0.9) for n, word in enumerate(text.split()))
    return Segment(0.0, 1.0, text, "en", words)


def test_the_first_window_comes_soon_and_holds_what_was_before_the_speech(segmenter: StreamSegmenter) -> None:
    hear(segmenter, 1.0, speech=False)
    first, *more = hear(segmenter, 2.0, speech=True)
    assert first.start_s == pytest.approx(1.0 - VAD.pad_s, abs=2 * FRAME_S)
    assert first.end_s == pytest.approx(1.4, abs=2 * FRAME_S)
    assert [b.end_s - a.end_s for a, b in zip([first, *more], more, strict=False)] == pytest.approx(
        [0.5] * len(more), abs=2 * FRAME_S
    )


def test_an_utterance_ends_with_a_window_of_all_of_it(segmenter: StreamSegmenter) -> None:
    hear(segmenter, 1.0, speech=False)
    hear(segmenter, 2.0, speech=True)
    windows = hear(segmenter, 1.0, speech=False)
    assert [window.last for window in windows] == [True]
    assert windows[0].end_s == pytest.approx(3.0 + VAD.pad_s, abs=2 * FRAME_S)
    assert not segmenter.ready


def test_while_the_speech_is_probably_over_no_window_is_made_that_the_last_one_repeats(
    segmenter: StreamSegmenter,
) -> None:
    hear(segmenter, 1.0, speech=False)
    assert len(hear(segmenter, 1.1, speech=True)) == 2  # after 0.4 and 0.9 s; the next would be due after 1.4 s
    assert hear(segmenter, 0.45, speech=False) == []
    assert [window.last for window in hear(segmenter, 0.2, speech=False)] == [True]


def test_a_breath_within_a_sentence_only_delays_a_window(segmenter: StreamSegmenter) -> None:
    hear(segmenter, 1.0, speech=False)
    hear(segmenter, 1.0, speech=True)
    hear(segmenter, 0.4, speech=False)
    going_on = hear(segmenter, 0.2, speech=True)
    assert going_on
    assert not going_on[0].last
    assert going_on[0].start_s < 1.0


def test_a_click_is_no_utterance_and_what_was_shown_for_it_goes(segmenter: StreamSegmenter) -> None:
    hear(segmenter, 1.0, speech=False)
    segmenter.push(np.ones(2 * FRAME, np.float32))
    assert segmenter.speaking
    windows = hear(segmenter, 30.0, speech=False)
    assert windows == []
    assert segmenter.tail == ()
    hear(segmenter, 2.0, speech=True)
    (last,) = [window for window in hear(segmenter, 1.0, speech=False) if window.last]
    assert last.start_s == pytest.approx(31.0 + 2 * FRAME_S - VAD.pad_s, abs=3 * FRAME_S)


def test_what_is_understood_of_a_click_too_late_is_ignored(loud: Callable[[float], SileroVad]) -> None:
    segmenter = StreamSegmenter(
        loud(0.5), SegmenterOptions(VAD, AgreementOptions(apart_s=0.0), first_window_s=0.05, step_s=0.05)
    )
    hear(segmenter, 1.0, speech=False)
    segmenter.push(np.ones(4 * FRAME, np.float32))
    window = segmenter.next_window()
    assert window is not None
    segmenter.push(np.zeros(SPEECH_RATE_HZ, np.float32))
    update = segmenter.understood(window, heard("thank you"))
    assert (update.committed, update.tail, segmenter.tail) == ((), (), ())


def test_a_window_that_is_not_understood_leaves_what_is_shown(segmenter: StreamSegmenter) -> None:
    hear(segmenter, 1.0, speech=False)
    hear(segmenter, 0.6, speech=True)
    assert [word.text for word in segmenter.tail] == ["one", "two"]
    segmenter.push(np.ones(SPEECH_RATE_HZ, np.float32))
    window = segmenter.next_window()
    assert window is not None
    update = segmenter.understood(window, Segment(0.0, 1.0, "", "en"))
    assert [word.text for word in update.tail] == ["one", "two"]


def test_sound_that_no_window_will_need_is_let_go(segmenter: StreamSegmenter) -> None:
    hear(segmenter, 60.0, speech=False)
    assert len(segmenter._held) < SPEECH_RATE_HZ * 2
    assert segmenter.received_s == pytest.approx(60.0, abs=FRAME_S)


def test_speech_that_is_too_long_for_a_window_is_heard_whole_in_several(segmenter: StreamSegmenter) -> None:
    """Seventy seconds without a pause come at once, as after a connection was lost."""
    words = np.ones((200, round(0.35 * SPEECH_RATE_HZ)), np.float32)
    words[:, -round(0.06 * SPEECH_RATE_HZ) :] = 0.0  # a gap between two words
    sound = words.reshape(-1)
    segmenter.push(sound)
    segmenter.finish()
    windows = []
    while (window := segmenter.next_window()) is not None:
        windows.append(window)
        segmenter.understood(window, heard("one two"))
    assert [(window.cut, window.last) for window in windows] == [(True, False), (True, False), (False, True)]
    assert all(window.audio.duration_s <= 25 for window in windows)
    assert np.array_equal(np.concatenate([window.audio.samples for window in windows]), sound)
    assert [window.start_s for window in windows[1:]] == pytest.approx([window.end_s for window in windows[:-1]])
    for window in windows[1:]:
        assert not window.audio.samples[0]  # no word is cut in two


def test_an_open_utterance_that_is_too_long_is_cut_and_goes_on(segmenter: StreamSegmenter) -> None:
    segmenter.push(np.ones(30 * SPEECH_RATE_HZ, np.float32))
    first = segmenter.next_window()
    assert first is not None
    assert (first.cut, first.last) == (True, False)
    update = segmenter.understood(first, heard("one two"))
    assert [word.text for word in update.committed] == ["one", "two"]
    following = segmenter.next_window()
    assert following is not None
    assert (following.cut, following.last) == (False, False)
    assert following.start_s == pytest.approx(first.end_s)
    assert following.end_s == pytest.approx(30.0)


def test_what_is_taken_for_speech_and_never_understood_is_not_held_for_ever(segmenter: StreamSegmenter) -> None:
    most = 0
    for _ in range(1_000):
        segmenter.push(np.ones(SPEECH_RATE_HZ // 10, np.float32))
        while (window := segmenter.next_window()) is not None:
            segmenter.understood(window, Segment(0.0, window.audio.duration_s, "", "en"))
        most = max(most, len(segmenter._held))
    assert most <= 26 * SPEECH_RATE_HZ


def test_while_words_become_final_a_long_utterance_is_never_cut(segmenter: StreamSegmenter) -> None:
    def read(window: Window) -> Segment:
        """A word every half a second, whose times say which it is."""
        first, last = int(window.start_s * 2) + 1, int(window.end_s * 2)
        words = tuple(
            Word(f"w{n}", n / 2 - window.start_s, n / 2 + 0.4 - window.start_s, 0.9) for n in range(first, last)
        )
        return Segment(0.0, window.audio.duration_s, "...", "en", words)

    committed = []
    for _ in range(600):
        segmenter.push(np.ones(SPEECH_RATE_HZ // 10, np.float32))
        while (window := segmenter.next_window()) is not None:
            assert not (window.cut or window.last)
            assert window.audio.duration_s < 10
            committed += segmenter.understood(window, read(window)).committed
    assert [word.text for word in committed] == [f"w{n}" for n in range(1, len(committed) + 1)]
    assert len(committed) > 100


def test_a_window_keeps_its_sound_while_more_comes(segmenter: StreamSegmenter) -> None:
    hear(segmenter, 1.0, speech=False)
    segmenter.push(np.full(FRAME * 40, 0.75, np.float32))
    window = segmenter.next_window()
    assert window is not None
    before = window.audio.samples.copy()
    for _ in range(100):
        segmenter.push(np.full(FRAME * 7, 0.6, np.float32))
    hear(segmenter, 5.0, speech=False)
    np.testing.assert_array_equal(window.audio.samples, before)


def test_what_comes_in_pieces_of_any_size_is_heard_as_one(loud: Callable[[float], SileroVad]) -> None:
    sound = np.random.default_rng(0).uniform(-1, 1, 10 * 16_000).astype(np.float32)
    cut = StreamSegmenter(loud(0.0), SegmenterOptions(VAD, first_window_s=0.1, step_s=0.1))
    at, size = 0, 1
    while at < len(sound):
        cut.push(sound[at : at + size])
        at, size = at + size, size * 7 % 5_003 + 1
    window = cut.next_window()
    assert window is not None
    start = round(window.start_s * 16_000)
    np.testing.assert_array_equal(window.audio.samples, sound[start : start + len(window.audio.samples)])
    assert len(window.audio.samples) > 5 * 16_000


def test_room_is_given_back_after_much_came_at_once(segmenter: StreamSegmenter) -> None:
    segmenter.push(np.zeros(600 * 16_000, np.float32))
    for _ in range(40):
        hear(segmenter, 1.0, speech=False)
    assert segmenter._room.nbytes < 2e6
    received_s = segmenter.received_s
    segmenter.clear()
    assert segmenter._room.nbytes == 0
    assert segmenter.received_s == received_s
