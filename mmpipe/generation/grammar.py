"""Answers in a given form: JSON by a schema, or text by a regular expression.

llguidance keeps the form: a parser in Rust that says before each token which ones may follow, in well under a
millisecond for a vocabulary of 50,000.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmpipe.errors import InputError, StageError
from mmpipe.extras import require
from mmpipe.generation.language_model import LanguageModel

#: How the small language models were trained to write JSON: "a": 1, "b": 2, on one line. Without it a model may go on
#: writing spaces and line breaks, which any grammar of JSON allows, for ever.
_JSON_STYLE = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}


class GrammarCompiler:
    """Makes grammars for one language model. Costs about a second to make, so keep it.

    Raises:
        MissingDependencyError: llguidance is not installed.
    """

    def __init__(self, language_model: LanguageModel) -> None:
        self._library = require("llguidance", "qa", "Answers in a given form")
        hf = require("llguidance.hf", "qa", "Answers in a given form")
        self._tokenizer = hf.from_tokenizer(language_model.tokenizer, eos_token=language_model.turn_end_id)

    def json(self, schema: Mapping[str, Any]) -> CompiledGrammar:
        """Answers that are JSON as ``schema`` (JSON Schema) wants it.

        An answer is complete only if it is not cut off by ``max_new_tokens``: look at ``finish``.

        Raises:
            InputError: the schema is wrong, or uses what cannot be kept while writing.
        """
        try:
            text = json.dumps(dict(schema))
            grammar = self._library.LLMatcher.grammar_from_json_schema(text, overrides=_JSON_STYLE)
        except (TypeError, ValueError) as error:
            raise InputError(f"The JSON schema cannot be used: {error}") from error
        return self._checked(grammar, "JSON schema")

    def _checked(self, grammar: str, what: str) -> CompiledGrammar:
        error = self._library.LLMatcher.validate_grammar(grammar, self._tokenizer)
        if error:
            reason = re.sub(r"\s+", " ", str(error)).strip()
            raise InputError(f"The {what} cannot be used: {reason}")
        return CompiledGrammar(self._library, self._tokenizer, grammar)


class CompiledGrammar:
    """A :class:`~mmpipe.generation.requests.Grammar`."""

    def __init__(self, library: Any, tokenizer: Any, grammar: str) -> None:
        self._library = library
        self._tokenizer = tokenizer
        self._grammar = grammar

    def start(self) -> _Matcher:
        return _Matcher(self._library.LLMatcher(self._tokenizer, self._grammar))


class _Matcher:
    """A :class:`~mmpipe.generation.requests.Constraint`."""

    def __init__(self, matcher: Any) -> None:
        self._matcher = matcher

    def restrict(self, logits: Tensor) -> None:
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        allowed = np.unpackbits(bits, bitorder="little")[: len(logits)].astype(bool)
        logits[: len(allowed)].masked_fill_(torch.from_numpy(~allowed), -torch.inf)
        logits[len(allowed) :] = -torch.inf

    def accept(self, token_id: int) -> None:
        self._matcher.consume_token(token_id)
        self._check()

    @property
    def finished(self) -> bool:
        return bool(self._matcher.is_stopped())

    def _check(self) -> None:
        if self._matcher.is_error():
            raise StageError(f"The form of the answer could not be kept: {self._matcher.get_error()}")
