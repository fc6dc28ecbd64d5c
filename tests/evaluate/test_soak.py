"""A soak: what it counts, what it injects, and one of a few seconds against a server of its own."""

from __future__ import annotations

import asyncio
import io
import json
import random
import struct
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mmpipe.audio import media
from mmpipe.errors import InputError
from mmpipe.evaluate import soak, soak_files, soak_load
from mmpipe.evaluate.reference import Reference, Utterance
from mmpipe.evaluate.soak_faults import Fault, Tally, Target, all_faults, inject, internal
from mmpipe.evaluate.soak_live import Heard, Ledger, Plan, lasting
from mmpipe.evaluate.soak_load import session_result
from mmpipe.evaluate.soak_material import Material, clipped
from mmpipe.evaluate.soak_page import PageError, _Outputs, find_functions
from mmpipe.evaluate.soak_report import as_json, bars, broken, rows
from mmpipe.evaluate.soak_result import SessionResult, Soak, growth, memory_growth
from mmpipe.evaluate.soak_server import Sample
from mmpipe.evaluate.soak_wire import BINARY, PING, TEXT, Raw, frame
from mmpipe.types import Audio, Segment, Word

Event = dict[str, Any]


def event(seq: int, kind: str = "committed", text: str = "he was", **more: Any) -> Event:
    times = {"emitted_s": seq + 1.0, "start_s": seq + 0.0, "end_s": seq + 0.5, "heard_until_s": seq + 0.9}
    words = [{"text": word, "start_s": seq + 0.0, "end_s": seq + 0.5, "probability": 1.0} for word in text.split()]
    return {"type": kind, "seq": seq, "text": text, "language": "en", **times, "words": words, **more}


def sample(at_s: float, resident_mb: float | None = 1_000.0, **more: Any) -> Sample:
    figures = {"children_mb": 0.0, "children": 0, "descriptors": 30, "threads": 50, "cpu_s": at_s, "health_s": 0.01}
    return Sample(at_s=at_s, resident_mb=resident_mb, **{**figures, "log_mb": 0.1, "disk_mb": 1.0, **more})


def an_hour(**more: Any) -> Soak:
    found = Soak({"settle_s": 420.0}, warmup_s=300.0, load_s=3_600.0)
    found.samples = [sample(10.0 * n) for n in range(361)]
    found.idle_before, found.idle_after, found.idle_after_s = sample(-1), sample(-1), 310.0
    for name, value in more.items():
        setattr(found, name, value)
    return found


def verdict(found: Soak, name: str) -> bool | None:
    (bar,) = [bar for bar in bars(found) if bar.name.startswith(name)]
    return bar.held


# --- statistics and bars ----------------------------------------------------------------------------------------------


def test_a_peak_is_no_growth_and_a_leak_is_one() -> None:
    at_s = [10.0 * n for n in range(360)]
    noise = np.random.default_rng(0).normal(0, 5, 360)
    peak = 1_000 + noise
    peak[100:110] = 3_000
    found = growth(at_s, peak.tolist())
    assert found is not None
    assert abs(found.share) < 0.01
    assert abs(found.per_hour) < 5
    leak = growth(at_s, (1_000 + noise + np.array(at_s) / 36).tolist())  # 100 MB an hour
    assert leak is not None
    assert leak.share == pytest.approx(0.09, abs=0.01)
    assert leak.per_hour == pytest.approx(100, abs=5)
    assert growth([1.0], [1.0]) is None


def test_memory_counts_from_the_warm_up_and_without_what_could_not_be_seen() -> None:
    samples = [sample(10.0 * n, 500.0 if n < 30 else 1_000.0) for n in range(200)]
    samples[100] = sample(1_000.0, None)
    found = memory_growth(samples, 300.0)
    assert found is not None
    assert found.before == found.after == 1_000


def test_an_hour_in_which_everything_holds_breaks_no_bar() -> None:
    assert not broken(an_hour())


