from __future__ import annotations

import json
from pathlib import Path

import pytest

from mmpipe.errors import InputError, OutputError
from mmpipe.subtitles import LINE_CHARS, SubtitleWriter, clock, cues, render
from mmpipe.types import Segment, Tier, TranslatedSegment, Translation, Word

LONG = (
    "This is a rather long sentence, which somebody said without ever stopping, and that has to be cut into subtitles "
    "that can be read."
)


def segment(text: str, start_s: float = 0.0, per_word_s: float = 0.35, words: bool = True) -> Segment:
    found = tuple(
        Word(word, start_s + n * per_word_s, start_s + (n + 0.8) * per_word_s, 0.9)
        for n, word in enumerate(text.split())
    )
    end_s = found[-1].end_s if found else start_s
    return Segment(start_s, end_s, text, "en", found if words else ())


def translated(text: str, translation: str) -> TranslatedSegment:
    return TranslatedSegment(segment(text), Translation(text, translation, "en", "pt", ("bergamot",), Tier.GOOD))


def test_clock_carries_over() -> None:
    assert clock(3661.9996, ",") == "01:01:02,000"
    assert clock(-0.5, ".") == "00:00:00.000"


@pytest.mark.parametrize("words", [True, False], ids=["with word times", "without"])
def test_long_speech_becomes_cues_of_two_lines_and_loses_no_word(words: bool) -> None:
    found = cues(segment(LONG, words=words))
    assert len(found) == 2
    assert " ".join(" ".join(cue.text.split()) for cue in found) == LONG
    for cue in found:
        lines = cue.text.split("\n")
        assert len(lines) <= 2
        assert all(len(line) <= LINE_CHARS + 4 for line in lines)
    assert found[0].start_s == 0.0
    assert found[0].end_s <= found[1].start_s


def test_cues_begin_when_their_first_word_is_said() -> None:
    first, second = cues(segment(LONG))
    assert second.text.startswith("stopping,")
    assert second.start_s == pytest.approx(LONG.split().index("stopping,") * 0.35)
    assert first.end_s < second.start_s


def test_text_without_spaces_is_cut_too() -> None:
    text = "これは字幕に分けなければならないとても長い文です。" * 8
    found = cues(Segment(0.0, 20.0, text, "ja"))
    assert len(found) > 1
    assert "".join(cue.text.replace("\n", "") for cue in found) == text


def test_bilingual_cues_hold_both_languages() -> None:
    (cue,) = cues(translated("Good morning.", "Bom dia."), bilingual=True)
    assert cue.text == "Good morning.\nBom dia."


def test_srt_numbers_go_on_over_items() -> None:
    text = render([segment(LONG), segment("And one more.", 20.0)], "srt")
    assert [block.split("\n")[0] for block in text.strip().split("\n\n")] == ["1", "2", "3"]


def test_vtt_escapes_what_would_be_markup() -> None:
    text = render([segment("a < b & c --> d")], "vtt")
    assert text.startswith("WEBVTT\n\n00:00:00.000 --> ")
    assert "a &lt; b &amp; c --&gt; d" in text


def test_json_is_one_document_with_all_that_is_known() -> None:
    document = json.loads(render([translated("Hello.", "Olá."), translated("Bye.", "Tchau.")], "json"))
    assert [item["translation"]["text"] for item in document] == ["Olá.", "Tchau."]
    assert document[0]["source"]["words"][0]["probability"] == 0.9
    assert document[0]["translation"]["tier"] == "good"
    assert json.loads(render([], "json")) == []


def test_what_is_written_before_a_failure_is_a_whole_document(tmp_path: Path) -> None:
    path = tmp_path / "out.json"
    with pytest.raises(RuntimeError), SubtitleWriter(path) as writer:
        writer.write(segment("Kept."))
        raise RuntimeError("stage failed")
    assert [item["text"] for item in json.loads(path.read_text())] == ["Kept."]


def test_each_item_is_on_disk_at_once(tmp_path: Path) -> None:
    path = tmp_path / "out.srt"
    with SubtitleWriter(path) as writer:
        writer.write(segment("First."))
        assert "First." in path.read_text()


def test_empty_text_gives_no_cue() -> None:
    assert render([Segment(0.0, 1.0, "", "en")], "srt") == ""


def test_unknown_formats_and_places_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.srt, \.vtt"):
        SubtitleWriter(tmp_path / "out.doc")
    with pytest.raises(OutputError, match="make it first"):
        SubtitleWriter(tmp_path / "missing" / "out.srt")
