"""A certificate authority and a server certificate for 127.0.0.1 and localhost, made by openssl."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Certificates:
    """``authority`` is the file a client trusts; ``server`` the context of a server it signed."""

    authority: Path
    server: ssl.SSLContext


def make_certificates(folder: Path) -> Certificates:
    """Fresh ones in ``folder``; the test skips where there is no openssl program."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl program to make a certificate with")

    def run(*words: str) -> None:
        subprocess.run([openssl, *words], cwd=folder, check=True, capture_output=True)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    run(
        *("req", "-x509", *curve, "-days", "2", "-subj", "/CN=Test authority"),
        *("-keyout", "authority.key", "-out", "authority.pem"),
        *("-addext", "basicConstraints=critical,CA:TRUE"),
    )
    run(
        *("req", *curve, "-subj", "/CN=localhost"),
        *("-keyout", "server.key", "-out", "server.csr"),
    )
    (folder / "names").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n", encoding="utf-8")
    run(
        *("x509", "-req", "-in", "server.csr", "-days", "2", "-CA", "authority.pem"),
        *("-CAkey", "authority.key", "-CAcreateserial", "-extfile", "names"),
        *("-out", "server.pem"),
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return Certificates(folder / "authority.pem", context)
