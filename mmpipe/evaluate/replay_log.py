"""From the log of a live session, one event a line, to the figures of its delay.

Any system can be measured whose log has these events: see ``docs/latency.md``.
"""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from mmpipe.errors import InputError
from mmpipe.evaluate.latency import (
    Chunk,
    Spread,
    TimedSentence,
    align_tokens,
    average_lagging,
    erasure,
    length_adaptive_average_lagging,
    resegment,
    stream_laal,
    tokens,
)
from mmpipe.evaluate.metrics import chrf, normalizer, word_error_rate
from mmpipe.evaluate.reference import Reference

#: One event of a log: what ``Event.as_dict()`` gives.
Record = dict[str, Any]

#: A sentence after a pause of this length begins an utterance: longer than what voice activity detection pads with.
UTTERANCE_PAUSE_S = 1.0
#: Times in a log are rounded to milliseconds.
_ROUNDING_S = 0.002


# --- the log ----------------------------------------------------------------------------------------------------------


def read_log(lines: Iterable[str]) -> list[Record]:
    """The events in ``lines``, an open file for example; blank lines are left out.

    Raises:
        InputError: a line is no JSON object with at least ``type`` and ``emitted_s``.
    """
    found: list[Record] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            record["type"], float(record["emitted_s"])
        except (ValueError, TypeError, KeyError) as error:
            raise InputError(
                f"Line {number} of the log is no event (a JSON object with type and emitted_s): {line[:80]!r}. "
                "A session that was killed leaves a last line that is cut off: delete it."
            ) from error
        found.append(record)
    return found


# --- what is found ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Lagging:
    """AL, LAAL and StreamLAAL of an output, by the sound heard and (``_ca``: computation-aware) by the wall clock.

    AL and LAAL take the whole session for one sentence: compare them only between sessions over the same recording.
    The audio-clock forms are None where the log does not say ``heard_until_s``.
    """

    al_s: float | None
    al_ca_s: float
    laal_s: float | None
    laal_ca_s: float
    stream_laal_s: float | None
    stream_laal_ca_s: float | None
    sentences: int  # of the reference
    empty_sentences: int  # of these, without output: StreamLAAL leaves them out


@dataclass(frozen=True, slots=True)
class Words:
    """Committed words against the reference, after Whisper's normalization. Each word of either is counted once."""

    reference: int
    committed: int
    right: int
    wrong: int  # another word stands in its place
    missing: int
    added: int
    repeated: int  # of the added ones, those where a run of words is said twice
    missing_sentences: int  # more than half of whose words are missing


@dataclass(frozen=True, slots=True)
class Integrity:
    """Promises that a log must keep: all of these should be 0."""

    changed: int  # events that were sent again, or sentences translated again for good, with another content
    backwards: int  # committed words that begin before what was committed already ends
    repeated_events: int
    missing_events: int  # gaps between sequence numbers
    uncommitted_translations: int  # final, of something that was never committed


@dataclass(frozen=True, slots=True)
class LiveReport:
    """All figures of one session. None: the log or the reference has nothing to measure it on."""

    first_caption: Spread | None  # from the start of an utterance to its first caption, partial or committed
    uncaptioned: int  # utterances without any
    commit_delays_s: tuple[float, ...]  # of each of the words that ``commit`` sums up,
    commit_emitted_s: tuple[float, ...]  # and when each was committed
    commit: Spread | None  # from the end of a word, as spoken, to its commit; words that were recognized right
    translated: Spread | None  # from the commit of a sentence's last word to its final translation
    voice_sent: Spread | None  # from the same to the first piece of its sound
    voice_heard: Spread | None  # the same for a player that plays one piece after the other
    transcript: Lagging | None
    translation: Lagging | None  # needs reference translations
    caption_erasure: float | None  # Normalized Erasure of all captions shown, partial and committed
    translation_erasure: float | None  # the same of drafts and final translations
    wer: float | None  # of all that was committed
    chrf: float | None  # of the translation, cut into the sentences of the reference
    words: Words
    integrity: Integrity
    real_time_factor: float | None
    lag: Spread | None  # of recognition behind the sound, over all Stats
    dropped_partials: int
    dropped_speech: int
    warnings: int
    ended: str | None  # the reason; None: the log ends without


