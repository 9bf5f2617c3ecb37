"""Certificates for servers on loopback."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def certificate(folder: Path, address: str, *, expired: bool = False) -> tuple[Path, Path]:
    """Make a certificate for an IP address that is its own authority, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("the openssl command is not installed")
    cert, key, config = (folder / name for name in ("cert.pem", "key.pem", "ca.cnf"))
    config.write_text(
        f"[ca]\ndefault_ca=d\n[d]\ndatabase=index\nrand_serial=yes\nnew_certs_dir=.\ndefault_md=sha256\n"
        f"policy=p\n[p]\ncommonName=supplied\n[e]\nsubjectAltName=IP:{address}\n"
    )
    (folder / "index").touch()
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=faults"]
    days = ["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"] if expired else ["-days", "2"]
    signed = ["-batch", "-selfsign", "-config", str(config), "-extensions", "e", "-keyfile", str(key), "-notext"]
    for command in (
        ["req", "-new", *curve, "-keyout", str(key), "-out", "request.pem"],
        ["ca", *signed, "-in", "request.pem", "-out", str(cert), *days],
    ):
        subprocess.run(["openssl", *command], cwd=folder, check=True, capture_output=True, timeout=30)
    return cert, key
