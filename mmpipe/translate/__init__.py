"""Text from one language into another.

>>> from mmpipe.translate import TextTranslator
>>> with TextTranslator() as translator:
...     translator.translate("Good morning!", "en", "pt").text
'Bom dia!'

``service`` is the face of it. Around the engines, which only translate sentences (``bergamot``, ``apertium``, ``ct2``,
``llama``), it finds the route (``graph``), keeps the layout (``layout``), splits sentences (``text``), protects what
is no language (``protect``) and keeps to a glossary (``glossary``).
"""

from mmpipe.translate.detect import check_language, detect_language
from mmpipe.translate.glossary import Glossary, Term
from mmpipe.translate.graph import LanguageGraph, Route, Step
from mmpipe.translate.languages import NAMES, language_code
from mmpipe.translate.service import TextTranslator

__all__ = [
    "NAMES",
    "Glossary",
    "LanguageGraph",
    "Route",
    "Step",
    "Term",
    "TextTranslator",
    "check_language",
    "detect_language",
    "language_code",
]
