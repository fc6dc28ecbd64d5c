from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import pytest

from mmpipe.errors import OutputError
from mmpipe.pipelines.journal import Journal
from mmpipe.types import Audio, Segment, Tier, TranslatedSegment, Translation, Word


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "talk.wav"
    path.write_bytes(b"sound")
    return path


def item(n: int, *, spoken: bool = True) -> TranslatedSegment:
    text = f"Sentence {n}."
    samples = np.linspace(-1, 1, 100 * (n + 1), dtype=np.float32)
    return TranslatedSegment(
        Segment(float(n), n + 0.9, text, "en", (Word(text, float(n), n + 0.9, 0.9),), avg_logprob=-0.1),
        Translation(text, f"Frase {n}.", "en", "pt", ("bergamot en>pt",), Tier.GOOD),
        Audio(samples, 24_000) if spoken else None,
    )


def journal(source: Path, *, resume: bool = True, **options: object) -> Journal:
    return Journal(source, dict(options), resume=resume, root=source.parent / "jobs")


def same(a: TranslatedSegment, b: TranslatedSegment) -> bool:
    if (a.source, a.translation) != (b.source, b.translation):
        return False
    if a.speech is None or b.speech is None:
        return a.speech is b.speech
    return a.speech.rate_hz == b.speech.rate_hz and np.allclose(a.speech.samples, b.speech.samples, atol=1e-4)


def test_what_was_finished_comes_back_as_it_was(source: Path) -> None:
    first = journal(source)
    items = [item(0), item(1, spoken=False), item(2)]
    for n, one in enumerate(items):
        first.add(one, resume_s=n + 0.95)
    first.close()
    second = journal(source)
    assert second.resume_s == 2.95
    assert second.language == "en"
    assert all(same(a, b) for a, b in zip(second.replay(), items, strict=True))


def test_sentences_after_the_last_safe_place_are_done_again(source: Path) -> None:
    first = journal(source)
    first.add(item(0), resume_s=0.95)
    first.add(item(1), resume_s=None)
    first.close()
    second = journal(source)
    assert [one.translation.text for one in second.replay()] == ["Frase 0."]
    second.add(item(5), resume_s=5.95)
    second.close()
    third = list(journal(source).replay())
    assert [one.translation.text for one in third] == ["Frase 0.", "Frase 5."]
    assert same(third[1], item(5))  # its sound is its own, not what was cut off


def test_a_line_that_was_being_written_when_the_process_was_killed_is_ignored(source: Path) -> None:
    first = journal(source)
    first.add(item(0), resume_s=0.95)
    first.close()
    with (first.folder / "journal.jsonl").open("a") as file:
        file.write('{"source": {"start_s"')
    second = journal(source)
    assert len(second) == 1
    second.add(item(1), resume_s=1.95)
    second.close()
    assert len(journal(source)) == 2


def test_speech_that_never_reached_the_disk_starts_the_job_over(source: Path) -> None:
    first = journal(source)
    first.add(item(0), resume_s=0.95)
    first.close()
    (first.folder / "speech.pcm").write_bytes(b"")
    second = journal(source)
    assert len(second) == 0
    assert second.resume_s == 0.0


def test_other_options_or_another_recording_are_another_job(source: Path) -> None:
    first = journal(source, to="pt")
    first.add(item(0), resume_s=0.95)
    first.close()
    assert len(journal(source, to="es")) == 0
    source.write_bytes(b"other sound")
    assert len(journal(source, to="pt")) == 0


def test_without_resume_an_old_journal_is_thrown_away(source: Path) -> None:
    first = journal(source)
    first.add(item(0), resume_s=0.95)
    first.close()
    assert len(journal(source, resume=False)) == 0


def test_a_finished_job_leaves_nothing(source: Path) -> None:
    first = journal(source)
    first.add(item(0), resume_s=0.95)
    first.discard()
    assert not first.folder.exists()


def test_no_room_for_the_journal_is_said(source: Path) -> None:
    blocked = source.parent / "jobs"
    blocked.write_text("a file where a folder should be")
    with pytest.raises(OutputError, match="Cannot write"):
        journal(source)


def test_only_its_owner_reads_what_was_said(source: Path) -> None:
    umask = os.umask(0)
    try:
        first = journal(source)
        first.add(item(0), resume_s=0.95)
        first.close()
    finally:
        os.umask(umask)
    assert stat.S_IMODE(first.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in first.folder.iterdir()} == {0o600}
    first.folder.chmod(0o755)  # as it was made before
    journal(source)
    assert stat.S_IMODE(first.folder.stat().st_mode) == 0o700
