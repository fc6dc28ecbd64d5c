"""Speech recognition by Whisper on CTranslate2, many windows at a time, each no longer than it needs to be.

Whisper was trained on windows of exactly 30 s, and every implementation pads to that. The encoder itself takes fewer
frames, and most of the time goes into encoding the padding. Here a batch is padded only to its longest window plus
two seconds of silence, never below ``min_context_s``: several times faster at the same word error rate (measured by
``mmpipe bench recognition``). With much less context the decoder falls into loops, so whatever looks like a loop, a
guess or too many words for its length is decoded again with the full 30 s.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from mmpipe.audio.features import WHISPER_FRAMES_PER_S, WHISPER_HOP, WHISPER_MAX_FRAMES, whisper_log_mel
from mmpipe.errors import InputError, LanguageError
from mmpipe.memory import bound_kernel_cache
from mmpipe.stage import Recognizer
from mmpipe.types import SPEECH_RATE_HZ, Audio, Segment, SpeechWindow, Word
from mmpipe.weights import fetch

logger = logging.getLogger(__name__)

MAX_WINDOW_S = WHISPER_MAX_FRAMES / WHISPER_FRAMES_PER_S


@dataclass(frozen=True, slots=True)
class WhisperOptions:
    """How to run Whisper. The thresholds are openai/whisper's unless said otherwise."""

    device: str = "auto"  # "cpu", "cuda" or "auto"
    compute_type: str = "auto"  # "int8", "float16", "float32", ...; auto: int8 on a CPU, float16 on a GPU
    threads: int = 0  # 0: as many as there are cores, four at most
    #: Parts of a batch that are computed at the same time, on a CPU. The matrices are small: two threads with a half
    #: each take 0.6 of the time that both take together over the whole (two cores, whisper-base).
    workers: int = 2
    short_context: bool = True  # False: always encode 30 s
    min_context_s: float = 10.0  # the error rate is that of 30 s; at 8 s it begins to rise, below 5 s the decoder loops
    tail_s: float = 2.0  # silence after the speech, which tells the decoder that it has ended
    compression_ratio_threshold: float = 2.4  # text that zlib compresses more than this is a loop
    min_avg_logprob: float = -1.0  # below: a guess
    max_tokens_per_s: float = 12.0  # nobody speaks faster; more is a loop (our own threshold)
    # Both together: there was no speech. Over real clips no_speech_prob stays under 0.3 and avg_logprob over -0.7;
    # for digital silence they are 0.9 and -1.
    max_no_speech: float = 0.6
    silence_avg_logprob: float = -0.5


