"""Forced alignment: when each word of a known text is said in a recording of any length."""

from __future__ import annotations

import unicodedata
from difflib import SequenceMatcher
from itertools import chain, pairwise

from mmpipe.audio import media
from mmpipe.audio.containers import describe
from mmpipe.audio.recognition.whisper import Whisper
from mmpipe.audio.vad import SileroVad, SpeechChunk, speech_chunks
from mmpipe.errors import InputError
from mmpipe.types import RecognitionOptions, Segment, SpeechWindow, Word


def align(source: media.Source, text: str, language: str, recognizer: Whisper | None = None) -> list[Segment]:
    """Give each word of ``text`` its time in ``source``.

    The recording is recognized first, only to find out which part of the text belongs to which stretch of speech
    (longest matching word runs, Ratcliff and Obershelp 1988); then each part is aligned to its stretch by the model's
    cross-attention. One segment for each stretch; every word of the text is in exactly one.

    Raises:
        MediaError: the recording cannot be read, or has no sound.
        InputError: the text is empty, or nothing is said in the recording.
        LanguageError: the recognizer does not know the language.
    """
    words = text.split()
    if not words:
        raise InputError("The text to align is empty.")
    whisper = recognizer or Whisper()
    options = RecognitionOptions(language=language)
    chunks = list(speech_chunks(media.stream(source), SileroVad()))
    if not chunks:
        raise InputError(f"Nothing is said in {describe(source)!r}: there is nothing to align the text to.")
    windows = [SpeechWindow(chunk.audio, options) for chunk in chunks]
    heard = [segment.text.split() for segment in _in_batches(whisper, windows)]
    parts = [" ".join(part) for part in distribute(words, heard)]
    found: list[Segment] = []
    for at in range(0, len(windows), whisper.max_items):
        batch = slice(at, at + whisper.max_items)
        for chunk, part, times in zip(
            chunks[batch], parts[batch], whisper.align(windows[batch], parts[batch]), strict=True
        ):
            if part:
                found.append(_segment(chunk, part, language, times))
    return found


def _in_batches(whisper: Whisper, windows: list[SpeechWindow]) -> list[Segment]:
    step = whisper.max_items
    return list(chain.from_iterable(whisper.run(windows[at : at + step]) for at in range(0, len(windows), step)))


def _segment(chunk: SpeechChunk, text: str, language: str, words: tuple[Word, ...]) -> Segment:
    segment = Segment(words[0].start_s, words[-1].end_s, text, language, words)
    return segment.shifted(chunk.start_s)


def distribute(words: list[str], heard: list[list[str]]) -> list[list[str]]:
    """Cut ``words``, a text, into as many runs as ``heard`` has, each the part that was heard as such.

    What was not heard goes with what comes before it.
    """
    flat = [_key(word) for run in heard for word in run]
    owner = [n for n, run in enumerate(heard) for _ in run]
    owners: list[int | None] = [None] * len(words)
    for block in SequenceMatcher(None, [_key(word) for word in words], flat).get_matching_blocks():
        for offset in range(block.size):
            owners[block.a + offset] = owner[block.b + offset]
    cuts = [0]
    for n in range(1, len(heard)):
        first = next((i for i, o in enumerate(owners) if o is not None and o >= n), len(words))
        cuts.append(max(cuts[-1], first))
    return [words[a:b] for a, b in pairwise([*cuts, len(words)])]


def _key(word: str) -> str:
    """What of a word is heard: letters and digits, without case or accents."""
    decomposed = unicodedata.normalize("NFKD", word.casefold())
    return "".join(c for c in decomposed if c.isalnum())