def test_memory_that_grows_breaks_a_bar_but_not_that_of_a_run_too_short_to_tell() -> None:
    grown = [sample(10.0 * n, 1_000 + n) for n in range(361)]
    assert verdict(an_hour(samples=grown), "memory") is False
    assert verdict(an_hour(samples=grown, load_s=180.0, warmup_s=60.0), "memory") is None


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("the server lives", {"crashed": "it ended with status -11"}),
        ("health checks", {"samples": [sample(0), sample(10, health_s=None)]}),
        ("descriptors", {"idle_after": sample(-1, descriptors=60)}),
        ("threads", {"idle_after": sample(-1, threads=90)}),
        ("faults answered", {"tally": Tally({"malformed Origin": Counter({"HTTP 403": 9, "HTTP 500": 1})})}),
        ("faults that could not", {"tally": Tally({"idle connection": Counter({"not injected: KeyError": 1})})}),
    ],
)
def test_what_must_not_be_breaks_its_bar(name: str, more: dict[str, Any]) -> None:
    found = an_hour(**more)
    assert verdict(found, name) is False
    assert [bar.name for bar in bars(found) if bar.held is False] == [
        bar.name for bar in bars(found) if bar.name.startswith(name)
    ]


def test_what_was_stopped_before_its_end_is_not_judged() -> None:
    found = an_hour(idle_before=None, idle_after=None, samples=[], interrupted=True)
    assert verdict(found, "descriptors") is verdict(found, "threads") is verdict(found, "memory") is None
    assert not broken(found)


def test_refusals_of_all_kinds_are_fine_answers_and_internal_errors_are_not() -> None:
    assert not any(map(internal, ("HTTP 400", "HTTP 503", "reset", "closed 4400", "closed 1009", "left open")))
    assert all(map(internal, ("HTTP 500", "HTTP 502", "closed 1011", "closed 4500")))


# --- every event exactly once -----------------------------------------------------------------------------------------


def ledger() -> tuple[Ledger, Heard]:
    heard = Heard(0.0)
    return Ledger(heard), heard


def counts(heard: Heard) -> tuple[int, int, int, int, int]:
    return heard.repeated, heard.changed, heard.lost, heard.disordered, heard.audited


def test_events_after_a_resume_come_once() -> None:
    book, heard = ledger()
    for seq in (1, 2, 5):  # the gap was a partial that another replaced
        book.take(event(seq))
    book.resume(5)
    book.take(event(6))
    assert counts(heard) == (0, 0, 0, 0, 0)
    assert [one["seq"] for one in heard.events] == [1, 2, 5, 6]
    book.resume(6)
    book.take(event(6))
    assert counts(heard) == (1, 0, 0, 0, 0)
    assert heard.received == len(heard.events) == 4


def test_an_event_that_comes_again_with_other_words_has_changed() -> None:
    book, heard = ledger()
    book.take(event(1, text="he was"))
    book.resume(1)
    book.take(event(1, text="she was"))
    assert counts(heard) == (1, 1, 0, 0, 0)


def test_an_event_that_is_younger_than_one_before_is_out_of_order() -> None:
    book, heard = ledger()
    book.take(event(3))
    book.take(event(2))
    assert counts(heard) == (0, 0, 0, 1, 0)


def test_what_is_asked_for_again_is_compared_and_shows_what_never_came() -> None:
    book, heard = ledger()
    for seq in (1, 2, 4, 7):
        book.take(event(seq))
    book.resume(0)
    for seq in (1, 2, 3, 4):  # 3 was kept by the server, and had never come
        book.take(event(seq))
    book.take(event(5, "partial"))  # may be left out
    book.take(event(7, text="another"))
    book.take(event(8))
    book.take(event(8))  # nobody asked for that
    assert counts(heard) == (1, 1, 1, 0, 4)


def test_what_a_newer_event_replaces_may_be_missing() -> None:
    assert lasting(event(1)) and lasting(event(1, "translated", final=True)) and lasting(event(1, "spoken"))
    assert not (lasting(event(1, "partial")) or lasting(event(1, "stats")))
    assert not lasting(event(1, "translated", final=False))


def test_a_session_is_measured_against_what_is_spoken_and_against_offline() -> None:
    def reference(*texts: str) -> Reference:
        segments = [
            Segment(n + 0.0, n + 0.5, text, "en", (Word(text, n + 0.0, n + 0.5, 1.0),))
            for n, text in enumerate(texts, 1)
        ]
        return Reference(tuple(segments), len(texts) + 1.0)

    heard = Heard(0.0, events=[event(n, text=text) for n, text in enumerate(("one", "two", "four"), 1)])
    plan = Plan(
        Audio(np.zeros(16_000, np.float32)),
        reference("one", "two", "three", "four"),
        reference("one", "too", "four"),
        {},
    )
    found = session_result(plan, heard, said_s=3.6, began_at_s=100.0)
    assert found.report is not None
    assert found.offline is not None
    assert (found.report.words.right, found.report.words.wrong) == (2, 1)  # "four" was not said any more
    assert (found.offline.words.right, found.offline.words.wrong) == (2, 1)
    assert found.sentences == 3
    assert found.report.commit_emitted_s == (2.0, 3.0)
    failed = session_result(plan, replace(heard, failure="closed"), 3.6, 100.0)
    assert failed.report is failed.offline is None
    assert verdict(an_hour(sessions=[failed]), "sessions that failed") is False
    lost = SessionResult(0.0, 1.0, False, False, Heard(0.0, lost=1))
    assert verdict(an_hour(sessions=[lost]), "events lost") is False


