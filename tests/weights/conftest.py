"""Small models, and the places they come from: a Python package index, an npm registry and a hub on this machine."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import sys
import tarfile
import threading
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import pytest

from mmpipe.weights import huggingface, manifest


class FakeWeb:
    """Serves bytes by path on 127.0.0.1, and counts what was asked for.

    A path put into ``stalls`` is served to its half; then the event ``stalled`` is set and the rest waits for
    ``go_on``. What :meth:`put_endless` offers does not say how long it is; ``sent`` counts what clients took of it.
    """

    def __init__(self) -> None:
        self.pages: dict[str, tuple[bytes, dict[str, str]]] = {}
        self.asked: Counter[str] = Counter()
        self.endless: dict[str, tuple[bytes, int, int]] = {}
        self.sent: Counter[str] = Counter()
        self.stalls: set[str] = set()
        self.stalled = threading.Event()
        self.go_on = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def put(self, path: str, content: bytes, **headers: str) -> None:
        self.pages[path] = content, {name.replace("_", "-"): value for name, value in headers.items()}

    def put_endless(
        self, path: str, size_bytes: int, status: int = 200, piece: bytes = bytes(1 << 16), **headers: str
    ) -> None:
        self.put(path, b"weights", **headers)  # of that length, if one asks before
        self.endless[path] = piece * -(-(1 << 16) // len(piece)), size_bytes, status

    def put_wheel(self, package: str, wheel: Path) -> str:
        """Offer ``wheel`` as the only one of ``package``, and give its path."""
        path = f"/files/{wheel.name}"
        self.put(path, wheel.read_bytes())
        self.put(f"/simple/{package}/", f'<a href="{path}">{wheel.name}</a>'.encode(), Content_Type="text/html")
        return path

    def put_npm(self, package: str, version: str, tarball: bytes) -> str:
        path = f"/{package}/-/{package}-{version}.tgz"
        self.put(path, tarball)
        digest = "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()
        dist = {"tarball": self.url + path, "integrity": digest}
        about = {"name": package, "version": version, "dist": dist}
        self.put(f"/{package}/{version}", json.dumps(about).encode())
        everything = {"name": package, "dist-tags": {"latest": version}, "versions": {version: about}}
        self.put(f"/{package}", json.dumps(everything).encode(), Content_Type="application/json")
        return path

    def put_repository(self, name: str, commit: str, files: dict[str, bytes], large: frozenset[str]) -> None:
        """Offer a model repository of the hub. Of ``large`` files the hub publishes the SHA-256."""
        siblings = []
        for file, content in files.items():
            sha256 = hashlib.sha256(content).hexdigest()
            lfs = {"sha256": sha256, "size": len(content), "pointerSize": 130} if file in large else None
            siblings.append({"rfilename": file, "size": len(content), "blobId": "0" * 40, "lfs": lfs})
            tags = {"ETag": f'"{sha256}"', "X_Repo_Commit": commit}
            for revision in (commit, "main"):
                self.put(f"/{name}/resolve/{revision}/{file}", content, **tags)
        about = {"id": name, "sha": commit, "siblings": siblings, "cardData": {"license": "mit"}, "tags": []}
        for path in (f"/api/models/{name}", f"/api/models/{name}/revision/{commit}"):
            self.put(path, json.dumps(about).encode(), Content_Type="application/json")

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        web = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self) -> None:
                self._answer(body=False)

            def do_GET(self) -> None:
                self._answer(body=True)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

            def _answer(self, *, body: bool) -> None:
                path = self.path.partition("?")[0]
                web.asked[f"{self.command} {path}"] += 1
                if path not in web.pages:
                    self.send_error(404)
                    return
                content, headers = web.pages[path]
                piece, size_bytes, status = web.endless.get(path, (b"", 0, 200))
                length = {} if piece and body else {"Content-Length": str(len(content))}
                self.send_response(status)
                for name, value in {**length, **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                if not body:
                    return
                half = len(content) // 2
                try:
                    while web.sent[path] < size_bytes:
                        self.wfile.write(piece)
                        web.sent[path] += len(piece)
                    self.wfile.write(content[:half])
                    if path in web.stalls:
                        web.stalled.set()
                        web.go_on.wait(60)
                    self.wfile.write(content[half:])
                except ConnectionError:  # the client was killed: that is what some tests do
                    self.close_connection = True

        return Handler


@pytest.fixture
def web() -> Iterator[FakeWeb]:
    web = FakeWeb()
    yield web
    web.close()


@pytest.fixture(autouse=True)
def closed_world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but the test's own, an empty cache, and no registry or hub that answers."""
    for variable in os.environ:
        if variable.upper().startswith(("MMPIPE_", "PIP_", "NPM_CONFIG_", "HF_")) or "PROXY" in variable.upper():
            monkeypatch.delenv(variable)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MMPIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    monkeypatch.setenv("npm_config_fetch_retries", "0")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "home").mkdir()
    (tmp_path / "wheels").mkdir()
    huggingface.answers.cache_clear()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def wheel(tmp_path: Path) -> Callable[..., Path]:
    """Make a wheel that pip finds: ``wheel("package", "1.0", {"package/part.bin": b"..."})``."""

    def make(package: str, version: str, files: dict[str, bytes], folder: Path = tmp_path / "wheels") -> Path:
        stem = f"{package.replace('-', '_')}-{version}"
        path = folder / f"{stem}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
            archive.writestr(
                f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n"
            )
            archive.writestr(
                f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            archive.writestr(f"{stem}.dist-info/RECORD", "")
        return path

    return make


@pytest.fixture
def tarball() -> Callable[[dict[str, bytes]], bytes]:
    """Make an npm package; a ``package.json`` is added."""

    def make(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for name, content in {"package/package.json": b'{"name": "p", "version": "1.0.0"}', **files}.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
            for name, target in (links or {}).items():
                info = tarfile.TarInfo(name)
                info.type, info.linkname = tarfile.SYMTYPE, target
                archive.addfile(info)
        return buffer.getvalue()

    return make


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., None]:
    """Put one model in the place of the manifest: ``known("tiny", {"model.bin": b"..."}, pypi={...})``.

    The manifest is also written to ``tmp_path / "manifest.toml"``, for tests that start processes.
    """

    def make(name: str, files: dict[str, bytes], restricted: str = "", **sources: dict[str, str | list[str]]) -> None:
        text = [
            f'["{name}"]',
            'what = "a test"',
            'task = "testing"',
            'license = "MIT"',
            'upstream = "here"',
            restricted,
        ]
        text.append(f'["{name}".files]')
        for file, content in files.items():
            digest = hashlib.sha256(content).hexdigest()
            text.append(f'"{file}" = {{ size_bytes = {len(content)}, sha256 = "{digest}" }}')
        for kind, parts in sources.items():
            text.append(f'["{name}".{kind}]')
            text += [f"{json.dumps(file)} = {json.dumps(places)}" for file, places in parts.items()]
        (tmp_path / "manifest.toml").write_text("\n".join(text), "utf-8")
        entries = manifest.parse("\n".join(text))
        monkeypatch.setattr(manifest, "entries", lambda: entries)

    return make


PROGRAM = """
import logging, pathlib, sys
logging.basicConfig(level="INFO", stream=sys.stderr)
from mmpipe.weights import fetch, manifest
entries = manifest.parse(pathlib.Path(sys.argv[1]).read_text())
manifest.entries = lambda: entries
print(fetch("tiny", progress=lambda *step: print(*step, file=sys.stderr, flush=True)))
"""


@pytest.fixture
def command(tmp_path: Path) -> list[str]:
    """A program that fetches "tiny" of the manifest that ``known`` wrote, and says on stderr what it does."""
    return [sys.executable, "-c", PROGRAM, str(tmp_path / "manifest.toml")]
