"""A conversation about pictures as HTML. All that visitors, pictures and models say is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import numpy as np

from mmpipe.demo.image_chat_session import ChatTurn
from mmpipe.demo.recording_view import problem

if TYPE_CHECKING:
    from mmpipe.pipelines.multimodal_qa import Evidence, PictureEvidence
    from mmpipe.types import Answer, TextLine

_ROWS = ("top", "upper", "middle", "lower", "bottom")
_COLUMNS = ("left", "centre-left", "centre", "centre-right", "right")
_PARTS_SHOWN = 3
_COUNTS = 0.01  # less than that is no loss
_EMPTY = """<p class="pic-empty">Add a picture, then ask about it: type, or press Speak and say it.<br>
It names what it sees and answers yes or no. It is a small model: where it cannot know, it says so.</p>"""


def conversation(turns: Sequence[ChatTurn]) -> str:
    """All turns, the newest last."""
    inside = "".join(map(_turn, turns)) or _EMPTY
    return f'<div class="pic-log" role="log" aria-label="Conversation" tabindex="0">{inside}</div>'


def _turn(turn: ChatTurn) -> str:
    thumbs = "".join(f'<img src="{_url(path)}" alt="{escape(path.name)}">' for path in turn.pictures)
    asked = escape(turn.asked) if turn.asked else "<em>spoken question</em>"
    mark = ' <span class="pic-heard">spoken</span>' if turn.heard and turn.asked else ""
    return (
        f'<div class="pic-turn"><div class="pic-asked">{f"<div class=pic-thumbs>{thumbs}</div>" if thumbs else ""}'
        f"<p>{asked}{mark}</p></div>{_reply(turn)}</div>"
    )


def _reply(turn: ChatTurn) -> str:
    parts = []
    if turn.text:
        language = f' lang="{escape(turn.answer.language)}"' if turn.answer else ""
        parts.append(f'<p class="pic-text"{language}>{escape(turn.text)}</p>')
    if turn.answer is not None:
        parts.append(f'<p class="pic-note">{escape(_note(turn.answer))}</p>')
    if turn.speech is not None:
        parts.append(f'<audio controls autoplay src="{_url(turn.speech)}" aria-label="The answer, spoken"></audio>')
    if turn.lines is not None and (turn.lines or turn.done):
        parts.append(_lines(turn.lines))
    if turn.evidence is not None:
        parts.append(_evidence(turn.evidence, turn.drawn))
    else:
        parts += [_figure(path, "The picture with its text translated") for path in turn.drawn]
    if turn.problem:
        parts.append(problem(turn.problem))
    if not turn.done:
        parts.append(
            '<p class="pic-waiting"><span></span><span></span><span></span><span class="pic-quiet">Working</span></p>'
        )
    return f'<div class="pic-reply">{"".join(parts)}</div>'


def _note(answer: Answer) -> str:
    if answer.read:
        return f"Read in the picture, {_sure(answer.confidence)} sure"
    if answer.refused and answer.said and answer.said.rstrip(".") != answer.text.rstrip("."):
        return f"Not sure enough. The likeliest would be: {answer.said} ({_sure(answer.confidence)})"
    return "It cannot be told from the picture" if answer.refused else f"{_sure(answer.confidence)} sure"


def _sure(probability: float) -> str:
    return f"{min(probability, 0.99):.0%}"  # nothing is certain


def _lines(lines: Sequence[TextLine]) -> str:
    if not lines:
        return '<p class="pic-text">There is no text that can be read.</p>'
    items = "".join(
        f'<li><span>{escape(line.text)}</span><span class="pic-note">{_sure(line.confidence)} sure</span></li>'
        for line in lines
    )
    return f'<ul class="pic-lines">{items}</ul>'


def _figure(path: Path, alt: str) -> str:
    return (
        f'<figure><img src="{_url(path)}" alt="{escape(alt)}">'
        f'<figcaption><a href="{_url(path)}" download="{escape(path.name)}">Download PNG</a></figcaption></figure>'
    )


def _evidence(evidence: Evidence, drawn: Sequence[Path]) -> str:
    alt = "The picture; what speaks for the answer, in warm colours; what the answer loses when a part is covered"
    pictures = "".join(
        _picture_evidence(picture, number, several=len(evidence.pictures) > 1)
        for number, picture in enumerate(evidence.pictures, start=1)
    )
    return f"{''.join(_figure(path, alt) for path in drawn)}{pictures}{_tokens(evidence)}"


def _picture_evidence(picture: PictureEvidence, number: int, *, several: bool) -> str:
    which = f"Picture {number}: " if several else ""
    seen = f"{which}the encoder sees {picture.label} ({picture.label_probability:.0%})." if picture.label else which
    return f'<p class="pic-text">{escape(seen[:1].upper() + seen[1:])}</p>{_parts(picture)}'


def _parts(picture: PictureEvidence) -> str:
    """The parts of the picture that the answer depends on most, and how much less likely it is without them."""
    lost = 1 - np.exp(-picture.occlusion.astype(float))
    strongest = sorted(np.ndindex(lost.shape), key=lambda place: -lost[place])[:_PARTS_SHOWN]
    rows = "".join(
        f"<tr><td>{_ROWS[row]} {_COLUMNS[column]}</td><td>{min(lost[row, column], 0.99):.0%} less likely</td></tr>"
        for row, column in strongest
        if lost[row, column] >= _COUNTS
    )
    if not rows:
        return '<p class="pic-note">No part decides alone: whichever is covered, the answer stays as likely.</p>'
    return (
        '<table class="pic-table"><thead><tr><th scope="col">Part of the picture</th>'
        f'<th scope="col">Covered, the answer gets</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _tokens(evidence: Evidence) -> str:
    """How much each token of the answer looked at the pictures."""
    looked = sum((picture.attention.sum(axis=1) for picture in evidence.pictures), np.zeros(len(evidence.tokens)))
    rows = "".join(
        f'<tr><td><code>{escape(token.strip() or "␣")}</code></td><td><span class="pic-bar" '
        f'style="--share: {share * 100:.1f}%"></span>{share:.1%}</td></tr>'
        for token, share in zip(evidence.tokens, looked, strict=True)
    )
    return (
        '<table class="pic-table"><thead><tr><th scope="col">Token of the answer</th>'
        f'<th scope="col">Share of its attention on the pictures</th></tr></thead><tbody>{rows}</tbody></table>'
    )


def _url(path: Path) -> str:
    # relative to the page, wherever a proxy shows it
    return f"gradio_api/file={quote(str(path))}"