def measure(log: Iterable[Record], reference: Reference) -> LiveReport:
    """All figures of the session that left ``log``.

    Raises:
        InputError: an event lacks a field that the figures need.
        MissingDependencyError: the extra ``eval`` is not installed.
    """
    try:
        return _measure(list(log), reference)
    except KeyError as error:
        raise InputError(f"An event of the log lacks the field {error}; docs/latency.md lists them.") from error


def _measure(log: list[Record], reference: Reference) -> LiveReport:
    events, integrity = _once(log)
    committed = [event for event in events if event["type"] == "committed"]
    translated = [event for event in events if event["type"] == "translated"]
    final = [event for event in translated if event["final"]]
    spoken = [event for event in events if event["type"] == "spoken"]
    stats = [event for event in events if event["type"] == "stats"]
    captions = [event for event in events if event["type"] in ("partial", "committed")]
    last_stats: Record = stats[-1] if stats else {}

    delays_s, emitted_s, words = _compare(committed, reference)
    first_s, uncaptioned = _first_captions(captions, reference)
    committed_s = _Commits(committed)
    translated_s, lost = committed_s.until(final)
    voice_s, _ = committed_s.until(_first_pieces(spoken))
    heard_s, _ = committed_s.until(_first_pieces(_played(spoken)))
    said = [segment.text for segment in reference.segments]
    language = reference.segments[0].language if reference.segments else ""
    text = " ".join(event["text"] for event in committed)
    return LiveReport(
        first_caption=Spread.of(first_s),
        uncaptioned=uncaptioned,
        commit_delays_s=tuple(delays_s),
        commit_emitted_s=tuple(emitted_s),
        commit=Spread.of(delays_s),
        translated=Spread.of(translated_s),
        voice_sent=Spread.of(voice_s),
        voice_heard=Spread.of(heard_s),
        transcript=_lagging(committed, reference, said),
        translation=_lagging(final, reference, reference.translations),
        caption_erasure=_flicker(captions, "committed"),
        translation_erasure=_flicker(translated, "final"),
        wer=word_error_rate([" ".join(said)], [text], language) if said else None,
        chrf=_chrf(final, reference),
        words=words,
        integrity=replace(integrity, uncommitted_translations=lost),
        real_time_factor=last_stats.get("real_time_factor"),
        lag=Spread.of([event["lag_s"] for event in stats]),
        dropped_partials=last_stats.get("dropped_partials", 0),
        dropped_speech=last_stats.get("dropped_speech", 0),
        warnings=sum(event["type"] == "warning" for event in events),
        ended=next((event["reason"] for event in reversed(events) if event["type"] == "ended"), None),
    )


def _once(log: list[Record]) -> tuple[list[Record], Integrity]:
    """Each event once, in the order of the sequence numbers, as a client has them after all its reconnections."""
    by_seq: dict[int, Record] = {}
    changed = repeated = 0
    for event in log:
        first = by_seq.setdefault(event["seq"], event)
        if first is not event:
            repeated += 1
            changed += first != event
    events = [by_seq[seq] for seq in sorted(by_seq)]
    backwards, until_s = 0, 0.0
    finals: dict[tuple[float, float, str], str] = {}
    for event in events:
        if event["type"] == "committed":
            backwards += sum(word["start_s"] < until_s - _ROUNDING_S for word in event["words"])
            until_s = max(until_s, _spoken_until(event))
        elif event["type"] == "translated" and event["final"]:
            key = (event["start_s"], event["end_s"], event["language"])
            changed += finals.setdefault(key, event["text"]) != event["text"]
    missing = max(by_seq) - min(by_seq) + 1 - len(by_seq) if by_seq else 0
    return events, Integrity(changed, backwards, repeated, missing, 0)


def _spoken_until(committed: Record) -> float:
    return float(committed["words"][-1]["end_s"] if committed["words"] else committed["end_s"])


