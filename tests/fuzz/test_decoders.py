"""A part of a minute of mutated pictures and recordings. `make fuzz` does hours of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from fuzzing import campaign, decoding, seeds_media
from fuzzing.outcome import Tally

from mmpipe.audio import media
from mmpipe.vision import images

#: Whether decoders run in the worker itself, or in limited children of it, as the servers have it.
IN_PROCESS = False
MEMORY_MB = 1_500.0 if IN_PROCESS else 300.0


def found(tally: Tally) -> str:
    """What went wrong, for whoever reads the failure of a test."""
    return "\n".join(
        f"{count} times {kind}: {what} (case {tally.first[kind, what][0]}: {tally.first[kind, what][1].detail})"
        for (kind, what), count in tally.found.items()
    )


@pytest.mark.parametrize(("kind", "count"), [("pictures", 1_500), ("media", 300)])
def test_whatever_a_file_holds_it_is_decoded_or_refused(kind: str, count: int) -> None:
    tally = campaign.run(campaign.Plan(kind, count, in_process=IN_PROCESS, memory_mb=MEMORY_MB))
    assert not tally.failed, found(tally)
    assert tally.counts["cases"] == count
    assert tally.counts["decoded"] > count / 8  # the mutations are not too coarse
    assert tally.counts["refused"] > count / 8  # nor too fine


@pytest.mark.parametrize("kind", decoding.KINDS)
def test_a_case_is_the_same_whenever_it_is_made(kind: str, tmp_path: Path) -> None:
    once, again = (decoding.build_seeds(kind, tmp_path) for _ in range(2))
    assert once == again
    for n in range(0, 300, 7):
        assert decoding.content_of(kind, 1, n, once) == decoding.content_of(kind, 1, n, again)
    assert decoding.content_of(kind, 1, 200, once) != decoding.content_of(kind, 2, 200, once)


@pytest.mark.parametrize("kind", decoding.KINDS)
def test_what_is_mutated_can_be_read_while_it_is_whole(kind: str, tmp_path: Path) -> None:
    """Else all of its mutations would be refused, and say nothing."""
    for name, content in decoding.build_seeds(kind, tmp_path).items():
        if name in seeds_media.POINTERS or name.startswith(decoding.SEEN):
            continue
        path = tmp_path / name
        path.write_bytes(content)
        if kind == "pictures":
            assert min(images.load(path).pixels.shape[:2]) >= 6
        else:
            assert 0.9 < media.load(path).duration_s < 1.2


def test_a_campaign_notices_what_ends_a_worker() -> None:
    tally = campaign.run(campaign.Plan("broken", 12, hang_s=0.2))
    assert tally.counts["cases"] == 12
    assert tally.counts["decoded"] == 2
    kinds = {kind: tally.of(kind) for kind in ("crash", "hang", "foreign exception", "memory")}
    assert kinds == {"crash": 4, "hang": 2, "foreign exception": 2, "memory": 2}
    assert tally.peak_mb == 9.0
