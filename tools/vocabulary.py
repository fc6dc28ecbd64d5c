"""Words that the field has another word for, wherever they stand in code, messages and documents.

    $ python tools/vocabulary.py

Prints each place and ends with status 1 where there is one. ``make check`` runs it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

#: What is not to be found (a regular expression), and what to write.
WORDS = {
    r"[Rr]ecognis(?:e|i)": "recognize, Recognizer",
    r"[Ss]ynthesise": "synthesize, Synthesizer",
    r"[Nn]ormalis(?:e|a)": "normalize, normalizer",
    r"[Ll]icence|LICENCE": "license",
    r"[Oo]ptimise": "optimize, optimizer",
    r"\bEars\b|\bEarOptions\b": "StreamSegmenter, SegmenterOptions",
    r"\bEyes\b": "BatchedImageEncoder",
    r"\bKeptFile\b": "ImageBytes",
    r"_LITTLE_WORDS": "_STOPWORDS",
    r"\bSlab(?:Pool)?\b": "KVBlock, KVBlockPool",
    r"\bFits\b": "AdapterTarget",
    r"\bSHIPPED\b": "DEFAULT_ADAPTER",
    r"\bGroupExaminer\b": "MultiImageQuestionGenerator",
    r"\bwhat_would_open\b": "install_hint",
    r"\bsecond_try\b": "retry_full_context",
    r"\bmax_compression\b": "compression_ratio_threshold",
    r"\btold_plainly\b": "convert_os_errors",
    r"\bwarm_up\b": "warmup",
    r"\bBatcherClosedError\b": "ClosedError",
    r"\bHelpers\b": "Engines",
    r"\b(?:Batch|Engine)Settings\b": "BatchOptions, EngineOptions",
    r"\bclass (?:Hub|Desk|_Desk|Visitors|Things|Speaker)\b": (
        "SessionManager, ImageChatSession, RecordingSession, SessionStore, SessionState, TextToSpeech"
    ),
    r"\bclass (?:Warned|Ended|Spoken|Partial|Committed|Translated)\(Event\)": "WarningEvent, EndedEvent, ...",
    r"as far as mmpipe can hear": "No speech detected",
    r"parted by commas": "comma-separated",
    r"Take it with you": "Downloads",
}
_SUFFIXES = {".py", ".md", ".js", ".toml", ".css", ".service"}
#: What tells of old names; recordings, pictures, what was said in them, and what was trained on.
_LEFT_OUT = ("CHANGELOG.md", "tests/data/", "tools/vocabulary.py", "mmpipe/fusion/training/questions.toml")


def found_in(text: str) -> list[tuple[int, str, str]]:
    """(line number, what stands there, what to write) of each place in ``text``."""
    return [
        (number, match[0], better)
        for number, line in enumerate(text.splitlines(), start=1)
        for word, better in WORDS.items()
        for match in re.finditer(word, line)
    ]


def main() -> int:
    """Look through all files of the repository. Returns the exit status."""
    root = Path(__file__).parent.parent
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout.decode()
    places = 0
    for name in filter(None, listed.split("\0")):
        if name.startswith(_LEFT_OUT) or (Path(name).suffix not in _SUFFIXES and name != "Makefile"):
            continue
        for number, word, better in found_in((root / name).read_text("utf-8")):
            sys.stdout.write(f"{name}:{number}: {word!r}; write {better}\n")
            places += 1
    return 1 if places else 0


if __name__ == "__main__":
    sys.exit(main())