def test_a_reference_is_cut_within_its_sentence() -> None:
    words = tuple(Word(text, n + 0.0, n + 0.5, 1.0) for n, text in enumerate(["one", "two", "three"]))
    found = clipped(Reference((Segment(0.0, 2.5, "one two three", "en", words),), 2.5), 1.7)
    assert [segment.text for segment in found.segments] == ["one two"]
    assert found.duration_s == 1.7


# --- the report -------------------------------------------------------------------------------------------------------


def test_the_report_has_delays_by_ten_minutes_faults_and_bars_and_nothing_that_was_said() -> None:
    segments = (Segment(1.0, 1.5, "amiable", "en", (Word("amiable", 1.0, 1.5, 1.0),)),)
    plan = Plan(Audio(np.zeros(32_000, np.float32)), Reference(segments, 2.0), Reference(segments, 2.0), {})
    sessions = [
        session_result(plan, Heard(0.0, events=[event(1, text="amiable")], cuts=1, resumed=2), 2.0, began_at_s)
        for began_at_s in (10.0, 700.0)
    ]
    found = an_hour(sessions=sessions, tally=Tally({"half-open connection": Counter({"closed": 3})}))
    table = list(rows(found))
    assert [(row["minutes"], row["words"]) for row in table if "minutes" in row] == [("0-10", 1), ("10-20", 1)]
    assert {"fault": "half-open connection", "injected": 3, "answers": "closed: 3"} in table
    assert sum("bar" in row for row in table) == len(bars(found))
    figures = {row["figure"]: row["value"] for row in table if "figure" in row}
    assert figures["connections cut / resumed"] == "2 / 4"
    text = json.dumps(as_json(found))
    assert "amiable" not in text
    assert len(json.loads(text)["samples"]) == 361


def test_a_soak_of_no_time_is_refused() -> None:
    with pytest.raises(InputError, match="some time"):
        soak.SoakOptions(minutes=0)


# --- faults -----------------------------------------------------------------------------------------------------------


def test_every_kind_of_fault_is_there_once() -> None:
    kinds = [fault.kind for fault in all_faults()]
    assert len(kinds) == len(set(kinds))
    assert {
        "half-open connection", "idle connection", "many connections at once", "slow headers", "slow body", "huge body",
        "malformed body", "malformed request", "foreign Host", "foreign Origin", "malformed Origin", "silent WebSocket",
        "pings never read", "flood of control frames", "flood of empty fragments", "malformed message",
        "absurd packets", "wrong resume tokens", "huge message", "sound too fast", "abandoned session",
        "hostile recording", "hostile picture", "damaged recording", "damaged picture", "forged path",
        "abandoned upload", "abandoned job", "abandoned question",
    } == set(kinds)  # fmt: skip


@pytest.fixture
def files(data: Path) -> soak_files.HostileFiles:
    pictures = tuple(path.read_bytes() for path in sorted((data / "pictures").glob("*.jpg")))
    return soak_files.HostileFiles(b"OggS" + bytes(400), pictures, Path("/nowhere.wav"))


def test_nothing_that_is_made_is_a_lossless_jpeg(files: soak_files.HostileFiles) -> None:
    rng = random.Random(1)
    made = [files.damaged_picture(rng)[1] for _ in range(500)]
    made += [soak_files.many_scans_jpeg(9_000, 9_000, progressive=progressive) for progressive in (False, True)]
    assert all(map(soak_files.harmless, made))
    assert not soak_files.harmless(b"\xff\xd8\xff\xc3")

    class Unlucky(random.Random):
        """Writes the marker of a lossless frame at first."""

        draws = 0

        def randrange(self, start: int, stop: int | None = None, step: int = 1) -> int:
            self.draws += 1
            forced = {1: 1, 2: 3, 3: 0xC3}.get(self.draws)
            return super().randrange(start, stop, step) if forced is None else forced

        def random(self) -> float:
            return 0.9

    base = b"\xff\xd8\xff\xc0" + bytes(500)
    for seed in range(20):
        assert soak_files.harmless(soak_files.mutated(base, Unlucky(seed)))