# --- captions ---------------------------------------------------------------------------------------------------------


def _compare(committed: list[Record], reference: Reference) -> tuple[list[float], list[float], Words]:
    """Of each word that was recognized right the delay and the commit; and how all words were recognized.

    As Macháček, Dabre and Bojar (2023), "Turning Whisper into Real-Time Transcription System", words are paired by
    edit distance. Each word is normalized by itself; one that becomes two ("ill-disposed") lends both its time.
    """
    wanted = [
        (piece, word.end_s, n)
        for n, segment in enumerate(reference.segments)
        for word in segment.words
        for piece in _normalized(word.text, segment.language)
    ]
    got = [
        (piece, float(event["emitted_s"]))
        for event in committed
        for token in tokens(event["text"], event["language"])
        for piece in _normalized(token, event["language"])
    ]
    texts = [piece for piece, _ in got]
    delays_s: list[float] = []
    when_s: list[float] = []
    of_kind = {"equal": 0, "substitute": 0, "delete": 0, "insert": 0}
    repeated = 0
    missing, total = [0] * len(reference.segments), [0] * len(reference.segments)
    for chunk in align_tokens([piece for piece, _, _ in wanted], texts):
        ours = wanted[chunk.reference]
        of_kind[chunk.kind] += len(ours) or len(got[chunk.output])
        for _, _, n in ours:
            total[n] += 1
            missing[n] += chunk.kind == "delete"
        if chunk.kind == "equal":
            pairs = zip(ours, got[chunk.output], strict=True)
            for (_, end_s, _), (_, emitted_s) in pairs:
                delays_s.append(emitted_s - end_s)
                when_s.append(emitted_s)
        elif chunk.kind == "insert" and _says_again(texts, chunk):
            repeated += len(got[chunk.output])
    return (
        delays_s,
        when_s,
        Words(
            reference=len(wanted),
            committed=len(got),
            right=of_kind["equal"],
            wrong=of_kind["substitute"],
            missing=of_kind["delete"],
            added=of_kind["insert"],
            repeated=repeated,
            missing_sentences=sum(2 * lost > count for lost, count in zip(missing, total, strict=True)),
        ),
    )


@cache
def _normalized(word: str, language: str) -> tuple[str, ...]:
    return tuple(_normalizer(language)(word).split())


@cache
def _normalizer(language: str) -> Any:
    return normalizer(language)


def _says_again(texts: Sequence[str], added: Chunk) -> bool:
    """Whether as many words as were added are said twice in a row here.

    Where exactly does not count: of "a b c a b c", the edit distance may call any three neighbours the added ones.
    """
    start, stop = added.output.start, added.output.stop
    n = stop - start
    return any(texts[i : i + n] == texts[i + n : i + 2 * n] for i in range(max(0, start - 2 * n + 1), stop))


def _first_captions(captions: list[Record], reference: Reference) -> tuple[list[float], int]:
    """From the start of each utterance to the first caption of something in it.

    A caption belongs to the utterance when it begins after the middle of the pause before: recognized times may be a
    little off, and what was said before the pause may be committed after it.
    """
    delays_s: list[float] = []
    uncaptioned = 0
    shown = [event for event in captions if event["text"].strip()]
    before_s = -UTTERANCE_PAUSE_S
    utterances: list[list[float]] = []  # start, end, end of the one before
    for segment in reference.segments:
        if segment.start_s - before_s >= UTTERANCE_PAUSE_S:
            utterances.append([segment.start_s, segment.end_s, before_s])
        utterances[-1][1] = before_s = segment.end_s
    for start_s, end_s, before_s in utterances:
        from_s = (before_s + start_s) / 2
        found = next((e for e in shown if from_s <= e["start_s"] < end_s and e["emitted_s"] >= start_s), None)
        if found:
            delays_s.append(found["emitted_s"] - start_s)
        else:
            uncaptioned += 1
    return delays_s, uncaptioned


