"""Recordings with what is said in them, to measure on."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from mmpipe.errors import InputError


@dataclass(frozen=True, slots=True)
class Clip:
    """One recording. ``text``: what is said, in its language; ``english``: the same in English. Empty: not known."""

    path: Path
    language: str
    text: str
    english: str


def load_clips(folder: Path, language: str | None = None) -> list[Clip]:
    """The clips that ``clips.tsv`` in ``folder`` lists: columns file, language, text, english.

    Raises:
        InputError: there is no such list, a column is missing, or no clip is in ``language``.
    """
    listing = folder / "clips.tsv"
    try:
        with listing.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
        clips = [Clip(folder / row["file"], row["language"], row["text"], row["english"]) for row in rows]
    except OSError as error:
        raise InputError(
            f"There is no list of clips {str(listing)!r}. Give --data the folder of your own, or tests/data of a "
            "checkout of mmpipe."
        ) from error
    except KeyError as error:
        raise InputError(f"{str(listing)!r} lacks the column {error}.") from error
    found = [clip for clip in clips if language in (None, clip.language)]
    if not found:
        raise InputError(f"{str(listing)!r} lists no clip in {language!r}.")
    return found
