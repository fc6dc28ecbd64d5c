"""Which language a question is in: by its little words, as questions are too short for anything else.

lingua, which tells the language of texts, holds "É um animal?" for Catalan and "Is there a chihuahua in the picture?"
for Spanish.
"""

from __future__ import annotations

import re

from mmpipe.errors import LanguageError
from mmpipe.translate import detect_language

#: The language of the language model.
ENGLISH = "en"

#: What questions about pictures are made of, in the languages they are most likely asked in.
_STOPWORDS = {
    "en": "a an and any are can do does has have how in is it me of on or see shown tell that the there these this "
        "to was what when where which who whose why you",
    "ca": "és això aquest aquesta aquests amb com de del el els en hi ha la les o on per què quant quants quin "
        "quina qui són un una veus veieu aquí",
    "de": "das dem den der die dies diese dieser du ein eine einen er es gibt hat ist im in kann man sie siehst "
        "sind und was welche welcher welches wer wie wo",
    "es": "el ella en es esta está este esto hay la las los de del un una unos qué que cuál cuántos cuántas cómo "
        "dónde donde quién o son tiene puede ves y aquí ¿",
    "fr": "a au aux avec ce cet cette ces c'est dans de des du elle en est et il la le les là on où peut quel "
        "quelle quels qu'est que qui quoi sont sur un une y voyez vois vous tu combien",
    "it": "che chi ci c'è cos'è cosa come con da del della di dove è ha ho i il in la le lo nel nella o per può "
        "quale quali quanti quante questa queste questi questo sono un una uno vede vedi",
    "pt": "a as ao com como da das de do dos e é em essa esse esta está este estou eu há isso isto na nas no nos o "
        "onde os para pode qual quais quantas quantos que quem são tem um uma vejo vê você aqui",
    "ro": "acest aceasta ce cine câte câți cum de din este e există în la o pe poate sunt un unde vede vezi și",
}  # fmt: skip
_WORDS = {language: frozenset(words.split()) for language, words in _STOPWORDS.items()}
#: A single little word may belong to many languages, or be a name.
_ENOUGH = 2


def question_language(question: str, *, sure: bool) -> str:
    """The language of ``question``, ISO 639-1; English where nothing speaks against it.

    Raises:
        LanguageError: it has letters that English has not, and too few of them to be ``sure``.
    """
    words = set(re.findall(r"[^\W\d_]+(?:'[^\W\d_]+)*|¿", question.lower().replace("’", "'")))
    found = {language: len(words & known) for language, known in _WORDS.items()}
    best = max(found, key=found.__getitem__)  # English is first: it wins where there are as many of another
    if found[best] >= _ENOUGH and (best == ENGLISH or list(found.values()).count(found[best]) == 1):
        return best
    if any(letter.isalpha() and not letter.isascii() for letter in question):
        try:
            return detect_language(question)
        except LanguageError as error:
            if sure:
                raise LanguageError(
                    "Cannot tell for sure which language the question is in. Say which it is: language='pt', or "
                    "--from pt, if it is Portuguese."
                ) from error
    return ENGLISH
