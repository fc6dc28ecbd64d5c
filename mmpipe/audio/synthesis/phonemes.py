"""Text to IPA by espeak-ng, with the clause punctuation kept.

espeak-ng reads a text clause by clause and gives the sounds without the marks between them, but Kokoro and Piper
were trained to hear the marks: a comma is a short rest, a question mark a rising end. So the text is cut at its
marks, each piece is phonemised, and the marks are put back. This is what ``phonemizer`` did when these models were
trained (https://github.com/bootphon/phonemizer, ``Punctuation``), with one difference: a mark inside a word or a
number (``3.5``, ``U.S.``) does not cut.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from mmpipe.audio.synthesis.espeakng import espeak_ng

_MARKS = ';:,.!?¡¿—…"«»“”„()'
# Marks that always cut, and marks that also stand inside words and cut only where a space or an end is beside them.
_CUT = re.compile(rf'\s*(?:[{re.escape("!?¡¿—…«»“”„()")}"]|[;:,.](?!\w)|(?<!\w)[;:,.])+\s*')
_LANGUAGE_SWITCH = re.compile(r"\([a-z]{2,3}(?:-[a-z0-9-]+)?\)")  # "(en)" before a word that espeak reads as English


def phonemes(text: str, voice: str, tie: str = "") -> str:
    """IPA of ``text`` as the espeak-ng voice ``voice`` would say it, with the punctuation of ``text``.

    ``voice``: an espeak-ng voice, such as "en-us", "pt-br", "fr" (not "fr-fr").
    ``tie``: one character that joins the letters of one phoneme, as in ``t^ʃ``; "" for none.

    Raises:
        MissingDependencyError: the extra ``espeak`` is not installed.
        InputError: espeak-ng has no such voice.
    """
    text = unicodedata.normalize("NFC", " ".join(text.split()))
    pieces: list[str] = []
    end = 0
    for mark in _CUT.finditer(text):
        pieces += [_sounds(text[end : mark.start()], voice, tie), mark.group()]
        end = mark.end()
    pieces.append(_sounds(text[end:], voice, tie))
    return "".join(pieces).strip()


@lru_cache(maxsize=4096)
def _sounds(piece: str, voice: str, tie: str) -> str:
    """IPA of a piece without clause marks. Cached: prompts, captions and half-changed live text repeat pieces."""
    if not piece or piece.isspace():
        return ""
    return _LANGUAGE_SWITCH.sub("", espeak_ng().phonemes(piece, voice, tie)).strip()
