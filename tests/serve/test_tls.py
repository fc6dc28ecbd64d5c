"""https and wss, with a certificate that is made here; and what is wrong with one, said before anything is loaded."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from typer.testing import CliRunner

from mmpipe.cli.app import app as cli
from mmpipe.client import ClientOptions, LiveClient
from mmpipe.errors import InputError
from mmpipe.pipelines.live import CommittedEvent
from mmpipe.serve.network import NetworkOptions
from mmpipe.serve.server import Server

PATIENCE_S = 20


def certificate(folder: Path, password: bytes | None = None) -> tuple[Path, Path]:
    """For this machine, signed by itself: certificate and key."""
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = folder / "cert.pem", folder / "key.pem"
    cert_path.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    hidden = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    key_path.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hidden))
    return cert_path, key_path


@asynccontextmanager
async def serving(manager: Any, cert: Path, key: Path, **limits: Any) -> AsyncIterator[tuple[Server, int]]:
    server = Server(manager, port=0, network=NetworkOptions(tls_cert=cert, tls_key=key, **limits))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    try:
        yield server, int(server.servers[0].sockets[0].getsockname()[1])
    finally:
        server.should_exit = True
        await asyncio.wait_for(running, PATIENCE_S)


def run(talk: Any) -> None:
    asyncio.run(asyncio.wait_for(talk, 60))


def test_a_client_hears_every_word_over_wss(rig: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cert, key = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))  # whom the client believes
    words = list(range(10))

    async def talk() -> None:
        async with (
            serving(rig.manager(), cert, key) as (_, port),
            LiveClient(f"wss://localhost:{port}", ClientOptions(source="en")) as client,
        ):
            sound = rig.spell(words)
            for at in range(0, len(sound), 1600):
                await client.send(sound[at : at + 1600])
            await client.finish()
            heard = [event.text async for event in client if isinstance(event, CommittedEvent)]
            assert " ".join(heard) == rig.text(words)

    run(talk())


def test_it_speaks_tls_1_2_and_later_and_knows_that_it_does(rig: Any, tmp_path: Path) -> None:
    cert, key = certificate(tmp_path)

    async def talk() -> None:
        async with serving(rig.manager(), cert, key) as (_, port):
            for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                context = ssl.create_default_context(cafile=str(cert))
                context.minimum_version = context.maximum_version = version
                reader, writer = await asyncio.open_connection("localhost", port, ssl=context)
                writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert b"200 OK" in await asyncio.wait_for(reader.read(), PATIENCE_S)
                writer.close()

    run(talk())
    with pytest.warns(DeprecationWarning):
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        old.minimum_version = ssl.TLSVersion.TLSv1_1
    from mmpipe.serve.tls import server_context

    assert server_context(cert, key).minimum_version == ssl.TLSVersion.TLSv1_2


def test_handshakes_that_are_not_finished_end_and_plain_text_is_no_traceback(
    rig: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cert, key = certificate(tmp_path)

    async def talk() -> None:
        async with serving(rig.manager(), cert, key, request_timeout_s=0.3) as (server, port):
            for sent in (b"", b"\x16\x03\x01\x02\x00\x01", b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(sent)
                with suppress(ConnectionError):
                    assert b"200" not in await asyncio.wait_for(reader.read(), PATIENCE_S)
                writer.transport.abort()
            async with asyncio.timeout(PATIENCE_S):
                while len(server.open_connections):
                    await asyncio.sleep(0.005)

    run(talk())
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


def test_a_half_and_a_wrong_pair_are_refused_with_what_is_wrong(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path / "one")
    _, other = certificate(tmp_path / "other")
    _, hidden = certificate(tmp_path / "hidden", b"secret")
    (tmp_path / "empty.pem").write_text("")
    (tmp_path / "damaged.pem").write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
    for given, why in (
        ({"tls_cert": cert}, "--tls-key is missing"),
        ({"tls_key": key}, "--tls-cert is missing"),
        ({"tls_cert": tmp_path / "none.pem", "tls_key": key}, "No such file"),
        ({"tls_cert": tmp_path, "tls_key": key}, "Is a directory"),
        ({"tls_cert": tmp_path / "empty.pem", "tls_key": key}, "PEM"),
        ({"tls_cert": tmp_path / "damaged.pem", "tls_key": key}, "do not hold a certificate"),
        ({"tls_cert": cert, "tls_key": other}, "does not belong"),
        ({"tls_cert": cert, "tls_key": hidden}, "has a password"),
    ):
        with pytest.raises(InputError, match=why):
            NetworkOptions(**given)  # type: ignore[arg-type]


@pytest.mark.parametrize("command", ["serve", "demo"])
def test_the_commands_say_so_before_a_model_is_loaded(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MMPIPE_CACHE", str(tmp_path))
    monkeypatch.setenv("MMPIPE_OFFLINE", "1")  # so loading would fail, too, and with other words
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    cert, _ = certificate(tmp_path / "one")
    _, other = certificate(tmp_path / "other")
    result = CliRunner().invoke(cli, [command, "--port", port, "--tls-cert", str(cert), "--tls-key", str(other)])
    assert result.exit_code == 1
    assert "does not belong to the certificate" in " ".join(result.output.split())
