"""Certificates for tests of TLS."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate of localhost that signs itself, and its key. Skips where openssl is not installed."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes a certificate, is not installed here")
    cert, key = folder / "cert.pem", folder / "key.pem"
    name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    line = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", *name]
    subprocess.run([*line, "-keyout", str(key), "-out", str(cert), "-days", "2"], check=True, capture_output=True)
    return cert, key