def test_pictures_say_that_they_are_large_and_are_small_as_files() -> None:
    made = {
        "PNG": soak_files.png(7_000, 6_000),
        "TIFF": soak_files.float_tiff(3_000, 2_000),
        "JPEG": soak_files.many_scans_jpeg(9_000, 8_000),
        "JPEG2000": soak_files.jpeg2000_header(8_000, 9_000),
    }
    sizes = {"PNG": (7_000, 6_000), "TIFF": (3_000, 2_000), "JPEG": (9_000, 8_000), "JPEG2000": (8_000, 9_000)}
    for form, content in made.items():
        assert len(content) < 40_000
        with Image.open(io.BytesIO(content)) as picture:
            assert (picture.format, picture.size) == (form, sizes[form])
    assert made["JPEG"].count(b"\xff\xda") == 3


def test_the_clock_of_a_webm_jumps(tmp_path: Path) -> None:
    path = tmp_path / "gap.webm"
    path.write_bytes(soak_files.jumping_webm(jump_s=5.0))
    assert len(path.read_bytes()) < 4_000
    assert 4.9 < media.load(path).duration_s < 5.2


def test_the_clock_of_an_ogg_jumps_and_its_pages_stay_valid(tmp_path: Path) -> None:
    path = tmp_path / "talk.ogg"
    media.save(Audio(0.1 * np.random.default_rng(0).standard_normal(160_000).astype(np.float32)), path)
    whole = path.read_bytes()
    assert soak_files.jumping_ogg(whole, jump=0) == whole  # with checksums computed anew
    jumped = soak_files.jumping_ogg(whole, jump=48_000 * 60)
    assert len(jumped) == len(whole)
    assert struct.unpack_from("<q", soak_files._ogg_pages(jumped)[-1], 6)[0] > 48_000 * 60


def test_a_frame_is_what_a_client_sends() -> None:
    assert frame(TEXT, b"hi") == b"\x81\x82\0\0\0\0hi"
    assert frame(PING, bytes(125))[:2] == b"\x89\xfd"
    assert frame(BINARY, bytes(300), last=False)[:4] == b"\x02\xfe\x01\x2c"
    assert frame(0, says=2**40)[:10] == b"\x80\xff" + (2**40).to_bytes(8, "big")


