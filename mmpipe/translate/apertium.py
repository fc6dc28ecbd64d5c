"""Rule-based translation by Apertium, an optional Debian package for each pair of languages (GPL-2, run as programs).

Each language pair is a "mode": a pipeline of programs written down in a file. It is started at its first use, kept
open and asked sentence by sentence (1 to 10 ms each; starting one takes up to a second).
"""

from __future__ import annotations

import contextlib
import logging
import re
import shlex
import shutil
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from mmpipe.errors import MissingDependencyError, StageError
from mmpipe.stage import Translator
from mmpipe.translate.apertium_modes import PACKAGE_OF, install_command, pairs_of_mode
from mmpipe.translate.measured import measured_tier
from mmpipe.translate.openpipe import BrokenPipelineError, OpenPipe
from mmpipe.types import Sentence, Tier

logger = logging.getLogger(__name__)

MODES_FOLDER = Path("/usr/share/apertium/modes")

# Every program of Apertium's modes that can flush on null. A mode with any other would hang, and is left out.
_FLUSH_ON_NULL = frozenset(
    {
        "apertium-anaphora",
        "apertium-interchunk",
        "apertium-postchunk",
        "apertium-posttransfer",
        "apertium-pretransfer",
        "apertium-tagger",
        "apertium-transfer",
        "cg-proc",
        "lrx-proc",
        "lsx-proc",
        "lt-proc",
        "rtx-proc",
    }
)

# Characters with a meaning in Apertium's stream format (wiki.apertium.org/wiki/Apertium_stream_format).
_RESERVED = re.compile(r"[\\/@<>^$\[\]{}]")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_OPENING_MARKS = frozenset({"es", "ast"})  # languages that open a question with ¿ and an exclamation with ¡
_END = "[\n]"  # a blank behind the last word: without one the programs lose the final full stop


class ApertiumTranslator(Translator):
    """Every language pair of Apertium that is installed, each started when it is first needed.

    Words that Apertium does not know come through as they are. A pipeline that dies or does not answer within
    ``timeout_s`` is started again; the sentence that does it twice fails. The programs are not quite free of memory:
    in some pairs one sentence in twenty gets another word the second time it is asked.

    Raises:
        MissingDependencyError: no language pair of Apertium is installed.
    """

    name: ClassVar[str] = "apertium"
    max_items = 32

    def __init__(self, modes_folder: Path = MODES_FOLDER, timeout_s: float = 20.0) -> None:
        self._modes: dict[tuple[str, str], Path] = {}
        self._commands: dict[Path, list[list[str]]] = {}
        for file in sorted(modes_folder.glob("*.mode")):
            pairs = pairs_of_mode(file.stem)
            commands = _commands(file) if pairs else []
            lacking = [program for program, *_ in commands if shutil.which(program) is None]
            if lacking:
                logger.info("Apertium's %s is left out: it needs %s, which is not installed", file.stem, lacking[0])
            elif commands:
                self._commands[file] = commands
                self._modes |= dict.fromkeys(pairs, file)
        if not self._modes:
            raise MissingDependencyError(
                f"No Apertium language pair is installed in {modes_folder}. Install Apertium with the pairs you need, "
                f"such as: {install_command(['apertium-eng-spa'])}"
            )
        self.pairs: Mapping[tuple[str, str], Tier] = {pair: measured_tier(self.name, pair) for pair in self._modes}
        self._timeout_s = timeout_s
        self._pipes: dict[Path, OpenPipe] = {}
        self._lock = threading.Lock()  # close() may come from another thread than run()

    def run(self, items: Sequence[Sentence]) -> list[str]:
        results = [""] * len(items)
        by_pair: dict[tuple[str, str], list[int]] = {}
        for index, item in enumerate(items):
            if item.text.strip():
                by_pair.setdefault((item.source, item.target), []).append(index)
        for (source, target), indices in by_pair.items():
            mode = self._mode(source, target)
            with self._lock:
                try:
                    outputs = self._ask(mode, [items[index].text for index in indices])
                except BaseException:
                    self._stop(mode)  # an interrupt leaves answers unread, which later sentences would get for theirs
                    raise
            for index, output in zip(indices, outputs, strict=True):
                results[index] = _polish(output, items[index])
        return results

    def close(self) -> None:
        with self._lock:
            for mode in list(self._pipes):
                self._stop(mode)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):  # the constructor failed
            self.close()

    def _mode(self, source: str, target: str) -> Path:
        mode = self._modes.get((source, target))
        if mode is None:
            package = PACKAGE_OF.get((source, target))
            if package is None:
                raise StageError(f"Apertium has no language pair {source}>{target}")
            raise MissingDependencyError(
                f"Apertium's pair {source}>{target} is not installed. Install it: {install_command([package])}"
            )
        return mode

    def _ask(self, mode: Path, texts: Sequence[str]) -> list[str]:
        answers: list[str] = []
        encoded = [_encode(text) for text in texts]
        try:
            for answer in self._pipe(mode).ask(encoded, self._timeout_s):
                answers.append(_decode(answer))  # noqa: PERF401  (those before a break count)
        except BrokenPipelineError:
            # Some of what was in flight is lost with the programs, and which sentence broke them is unknown:
            # the rest goes one at a time.
            self._stop(mode)
            answers += [self._ask_alone(mode, text) for text in encoded[len(answers) :]]
        return answers

    def _ask_alone(self, mode: Path, text: bytes) -> str:
        try:
            (answer,) = self._pipe(mode).ask([text], self._timeout_s)
        except BrokenPipelineError as error:
            self._stop(mode)
            raise StageError(f"Apertium's {mode.stem} failed on {_decode(text)!r}: {error}") from error
        return _decode(answer)

    def _pipe(self, mode: Path) -> OpenPipe:
        if mode not in self._pipes:
            self._pipes[mode] = OpenPipe(self._commands[mode])
        return self._pipes[mode]

    def _stop(self, mode: Path) -> None:
        if mode in self._pipes:
            self._pipes.pop(mode).close()