def _flicker(events: list[Record], settled: str) -> float | None:
    """Normalized Erasure of a text of which one part is settled and the rest is replaced by each new event.

    What is settled never goes, so only the unsettled rest is compared with what comes in its place.
    """
    shown: list[str] = []  # the rest that was shown last
    since: list[str] = []  # settled since then
    erased = length = 0
    for event in events:
        new = tokens(event["text"], event["language"])
        if event["type"] == settled or event.get(settled):
            since += new
            length += len(new)
        else:
            erased += erasure(shown, [*since, *new])
            shown, since = new, []
    erased += erasure(shown, since)
    return erased / length if length else None


# --- translations and voice -------------------------------------------------------------------------------------------


class _Commits:
    """When what was said until some time was committed."""

    def __init__(self, committed: list[Record]) -> None:
        self._until_s: list[float] = []
        self._emitted_s: list[float] = []
        for event in committed:
            until_s = _spoken_until(event)
            if not self._until_s or until_s > self._until_s[-1]:
                self._until_s.append(until_s)
                self._emitted_s.append(event["emitted_s"])

    def until(self, events: Iterable[Record]) -> tuple[list[float], int]:
        """From the commit of the last word of each event's sentence to the event; and events of no committed word."""
        delays_s: list[float] = []
        lost = 0
        for event in events:
            at = bisect_left(self._until_s, event["end_s"] - _ROUNDING_S)
            if at < len(self._until_s):
                delays_s.append(event["emitted_s"] - self._emitted_s[at])
            else:
                lost += 1
        return delays_s, lost


def _first_pieces(spoken: Iterable[Record]) -> list[Record]:
    """Of each sentence the first piece of sound."""
    first: dict[tuple[float, float], Record] = {}
    for event in spoken:
        first.setdefault((event["start_s"], event["end_s"]), event)
    return list(first.values())


def _played(spoken: Iterable[Record]) -> Iterator[Record]:
    """``spoken`` as a listener hears it: a piece begins when it is there and the one before has ended."""
    free_s = 0.0
    for event in spoken:
        begins_s = max(free_s, event["emitted_s"])
        free_s = begins_s + event["duration_s"]
        yield {**event, "emitted_s": begins_s}


def _lagging(output: list[Record], reference: Reference, texts: Sequence[str]) -> Lagging | None:
    """How far ``output`` lags behind ``texts``, those of the sentences of ``reference``."""
    timed = [(token, event) for event in output for token in tokens(event["text"], event["language"])]
    if not timed or not texts:
        return None
    language = output[0]["language"]
    sentences = [
        TimedSentence(segment.start_s, segment.end_s, tuple(tokens(text, language)))
        for segment, text in zip(reference.segments, texts, strict=True)
    ]
    parts = resegment([token for token, _ in timed], [sentence.tokens for sentence in sentences])
    length, source_s = sum(len(sentence.tokens) for sentence in sentences), reference.duration_s
    aware_s = [float(event["emitted_s"]) for _, event in timed]
    unaware_s = None
    if all("heard_until_s" in event for event in output):
        unaware_s = [float(event["heard_until_s"]) for _, event in timed]
    return Lagging(
        al_s=average_lagging(unaware_s, source_s, length) if unaware_s else None,
        al_ca_s=average_lagging(aware_s, source_s, length),
        laal_s=length_adaptive_average_lagging(unaware_s, source_s, length) if unaware_s else None,
        laal_ca_s=length_adaptive_average_lagging(aware_s, source_s, length),
        stream_laal_s=stream_laal(unaware_s, parts, sentences) if unaware_s else None,
        stream_laal_ca_s=stream_laal(aware_s, parts, sentences),
        sentences=len(sentences),
        empty_sentences=sum(part.start == part.stop for part in parts),
    )


def _chrf(final: list[Record], reference: Reference) -> float | None:
    if not final or not reference.translations:
        return None
    language = final[0]["language"]
    output = [token for event in final for token in tokens(event["text"], language)]
    parts = resegment(output, [tokens(text, language) for text in reference.translations])
    return chrf(reference.translations, [" ".join(output[part]) for part in parts])