class Whisper(Recognizer):
    """Whisper for CTranslate2. ``weights``: a name that ``mmpipe models`` lists, or a folder with a converted model.

    Raises:
        WeightsError: the weights cannot be had.
        InputError: the folder lacks a file, or the device or the compute type is not supported here.
    """

    name = "whisper"

    def __init__(self, weights: str | Path = "whisper-base", options: WhisperOptions | None = None) -> None:
        import ctranslate2
        import tokenizers

        bound_kernel_cache()
        self.options = options or WhisperOptions()
        folder = fetch(weights)
        tokenizer = folder / "tokenizer.json"
        if not tokenizer.is_file():
            raise InputError(
                f"{folder} has no tokenizer.json, which belongs beside a converted Whisper's model.bin: copy it there "
                "from the model that was converted (ct2-transformers-converter --copy_files tokenizer.json)"
            )
        device = self.options.device
        if device == "auto":
            device = "cuda" if ctranslate2.get_cuda_device_count() else "cpu"
        compute_type = self.options.compute_type
        if compute_type == "auto":
            compute_type = "float16" if device == "cuda" else "int8"
        threads = self.options.threads or min(4, os.cpu_count() or 1)
        self._workers = max(1, min(self.options.workers, threads)) if device == "cpu" else 1
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix="mmpipe-whisper")
        try:
            self._model = ctranslate2.models.Whisper(
                str(folder),
                device=device,
                compute_type=compute_type,
                intra_threads=max(1, threads // self._workers),
                inter_threads=self._workers,
            )
        except (ValueError, RuntimeError) as error:
            raise InputError(
                f"Whisper cannot run from {folder} on device {device!r} as {compute_type!r}: {error}"
            ) from error
        self._tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer))
        self.languages = _languages(self._tokenizer) if self._model.is_multilingual else frozenset({"en"})

    def cost(self, item: SpeechWindow) -> float:
        return max(item.audio.duration_s + self.options.tail_s, self.options.min_context_s)

    def group(self, item: SpeechWindow) -> Hashable:
        # Rows of a batch may differ in language, which is one token of the prompt, in what it is chosen from, and in
        # whether they are tried again.
        return replace(item.options, language=None, languages=(), retry_full_context=True)

    def warmup(self) -> None:
        silence = Audio(np.zeros(SPEECH_RATE_HZ, np.float32))
        self.run([SpeechWindow(silence)])

    def run(self, items: Sequence[SpeechWindow]) -> list[Segment]:
        for item in items:
            self._check(item)
        options = items[0].options
        found = self._decode(items, full_context=not self.options.short_context, beam_size=options.beam_size)
        doubtful = [n for n, hypothesis in enumerate(found) if self._is_doubtful(hypothesis, items[n])]
        for n in doubtful:
            if not items[n].options.retry_full_context and self._is_loop(found[n], items[n]):
                found[n].text, found[n].words = "", ()
        doubtful = [n for n in doubtful if items[n].options.retry_full_context]
        if doubtful:
            again = self._decode([items[n] for n in doubtful], full_context=True, beam_size=max(5, options.beam_size))
            for n, hypothesis in zip(doubtful, again, strict=True):
                before, after = len(found[n].text), len(hypothesis.text)
                logger.debug("decoded again: %d characters, then %d", before, after)
                found[n] = hypothesis
        return [self._segment(h, item) for h, item in zip(found, items, strict=True)]

    def align(self, items: Sequence[SpeechWindow], texts: Sequence[str]) -> list[tuple[Word, ...]]:
        """Forced alignment: when the words of each given text are said in its window.

        Times count from the start of the window; a word's probability is what the model gives it there, so that words
        which were not said stand out. Windows must name their language.

        Raises:
            InputError: a window is too long, or its language is not named.
        """
        import ctranslate2

        for item in items:
            self._check(item)
            if item.options.language is None:
                raise InputError("Forced alignment needs the language of the text: set RecognitionOptions.language.")
        encoded = self._model.encode(ctranslate2.StorageView.from_array(self._features(items, full_context=False)))
        given = [
            _Hypothesis(
                tokens=self._tokenizer.encode(" " + text.strip(), add_special_tokens=False).ids if text.strip() else [],
                text=text.strip(),
                language=item.options.language or "",
            )
            for item, text in zip(items, texts, strict=True)
        ]
        self._align(items, given, encoded)
        return [hypothesis.words for hypothesis in given]

    def _check(self, item: SpeechWindow) -> None:
        audio, wanted = item.audio, (item.options.language, *item.options.languages)
        if audio.rate_hz != SPEECH_RATE_HZ or audio.duration_s > MAX_WINDOW_S:
            raise InputError(
                f"Whisper hears at most {MAX_WINDOW_S:.0f} s at {SPEECH_RATE_HZ} Hz at once, not "
                f"{audio.duration_s:.1f} s at {audio.rate_hz} Hz. Cut the sound with mmpipe.audio.vad.speech_chunks."
            )
        for language in wanted:
            if language is not None and language not in self.languages:
                raise LanguageError(
                    f"This Whisper model does not know the language {language!r}. It knows: "
                    f"{', '.join(sorted(self.languages))}."
                )

    def close(self) -> None:
        self._pool.shutdown()

    def _decode(self, items: Sequence[SpeechWindow], *, full_context: bool, beam_size: int) -> list[_Hypothesis]:
        """What is said in each of ``items``; every worker takes an equal part of them."""
        parts = [items[n :: self._workers] for n in range(min(self._workers, len(items)))]
        decode = partial(self._decode_part, full_context=full_context, beam_size=beam_size)
        found: list[_Hypothesis | None] = [None] * len(items)
        for n, hypotheses in enumerate(self._pool.map(decode, parts)):
            found[n :: len(parts)] = hypotheses
        return [hypothesis for hypothesis in found if hypothesis is not None]

    def _decode_part(self, items: Sequence[SpeechWindow], *, full_context: bool, beam_size: int) -> list[_Hypothesis]:
        import ctranslate2

        options = items[0].options
        encoded = self._model.encode(ctranslate2.StorageView.from_array(self._features(items, full_context)))
        languages = self._detect(items, encoded)
        prompts = [self._prompt(item, language) for item, (language, _) in zip(items, languages, strict=True)]
        longest_s = max(item.audio.duration_s for item in items)
        results = self._model.generate(
            encoded,
            prompts,
            beam_size=beam_size,
            max_length=min(448, len(prompts[0]) + 16 + round(25 * longest_s)),
            return_scores=True,
            return_no_speech_prob=True,
            return_logits_vocab=options.entropy,
        )
        hypotheses = []
        for result, (language, probability) in zip(results, languages, strict=True):
            tokens = [token for token in result.sequences_ids[0] if token < self._id("<|endoftext|>")]
            text = self._tokenizer.decode(tokens).strip()
            hypotheses.append(
                _Hypothesis(
                    tokens=tokens,
                    text=text,
                    language=language,
                    language_probability=probability,
                    avg_logprob=result.scores[0],
                    no_speech_prob=result.no_speech_prob,
                    entropy_nats=_mean_entropy(result.logits[0]) if options.entropy else None,
                )
            )
        if options.word_timestamps:
            self._align(items, hypotheses, encoded)
        return hypotheses

    def _features(self, items: Sequence[SpeechWindow], full_context: bool) -> Any:
        """Log-mel of the batch, float32 (b, n_mels, frames), padded to what its longest window needs."""
        longest_s = max(item.audio.duration_s for item in items) + self.options.tail_s
        context_s = MAX_WINDOW_S if full_context else min(max(longest_s, self.options.min_context_s), MAX_WINDOW_S)
        # an even number of frames: the encoder's second convolution halves them
        batch = np.zeros(
            (len(items), 2 * WHISPER_HOP * -(-round(context_s * SPEECH_RATE_HZ) // (2 * WHISPER_HOP))), np.float32
        )
        for row, item in zip(batch, items, strict=True):
            row[: len(item.audio.samples)] = item.audio.samples
        return whisper_log_mel(batch, self._model.n_mels)

    def _detect(self, items: Sequence[SpeechWindow], encoded: Any) -> list[tuple[str, float | None]]:
        """Language of each window, and its probability where the caller left it open."""
        given = [item.options.language for item in items]
        if not self._model.is_multilingual:
            return [("en", None)] * len(items)
        if all(given):
            return [(language or "", None) for language in given]
        detected = self._model.detect_language(encoded)
        return [
            (item.options.language, None) if item.options.language else _likeliest(found, item.options.languages)
            for item, found in zip(items, detected, strict=True)
        ]

    def _prompt(self, item: SpeechWindow, language: str) -> list[int]:
        options = item.options
        before: list[int] = []
        if options.hotwords or options.initial_prompt:
            text = " ".join(filter(None, [", ".join(options.hotwords), options.initial_prompt]))
            ids = self._tokenizer.encode(" " + text.strip(), add_special_tokens=False).ids
            before = [self._id("<|startofprev|>"), *ids[-223:]]  # half of the decoder's 448, as openai/whisper
        return [*before, *self._start(language, options.task), self._id("<|notimestamps|>")]

    def _start(self, language: str, task: str) -> list[int]:
        start = [self._id("<|startoftranscript|>")]
        if self._model.is_multilingual:
            start += [self._id(f"<|{language}|>"), self._id(f"<|{task}|>")]
        return start

    def _id(self, token: str) -> int:
        found: int | None = self._tokenizer.token_to_id(token)
        if found is None:
            raise InputError(f"This model's tokenizer has no token {token}: is it a Whisper model?")
        return found

    def _is_doubtful(self, hypothesis: _Hypothesis, item: SpeechWindow) -> bool:
        return self._is_loop(hypothesis, item) or hypothesis.avg_logprob < self.options.min_avg_logprob

    def _is_loop(self, hypothesis: _Hypothesis, item: SpeechWindow) -> bool:
        too_many = len(hypothesis.tokens) > self.options.max_tokens_per_s * max(item.audio.duration_s, 1.0)
        return too_many or _compression(hypothesis.text) > self.options.compression_ratio_threshold

    def _align(self, items: Sequence[SpeechWindow], hypotheses: list[_Hypothesis], encoded: Any) -> None:
        """Give each hypothesis its words, from the decoder's cross-attention (openai/whisper, timing.py)."""
        import ctranslate2

        for language in {h.language for h in hypotheses}:
            rows = [n for n, h in enumerate(hypotheses) if h.language == language and h.tokens]
            if not rows:
                continue
            part = encoded
            if len(rows) != len(hypotheses):  # CTranslate2 aligns one start sequence for all rows
                host = np.array(encoded.to_device(ctranslate2.Device.cpu).to(ctranslate2.DataType.float32))
                part = ctranslate2.StorageView.from_array(np.ascontiguousarray(host[rows]))
            frames = [min(WHISPER_MAX_FRAMES, round(items[n].audio.duration_s * WHISPER_FRAMES_PER_S)) for n in rows]
            results = self._model.align(
                part, self._start(language, items[0].options.task), [hypotheses[n].tokens for n in rows], frames
            )
            for n, result in zip(rows, results, strict=True):
                hypotheses[n].words = self._words(hypotheses[n], result, items[n].audio.duration_s)

    def _words(self, hypothesis: _Hypothesis, alignment: Any, duration_s: float) -> tuple[Word, ...]:
        from faster_whisper.tokenizer import Tokenizer
        from faster_whisper.transcribe import merge_punctuations

        splitter = Tokenizer(self._tokenizer, True, task="transcribe", language=hypothesis.language)
        texts, groups = splitter.split_to_word_tokens([*hypothesis.tokens, splitter.eot])
        if not alignment.alignments:  # the window is shorter than one frame of the encoder
            return ()
        # The path pairs (token, frame); a token begins at the frame where the path first reaches it.
        tokens, frames = np.array(alignment.alignments).T
        begins = frames[np.diff(tokens, prepend=-1) > 0] / _ALIGNED_FRAMES_PER_S
        edges = np.cumsum([0, *(len(group) for group in groups[:-1])])
        found = [
            {
                "word": text,
                "tokens": group,
                "start": float(begins[first]),
                "end": float(begins[last]),
                "probability": float(np.mean(alignment.text_token_probs[first:last])),
            }
            for text, group, first, last in zip(texts[:-1], groups[:-1], edges[:-1], edges[1:], strict=True)
        ]
        for before, entry in pairwise(found):
            if entry["word"].startswith("-"):  # the splitter parts "cold-hearted" at the hyphen
                entry.update(word=before["word"] + entry["word"], start=before["start"])
                entry["probability"] = min(before["probability"], entry["probability"])
                before["word"] = ""
        merge_punctuations(found, _PREPENDED, _APPENDED)
        return tuple(
            Word(
                text=entry["word"].strip(),
                start_s=min(entry["start"], duration_s),
                end_s=min(entry["end"], duration_s),
                probability=entry["probability"],
            )
            for entry in found
            if entry["word"].strip()
        )

    def _segment(self, hypothesis: _Hypothesis, item: SpeechWindow) -> Segment:
        options = self.options
        unlikely = hypothesis.avg_logprob < options.silence_avg_logprob
        silent = unlikely and hypothesis.no_speech_prob > options.max_no_speech
        loop = _compression(hypothesis.text) > options.compression_ratio_threshold
        if silent or loop:
            why = "a loop" if loop else "no speech"
            logger.info("dropped %d characters as %s", len(hypothesis.text), why)
        kept = not (silent or loop)
        words = hypothesis.words if kept else ()
        return Segment(
            start_s=words[0].start_s if words else 0.0,
            end_s=words[-1].end_s if words else item.audio.duration_s,
            text=hypothesis.text if kept else "",
            language="en" if item.options.task == "translate" else hypothesis.language,
            words=words,
            language_probability=hypothesis.language_probability,
            avg_logprob=hypothesis.avg_logprob,
            no_speech_prob=hypothesis.no_speech_prob,
            entropy_nats=hypothesis.entropy_nats,
        )


@dataclass(slots=True)
class _Hypothesis:
    """What the decoder said about one window."""

    tokens: list[int]
    text: str
    language: str
    language_probability: float | None = None
    avg_logprob: float = 0.0
    no_speech_prob: float = 0.0
    entropy_nats: float | None = None
    words: tuple[Word, ...] = ()


_ALIGNED_FRAMES_PER_S = WHISPER_FRAMES_PER_S // 2  # the encoder halves its frames
_PREPENDED = "\"'“¿([{-"
_APPENDED = "\"'.。,，!！?？:：”)]}、"


def _compression(text: str) -> float:
    """How many times zlib shortens ``text``: above 2.4 it repeats itself (openai/whisper)."""
    data = text.encode()
    return len(data) / len(zlib.compress(data)) if data else 0.0


def _mean_entropy(steps: Sequence[Any]) -> float:
    """Mean entropy, in nats, of the distributions whose logits (vocabulary,) are given step by step."""
    if not steps:
        return 0.0
    logits = np.stack([np.array(step, dtype=np.float32) for step in steps]).astype(np.float64)
    logits -= logits.max(axis=-1, keepdims=True)
    mass = np.exp(logits)
    total = mass.sum(axis=-1)
    # log(0) is -inf for suppressed tokens, whose mass is 0
    return float(np.mean(np.log(total) - np.sum(np.where(mass > 0, mass * np.maximum(logits, -1e4), 0), -1) / total))


def _likeliest(found: Sequence[tuple[str, float]], languages: Sequence[str]) -> tuple[str, float]:
    """The likeliest of ``languages`` (empty: of all), and its probability given that it is one of them.

    ``found``: every language token and its probability.
    """
    among = {_code(token): p for token, p in found if not languages or _code(token) in languages}
    best = max(among, key=among.__getitem__)
    return best, among[best] / max(sum(among.values()), 1e-9)


def _code(token: str) -> str:
    """ "<|pt|>" -> "pt"."""
    return token.strip("<|>")


def _languages(tokenizer: Any) -> frozenset[str]:
    """The language tokens of a multilingual Whisper: they stand between the first special token and the tasks."""
    start, end = tokenizer.token_to_id("<|startoftranscript|>"), tokenizer.token_to_id("<|translate|>")
    return frozenset(_code(tokenizer.id_to_token(token)) for token in range(start + 1, end))
