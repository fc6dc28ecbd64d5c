"""Translation by a language model in a GGUF file, shown by examples what to do (llama.cpp, through xllamacpp).

A base model is given four sentences with their translations and goes on in the same way with the fifth. Small models
write fluently and may change the facts without showing it.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Protocol

from mmpipe.errors import StageError
from mmpipe.extras import require
from mmpipe.stage import Translator
from mmpipe.translate.languages import NAMES
from mmpipe.translate.measured import measured_tier
from mmpipe.types import Sentence, Tier
from mmpipe.weights import fetch

#: The same four sentences in every language the engine offers: any two make the examples of a pair.
EXAMPLES: Mapping[str, tuple[str, str, str, str]] = {
    "de": (
        "Wo hast du meine Brille hingelegt?",
        "Der Laden öffnet um zehn, aber heute ist er geschlossen.",
        "Ich wohne in dieser Stadt, seit ich ein Kind war.",
        "Er sagte uns, dass die Straße durch Schnee blockiert war.",
    ),
    "en": (
        "Where did you put my glasses?",
        "The shop opens at ten, but today it is closed.",
        "I have lived in this city since I was a child.",
        "He told us that the road was blocked by snow.",
    ),
    "es": (
        "¿Dónde has puesto mis gafas?",
        "La tienda abre a las diez, pero hoy está cerrada.",
        "Vivo en esta ciudad desde que era niño.",
        "Nos dijo que la carretera estaba bloqueada por la nieve.",
    ),
    "fr": (
        "Où as-tu mis mes lunettes ?",
        "Le magasin ouvre à dix heures, mais aujourd'hui il est fermé.",
        "J'habite dans cette ville depuis mon enfance.",
        "Il nous a dit que la route était bloquée par la neige.",
    ),
    "it": (
        "Dove hai messo i miei occhiali?",
        "Il negozio apre alle dieci, ma oggi è chiuso.",
        "Vivo in questa città da quando ero bambino.",
        "Ci ha detto che la strada era bloccata dalla neve.",
    ),
    "ja": (
        "私の眼鏡をどこに置きましたか。",
        "その店は十時に開きますが、今日は閉まっています。",
        "私は子供の頃からこの町に住んでいます。",
        "彼は道が雪で塞がれていると私たちに言いました。",
    ),
    "nl": (
        "Waar heb je mijn bril neergelegd?",
        "De winkel gaat om tien uur open, maar vandaag is hij gesloten.",
        "Ik woon al sinds mijn kindertijd in deze stad.",
        "Hij vertelde ons dat de weg geblokkeerd was door sneeuw.",
    ),
    "pt": (
        "Onde você colocou meus óculos?",
        "A loja abre às dez, mas hoje está fechada.",
        "Moro nesta cidade desde criança.",
        "Ele nos disse que a estrada estava bloqueada pela neve.",
    ),
    "ru": (
        "Куда ты положил мои очки?",
        "Магазин открывается в десять, но сегодня он закрыт.",
        "Я живу в этом городе с детства.",
        "Он сказал нам, что дорогу занесло снегом.",
    ),
    "zh": (
        "你把我的眼镜放在哪里了？",
        "商店十点开门，但今天关门。",
        "我从小就住在这个城市。",
        "他告诉我们，道路被雪堵住了。",
    ),
}
#: Into English it is useful, out of English weak; between two others nobody should want it.
PAIRS = tuple((a, b) for a in EXAMPLES for b in EXAMPLES if a != b and "en" in (a, b))

_SLOT_TOKENS = 1024  # the examples take about 150, the longest sentence and its translation as much again


class CompletionServer(Protocol):
    """What is used of ``xllamacpp.Server``."""

    def handle_completions(self, request: dict[str, Any]) -> dict[str, Any]:
        """A completion in OpenAI's format, or {"error": {"message": ...}}. May be called from many threads."""


