"""The certificate of a server."""

from __future__ import annotations

import ssl
from pathlib import Path

from mmpipe.errors import InputError


def server_context(cert: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 and later, with the certificate in ``cert`` (and those that vouch for it) and its private key.

    Raises:
        InputError: a file cannot be read, is none of PEM, or the two do not belong together.
    """
    for path, what in ((cert, "certificate"), (key, "key")):
        try:
            text = path.read_bytes()
        except OSError as error:
            raise InputError(
                f"The TLS {what} {str(path)!r} cannot be read: {error.strerror or error}. "
                "The user who runs the server must be able to."
            ) from error
        if b"-----BEGIN " not in text:
            raise InputError(f"The TLS {what} {str(path)!r} is not in PEM format: it must have a line -----BEGIN ...")

    def no_password() -> str:
        raise InputError(f"The TLS key {str(key)!r} has a password. Give one without, which only its owner can read.")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key, no_password)
    except ssl.SSLError as error:
        if "MISMATCH" in str(error):
            why = f"the key {str(key)!r} does not belong to the certificate {str(cert)!r}"
        else:
            why = f"{str(cert)!r} and {str(key)!r} do not hold a certificate and its private key ({error.reason})"
        raise InputError(f"TLS cannot be used: {why}.") from error
    context.set_alpn_protocols(["http/1.1"])
    return context
