"""What to install so that a pair of languages can be translated."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from mmpipe.translate.apertium_modes import PACKAGE_OF, install_command
from mmpipe.translate.languages import NAMES
from mmpipe.translate.llama import PAIRS as GEMMA_PAIRS

MAX_STEPS = 3  # of a route


def install_hint(source: str, target: str, have: Collection[tuple[str, str]]) -> str:
    """Sentences for an error message: each way to open ``source`` to ``target`` where the pairs ``have`` are there."""
    ways = []
    packages = _fewest_packages(source, target, have, PACKAGE_OF)
    if packages is not None:
        ways.append(f"Apertium would: {install_command(packages)} (Debian, Ubuntu)")
    if _fewest_packages(source, target, {*have, *GEMMA_PAIRS}, {}) is not None:
        ways.append(
            "Gemma 3 270M would, under terms that restrict its use: pip install 'mmpipe[llama]' && "
            "mmpipe pull gemma3-270m --accept-license"
        )
    if source in NAMES and target in NAMES:
        ways.append(
            "A model converted for CTranslate2 would, with pip install 'mmpipe[marian]' and "
            f"mmpipe.translate.ct2.CTranslate2Translator('hf:gaudi/opus-mt-{source}-{target}-ctranslate2') if there "
            "is one for the pair, or 'hf:michaelfeil/ct2fast-m2m100_418M' for a hundred languages (needs the model hub)"
        )
    return ". ".join(ways) or "No engine that mmpipe knows of would"


def _fewest_packages(
    source: str, target: str, have: Collection[tuple[str, str]], package_of: Mapping[tuple[str, str], str]
) -> frozenset[str] | None:
    """The fewest packages that, with the pairs ``have``, lead from ``source`` to ``target``; None if nothing does."""
    leading: dict[str, dict[str, str]] = {}  # source -> target -> package, "" where it is there already
    for (start, end), package in {**package_of, **dict.fromkeys(have, "")}.items():
        leading.setdefault(start, {})[end] = package
    reached: dict[str, frozenset[str]] = {source: frozenset()}
    for _ in range(MAX_STEPS):
        for language, packages in list(reached.items()):
            for end, package in leading.get(language, {}).items():
                wanted = packages | {package} - {""}
                if end not in reached or len(wanted) < len(reached[end]):
                    reached[end] = wanted
    return reached.get(target)
