"""Neural translation models converted for CTranslate2: OPUS-MT (Marian), NLLB-200, M2M-100.

What kind of model a folder holds is read from its vocabulary: M2M-100 and NLLB have a token for each language
(``__en__``, ``eng_Latn``), an OPUS-MT model for several targets has one for each of them (``>>por<<``), one for a
single pair has none.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from mmpipe.errors import InputError, LanguageError, StageError
from mmpipe.extras import require
from mmpipe.stage import Translator
from mmpipe.translate.languages import language_code
from mmpipe.types import Sentence, Tier
from mmpipe.weights import fetch

_LANGUAGE_TOKEN = re.compile(r">>(\w+)<<|__([a-z]{2,3})__|([a-z]{3}_[A-Z][a-z]{3})")
# Where a language has several tokens, the one that most readers expect.
_PREFERRED = {"zh": "Hans", "sr": "Cyrl"}
# Codes of single languages that stand for the whole that people ask for (ISO 639-3 macrolanguages).
_STANDARD_OF = {
    "als": "sq",
    "arb": "ar",
    "ayr": "ay",
    "azj": "az",
    "cmn": "zh",
    "ekk": "et",
    "gaz": "om",
    "khk": "mn",
    "kmr": "ku",
    "lvs": "lv",
    "npi": "ne",
    "ory": "or",
    "pbt": "ps",
    "pes": "fa",
    "plt": "mg",
    "quy": "qu",
    "swh": "sw",
    "uzn": "uz",
    "ydd": "yi",
    "zsm": "ms",
}
_PAIR_IN_NAME = re.compile(r"opus-mt(?:-tc)?(?:-big)?-([a-zA-Z]{2,3})-([a-zA-Z]{2,})")


@dataclass(frozen=True)
class _Tokenizer:
    """Text to the model's tokens, and back."""

    encode: Callable[[str], list[str]]
    decode: Callable[[Sequence[str]], str]


@dataclass(frozen=True)
class _Languages:
    """The tokens by which a model is told the languages; none are needed where a dictionary is empty."""

    sources: Mapping[str, str] = field(default_factory=dict)  # put before the source
    targets: Mapping[str, str] = field(default_factory=dict)
    target_in_source: bool = False  # the target's token stands before the source, not before the output


class CTranslate2Translator(Translator):
    """``model``: the folder of a converted model, or ``hf:owner/name`` for one on the hub.

    It needs the model's ``source.spm`` and ``target.spm``, ``sentencepiece.bpe.model`` or ``tokenizer.json`` in the
    same folder. ``source``, ``target``: the languages, where the model has no tokens for them and its name does not
    tell them. ``tier``: how good it is; none of these models could be measured by mmpipe, so this is what their
    publications make likely. ``device``: "cpu", "cuda" or "auto".

    Raises:
        WeightsError: the model cannot be had.
        InputError: the folder holds no such model, or its languages are unknown.
        MissingDependencyError: its tokenizer is SentencePiece, which is not installed.
    """

    name: ClassVar[str] = "ctranslate2"
    max_items = 32

    def __init__(
        self,
        model: str | Path,
        *,
        source: str | None = None,
        target: str | None = None,
        tier: Tier = Tier.FAIR,
        device: str = "auto",
        beam_size: int = 2,
    ) -> None:
        import ctranslate2

        folder = fetch(model)
        if not (folder / "model.bin").is_file():
            raise InputError(f"{folder} has no model.bin: it is not a model converted for CTranslate2")
        if not (folder / "config.json").is_file():
            raise InputError(
                f"{folder} has no config.json, which the converter writes beside model.bin: copy it there too, or "
                "convert the model anew"
            )
        self._tokenizer = _tokenizer(folder)
        vocabulary = _vocabulary(folder)
        self._languages = _languages_of(vocabulary)
        self.pairs: Mapping[tuple[str, str], Tier] = dict.fromkeys(
            _pairs(self._languages, str(model), source, target), tier
        )
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        self._end = [] if config.get("add_source_eos") else [config.get("eos_token") or "</s>"]
        self._beam_size = beam_size
        try:
            # "auto": the fastest arithmetic of the device, so 8 bits on a CPU
            self._translator: Any = ctranslate2.Translator(str(folder), device=device, compute_type="auto")
        except (RuntimeError, ValueError) as error:
            raise InputError(f"CTranslate2 cannot load {folder}: {error}") from error

    def run(self, items: Sequence[Sentence]) -> list[str]:
        targets = self._languages.targets
        prefixes = None
        if targets and not self._languages.target_in_source:
            prefixes = [[targets[item.target]] for item in items]
        try:
            results = self._translator.translate_batch(
                [self._tokens(item) for item in items],
                target_prefix=prefixes,
                beam_size=self._beam_size,
                max_batch_size=2048,
                batch_type="tokens",  # the longest first, as many together as fit
                max_input_length=0,  # never cut: sentences are split above
                disable_unk=True,
            )
        except RuntimeError as error:
            raise StageError(f"CTranslate2 failed on {len(items)} sentence(s): {error}") from error
        skip = 1 if prefixes else 0
        return [self._tokenizer.decode(result.hypotheses[0][skip:]) for result in results]

    def close(self) -> None:
        self._translator.unload_model()

    def _tokens(self, item: Sentence) -> list[str]:
        before = []
        if self._languages.sources:
            before.append(self._languages.sources[item.source])
        if self._languages.target_in_source:
            before.append(self._languages.targets[item.target])
        return [*before, *self._tokenizer.encode(item.text), *self._end]