def test_answers_are_told_apart_and_mistakes_of_its_own_are_not_hidden() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if b"busy" in line:
            writer.write(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
        if b"wait" in line:
            with suppress(OSError):
                await reader.read()  # until the client has gone
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()
        over.set()

    over = asyncio.Event()

    async def all_of_them() -> Tally:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        tally = Tally()

        def asking(word: str) -> Fault:
            async def ask(target: Target) -> str:
                async with Raw(target.port, None) as raw:
                    await raw.send(f"GET /{word} HTTP/1.1\r\n".encode())
                    return await raw.held(0.2)

            return Fault(word, 1.0, ask)

        async def mistaken(target: Target) -> str:
            raise KeyError("trigger")

        target = Target(port, {}, soak_files.HostileFiles(b"", (), Path("x")), random.Random(0))
        async with server:
            for word in ("busy", "nothing", "wait"):
                over.clear()
                await inject(asking(word), target, tally)
                await over.wait()
            await inject(Fault("mistaken", 1.0, mistaken), target, tally)
        await inject(asking("nobody"), target, tally)
        return tally

    tally = asyncio.run(all_of_them())
    found = {kind: next(iter(answers)) for kind, answers in tally.answers.items()}
    assert found["busy"] == "HTTP 503"
    assert found["nothing"] == "closed"
    assert found["wait"] == "left open"
    assert found["nobody"] == "reset"
    assert found["mistaken"].startswith("not injected: KeyError")
    assert tally.not_injected == 1
    assert tally.injected == 4


# --- the page ---------------------------------------------------------------------------------------------------------


def test_the_functions_of_the_page_are_found_and_missed() -> None:
    names = ("rec-given", "rec-start", "pic-list", "pic-question")
    events = ("upload", "click", "upload", "submit")
    config: dict[str, Any] = {
        "components": [{"id": 10 + n, "props": {"elem_id": name}} for n, name in enumerate(names)],
        "dependencies": [{"id": n, "targets": [(10 + n, event)]} for n, event in enumerate(events)],
    }
    found = find_functions(config)
    assert (found["ask"].index, found["ask"].trigger) == (3, 13)
    config["dependencies"].pop()
    with pytest.raises(PageError, match="submit"):
        find_functions(config)


def test_outputs_are_put_together_from_what_changed() -> None:
    shown = _Outputs()
    assert not shown.take({"msg": "process_starts"})
    assert not shown.take(
        {"msg": "process_generating", "success": True, "output": {"data": ["Deco", {"a": [1]}, None]}}
    )
    changes = [[["append", [], "ding"]], [["add", ["a", 1], 2], ["replace", ["a", 0], 7]], []]
    assert not shown.take({"msg": "process_generating", "success": True, "output": {"data": changes}})
    assert shown.take({"msg": "process_completed", "success": True, "output": {"data": [[], [], []]}})
    assert shown.values == ["Decoding", {"a": [7, 2]}, None]
    with pytest.raises(PageError, match="too long"):
        _Outputs().take({"msg": "process_completed", "success": False, "output": {"error": "too long"}})


# --- a real one -------------------------------------------------------------------------------------------------------


def test_what_was_measured_is_kept_when_a_soak_is_stopped(tmp_path: Path) -> None:
    async def stopped() -> Soak:
        server = SimpleNamespace(url="http://127.0.0.1:1")
        found = Soak({}, 0.0, samples=[sample(1.0)])
        run = soak._Run(soak.SoakOptions(), Material([], [], []), tmp_path, server, found, (), lambda at_s, text: None)  # type: ignore[arg-type]
        run._whole = lambda http: asyncio.sleep(60)  # type: ignore[method-assign]
        task = asyncio.create_task(run.all())
        await asyncio.sleep(0.05)
        task.cancel()
        await task
        return found

    found = asyncio.run(stopped())
    assert found.interrupted
    assert found.samples
    assert ("stopped early", "yes") in [(row.get("figure"), row.get("value")) for row in rows(found)]


LEVEL, WORD = 0.005, 8_000  # as tests/serve/conftest.py spells


def spelled(words: tuple[int, ...]) -> Utterance:
    sound = np.zeros((len(words), WORD), np.float32)
    sound[:, : round(0.8 * WORD)] = ((np.array(words) + 1) * LEVEL)[:, None]
    texts = [f"w{n}" + "." * (n % 5 == 4) for n in words]
    timed = tuple(Word(text, n * 0.5, n * 0.5 + 0.4, 1.0) for n, text in enumerate(texts))
    return Utterance(Audio(sound.reshape(-1)), Segment(0.0, timed[-1].end_s, " ".join(texts), "en", timed))


def test_a_soak_of_seconds_over_engines_without_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(soak, "_QUIET_S", 0.2)
    monkeypatch.setattr(soak, "_PRIMING_S", 1.0)
    monkeypatch.setattr(soak_load, "MIN_SESSION_S", 1.0)
    server = Path(__file__).with_name("soak_server.py")
    said = [spelled(tuple(range(n, n + 5))) for n in (0, 5, 10)]
    kinds = {"malformed message", "wrong resume tokens", "foreign Origin", "half-open connection"}
    quick = [replace(fault, every_s=0.5) for fault in all_faults() if fault.kind in kinds]
    told: list[str] = []
    options = soak.SoakOptions(
        minutes=0.1, sessions=2, voices=1, session_s=6.0, recording_every_s=0, question_every_s=0, settle_s=0.0,
        sample_every_s=1.0, hold_s=1.0,
    )  # fmt: skip
    found = soak.soak(
        options,
        Material(said, said, [b"\xff\xd8"]),
        tmp_path,
        command=lambda port: [sys.executable, str(server), str(port)],
        faults=quick,
        tell=lambda at_s, text: told.append(text),
    )
    assert not found.crashed
    assert not found.interrupted
    assert len(found.sessions) == 2
    for session in found.sessions:
        assert not session.heard.failure
        assert session.report is not None
        assert session.report.words.right == session.report.words.reference > 0
        assert session.report.words.added <= 2  # one word ("w" and its number), in the middle of which the load ended
    assert sum(session.heard.audited for session in found.sessions) > 0
    assert found.tally.answers.keys() == kinds
    assert found.tally.internal_errors == found.tally.not_injected == 0
    assert len(found.samples) >= 5
    assert all(one.health_s is not None and one.resident_mb and one.threads > 1 for one in found.samples)
    assert not [bar for bar in bars(found) if bar.held is False and "idle again" not in bar.name]
    assert any("live" in text for text in told)
    for number, session in enumerate(found.sessions, 1):
        log = (tmp_path / f"session-{number:03}.jsonl").read_text().splitlines()
        assert len(log) == session.heard.received