class LlamaTranslator(Translator):
    """Any base or instruction model in a GGUF file, into English and out of it.

    ``parallel`` sentences are decoded together. On a CPU that brings little; on a GPU it is what fills it.
    ``server``: instead of the model, for tests.

    The model is loaded at its first use.

    Raises:
        MissingDependencyError: xllamacpp is not installed.
    """

    name: ClassVar[str] = "llama"

    def __init__(self, gguf: Path, *, parallel: int = 4, server: CompletionServer | None = None) -> None:
        self.pairs: Mapping[tuple[str, str], Tier] = {pair: measured_tier(self.name, pair) for pair in PAIRS}
        self._server = server
        self._gguf = gguf
        self._parallel = self.max_items = parallel
        if server is None:
            self._library = require("xllamacpp", "llama", "Translation by a language model (GGUF)")

    def run(self, items: Sequence[Sentence]) -> list[str]:
        self.warmup()
        with ThreadPoolExecutor(self._parallel, thread_name_prefix="mmpipe-llama") as pool:
            return list(pool.map(self._translate, items))

    def warmup(self) -> None:
        if self._server is None:
            self._server = _load(self._library, self._gguf, self._parallel)

    def close(self) -> None:
        self._server = None

    def _translate(self, item: Sentence) -> str:
        if not item.text.strip():
            return ""
        answer = self._complete(item, temperature=0.0)
        if _echoes(answer, item.text):
            answer = self._complete(item, temperature=0.8)
            if _echoes(answer, item.text):
                raise StageError(
                    f"{self.name} gave back the {NAMES[item.source]} text {item.text!r} instead of translating it"
                )
        return answer

    def _complete(self, item: Sentence, temperature: float) -> str:
        assert self._server is not None, "run() loads it"
        request = {
            "prompt": _prompt(item),
            "max_tokens": 32 + len(item.text),  # more characters than tokens in any language here
            "temperature": temperature,
            "seed": 1,
            "stop": ["\n"],
        }
        response = self._server.handle_completions(request)
        if "choices" not in response:
            raise StageError(f"{self.name} failed on {item.text!r}: {response.get('error', response)}")
        return str(response["choices"][0]["text"]).strip()


class GemmaTranslator(LlamaTranslator):
    """Gemma 3 270M (Q4_K_M, 253 MB on disk): about 0.3 s a sentence on two CPU cores.

    Raises:
        LicenseError: Google's terms of use for it have not been accepted.
    """

    name: ClassVar[str] = "gemma3-270m"

    def __init__(
        self,
        weights: Path | None = None,
        *,
        accept_license: bool = False,
        parallel: int = 4,
        server: CompletionServer | None = None,
    ) -> None:
        folder = weights or (Path() if server else fetch("gemma3-270m", accept_license=accept_license))
        super().__init__(folder / "model.gguf", parallel=parallel, server=server)


def _load(xllamacpp: Any, gguf: Path, parallel: int) -> CompletionServer:
    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.n_parallel = parallel
    params.n_ctx = parallel * _SLOT_TOKENS
    params.verbosity = -1  # it would write to the standard error stream
    # It also listens on a port of this machine: nobody else shall be let in there.
    params.api_keys = [secrets.token_hex()]
    params.endpoint_slots = False
    try:
        server: CompletionServer = xllamacpp.Server(params)
    except (RuntimeError, ValueError) as error:
        raise StageError(f"llama.cpp cannot load {gguf}: {error}") from error
    return server


def _prompt(item: Sentence) -> str:
    source, target = NAMES[item.source], NAMES[item.target]
    shots = zip(EXAMPLES[item.source], EXAMPLES[item.target], strict=True)
    text = " ".join(item.text.split())
    return "".join(f"{source}: {a}\n{target}: {b}\n\n" for a, b in shots) + f"{source}: {text}\n{target}:"


def _echoes(answer: str, text: str) -> bool:
    """Whether ``answer`` is the text itself. Up to two words may be the same in two languages: names, "OK", "pasta"."""

    def letters(of: str) -> str:
        return "".join(filter(str.isalpha, of.lower()))

    return (len(text.split()) > 2 or len(text) > 20) and letters(answer) == letters(text) != ""
