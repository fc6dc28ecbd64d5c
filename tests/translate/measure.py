"""Measure every route between the languages of ``data/parallel.tsv``: chrF and time.

    python tests/translate/measure.py            prints the table
    python tests/translate/measure.py --write    and writes mmpipe/translate/measured.tsv

It takes whatever engines are installed: figures of those that are not are kept from the last time.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from sacrebleu.metrics import CHRF

from mmpipe.stage import Translator
from mmpipe.translate import measured
from mmpipe.translate.engines import installed_engines
from mmpipe.types import Sentence

HERE = Path(__file__).parent
TABLE = Path(measured.__file__).with_name("measured.tsv")
MAX_STEPS = 3
SLOW = {"gemma3-270m"}  # only measured as the first step

Step = tuple[str, str, str]  # engine, source, target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table that the language graph uses")
    write = parser.parse_args().write
    header, *rows = [line.split("\t") for line in (HERE / "data/parallel.tsv").read_text("utf-8").splitlines()]
    texts = {language: [row[column] for row in rows] for column, language in enumerate(header)}
    engines = {engine.name: engine for engine in installed_engines()}
    results = dict(measured.measured_routes())
    for path, outputs, seconds in _routes(engines, texts):
        chrf = CHRF().corpus_score(outputs, [texts[path[-1][2]]]).score
        steps = tuple(f"{engine} {source}>{target}" for engine, source, target in path)
        results[steps] = round(chrf, 1)
        sys.stdout.write(f"{chrf:5.1f}  {1000 * seconds / len(outputs):6.1f} ms  {', '.join(steps)}\n")
        sys.stdout.flush()
    if write:
        lines = [f"{chrf:.1f}\t{', '.join(steps)}\n" for steps, chrf in sorted(results.items())]
        TABLE.write_text("".join(lines), encoding="utf-8")
    for engine in engines.values():
        engine.close()


def _routes(
    engines: dict[str, Translator], texts: dict[str, list[str]]
) -> Iterator[tuple[tuple[Step, ...], list[str], float]]:
    """Every route of up to three steps, with its translations and the seconds that its last step took."""
    steps = [(name, *pair) for name, engine in engines.items() for pair in engine.pairs]
    fronts: list[tuple[tuple[Step, ...], list[str]]] = [((("", "", language),), texts[language]) for language in texts]
    for _ in range(MAX_STEPS):
        further = []
        for path, sentences in fronts:
            visited = {target for _, _, target in path}
            for engine, source, target in steps:
                if source != path[-1][2] or target in visited or target not in texts:
                    continue
                if engine in SLOW and len(path) > 1:
                    continue
                start = time.perf_counter()
                outputs = engines[engine].run([Sentence(text, source, target) for text in sentences])
                longer = (*path, (engine, source, target))
                further.append((longer, outputs))
                yield longer[1:], outputs, time.perf_counter() - start
        fronts = further


if __name__ == "__main__":
    sys.exit(main())