def _vocabulary(folder: Path) -> list[str]:
    for name in ("source_vocabulary", "shared_vocabulary"):
        if (path := folder / f"{name}.json").is_file():
            return list(json.loads(path.read_text(encoding="utf-8")))
        if (path := folder / f"{name}.txt").is_file():
            return path.read_text(encoding="utf-8").split("\n")
    raise InputError(f"{folder} has no shared_vocabulary.json: it is not a translation model for CTranslate2")


def _languages_of(vocabulary: Sequence[str]) -> _Languages:
    tokens: dict[str, str] = {}
    for token in vocabulary:
        match = _LANGUAGE_TOKEN.fullmatch(token)
        if match is None:
            continue
        base, _, script = next(filter(None, match.groups())).partition("_")
        try:
            code = _STANDARD_OF.get(base) or language_code(base)
        except LanguageError:
            continue  # one of the many that nobody can ask mmpipe for
        if code not in tokens or script == _PREFERRED.get(code):
            tokens[code] = token
    if not tokens:
        return _Languages()
    if next(iter(tokens.values())).startswith(">>"):
        return _Languages(targets=tokens, target_in_source=True)
    return _Languages(sources=tokens, targets=tokens)


def _pairs(languages: _Languages, model: str, source: str | None, target: str | None) -> list[tuple[str, str]]:
    named = _PAIR_IN_NAME.search(model)
    sources, targets = list(languages.sources), list(languages.targets)
    try:
        if not sources:
            sources = [language_code(source or (named[1] if named else ""))]
        if not targets:
            targets = [language_code(target or (named[2] if named else ""))]
    except LanguageError as error:
        raise InputError(
            f"{model} does not tell its languages: give source= and target=, such as source='en'"
        ) from error
    return [(a, b) for a in sources for b in targets if a != b]


def _tokenizer(folder: Path) -> _Tokenizer:
    for source, target in (("source.spm", "target.spm"), ("sentencepiece.bpe.model",) * 2):
        if (folder / source).is_file() and (folder / target).is_file():
            return _sentencepiece(folder / source, folder / target)
    if (folder / "tokenizer.json").is_file():
        return _fast_tokenizer(folder / "tokenizer.json")
    raise InputError(
        f"{folder} has neither source.spm and target.spm nor sentencepiece.bpe.model nor tokenizer.json: copy them "
        "from the model it was converted from"
    )


def _sentencepiece(source: Path, target: Path) -> _Tokenizer:
    library = require("sentencepiece", "marian", "This translation model's tokenizer")
    reader = library.SentencePieceProcessor(model_file=str(source))
    writer = library.SentencePieceProcessor(model_file=str(target))
    return _Tokenizer(
        encode=lambda text: list(reader.encode(text, out_type=str)),
        decode=lambda tokens: str(writer.decode_pieces(list(tokens))).strip(),
    )


def _fast_tokenizer(path: Path) -> _Tokenizer:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))

    def decode(tokens: Sequence[str]) -> str:
        ids = [index for token in tokens if (index := tokenizer.token_to_id(token)) is not None]
        return str(tokenizer.decode(ids)).strip()

    return _Tokenizer(encode=lambda text: list(tokenizer.encode(text, add_special_tokens=False).tokens), decode=decode)