def _commands(mode: Path) -> list[list[str]]:
    """The programs of a mode with their arguments, flushing on null; none if one of them cannot.

    ``$1`` is the generator's option, here "-n": unknown words are not marked. ``$2`` is the tagger's, here none.
    """
    lexer = shlex.shlex(mode.read_text(encoding="utf-8"), posix=True, punctuation_chars="|")
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    for word in lexer:
        if word == "|":
            commands.append([])
        elif word != "$2":
            commands[-1].append("-n" if word == "$1" else word)
    if not all(command and Path(command[0]).name in _FLUSH_ON_NULL for command in commands):
        return []
    return [[program, "-z", *arguments] for program, *arguments in commands]


def _encode(text: str) -> bytes:
    text = " ".join(text.replace("\0", " ").split())
    text = _RESERVED.sub(r"\\\g<0>", text).replace("~", "[~]")  # "~" is a mark of the post-generator
    return (text + _END).encode()


def _decode(answer: bytes) -> str:
    text = answer.decode(errors="replace").replace("[~]", "~").removesuffix(_END)
    return " ".join(_ESCAPED.sub(r"\1", text).split())


def _polish(text: str, sentence: Sentence) -> str:
    """What Apertium leaves to others: the capital at the start, and the opening marks of Spanish and Asturian."""
    text = re.sub("[¿¡]", "", text)
    if sentence.text.lstrip("¿¡ ")[:1].isupper():
        text = text[:1].upper() + text[1:]
    ending = re.search(r"[?!][\"'”’»)\]]*$", text)
    if sentence.target in _OPENING_MARKS and ending:
        # A question begins behind a short address or greeting: "Buen día, ¿cómo está?"
        opening = re.match(r"[\"'“‘«(\[]*(?:\w+(?: \w+){0,2}, )?", text)
        assert opening is not None, "the pattern takes any text"
        text = opening[0] + {"?": "¿", "!": "¡"}[ending[0][0]] + text[opening.end() :]
    return text
