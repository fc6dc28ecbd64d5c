"""Apertium's language pairs: what its modes are called, and which Debian package brings which pair."""

from __future__ import annotations

import re
from collections.abc import Iterable

from mmpipe.errors import LanguageError
from mmpipe.translate.languages import language_code

# The packages of Debian 12 (apertium-NAME: pairs; ">" for one way only). Only used to tell people what to install:
# what can be translated is read from what is installed.
_PACKAGES = """
afr-nld: af-nl            arg-cat: an-ca          bel-rus: be-ru          br-fr: br>fr
cat-ita: ca-it            cat-srd: ca>sc          dan-nor: da-nn da-nb    en-gl: en-gl
eng-cat: en-ca            eng-spa: en-es          eo-ca: ca>eo            eo-en: en-eo
eo-es: es>eo              eo-fr: fr>eo            es-gl: es-gl            es-pt: es-pt
es-ro: ro>es              eu-en: eu>en            eu-es: eu>es            fr-es: es-fr
fra-cat: ca-fr            fra-frp: fr-frp         hbs-eng: en-bs en-hr en-sr
hbs-mkd: mk-bs mk-hr mk-sr                        hbs-slv: sl-bs sl-hr sl-sr
ind-zlm: id-ms            isl-eng: is>en          isl-swe: is-sv          mkd-bul: bg-mk
mkd-eng: mk>en            nno-nob: nb-nn          oc-ca: ca-oc            oc-es: es-oc
oci-fra: fr-oc            pol-szl: pl-szl         por-cat: ca-pt          pt-gl: gl-pt
rus-ukr: ru-uk            spa-arg: an-es          spa-ast: es>ast         spa-cat: ca-es
spa-ita: es-it            srd-ita: it>sc          swe-dan: da-sv          swe-nor: nb-sv nn-sv
urd-hin: hi-ur
"""

# What these packages need and do not ask for (Debian 12).
_FORGOTTEN = {
    "apertium-cat-ita": ("apertium-lex-tools", "cg3"),
    "apertium-spa-cat": ("apertium-lex-tools", "cg3"),
    "apertium-spa-ita": ("cg3",),
    "apertium-swe-nor": ("apertium-recursive",),
}

# One language to Apertium, three standards: written by a mode for each, read by the same one.
_SERBO_CROATIAN = {"hbs_BS": "bs", "hbs_HR": "hr", "hbs_SR": "sr"}
# Where a variant writes what most readers of the code expect, it stands in for the plain mode.
_BRAZILIAN = {"cat-por": "cat-por_BR", "es-pt": "es-pt_BR"}


def _read(table: str) -> dict[tuple[str, str], str]:
    packages: dict[tuple[str, str], str] = {}
    package = ""
    for word in table.split():
        if word.endswith(":"):
            package = f"apertium-{word[:-1]}"
            continue
        first, second = re.split("[->]", word)
        packages[first, second] = package
        if "-" in word:
            packages[second, first] = package
    return packages


#: (source, target) in ISO 639-1 -> the Debian package that brings it
PACKAGE_OF: dict[tuple[str, str], str] = _read(_PACKAGES)


def install_command(packages: Iterable[str]) -> str:
    """The command that installs the language ``packages`` with all they need."""
    wanted = {name for package in packages for name in (package, *_FORGOTTEN.get(package, ()))}
    return f"sudo apt-get install {' '.join(['apertium', *sorted(wanted)])}"


def pairs_of_mode(mode: str) -> list[tuple[str, str]]:
    """The pairs that the mode called ``mode`` (``eng-spa``, ``es-pt_BR``) serves: none for regional and side modes."""
    if mode in _BRAZILIAN.values():
        mode = mode.removesuffix("_BR")
    elif mode in _BRAZILIAN:
        return []
    match = re.fullmatch(r"([a-z]{2,3})-([a-z]{2,3}|hbs_[A-Z]{2})", mode)
    if match is None or match[2] == "hbs":
        return []
    try:
        sources = ["bs", "hr", "sr"] if match[1] == "hbs" else [language_code(match[1])]
        return [(code, _SERBO_CROATIAN.get(match[2]) or language_code(match[2])) for code in sources]
    except LanguageError:
        return []
