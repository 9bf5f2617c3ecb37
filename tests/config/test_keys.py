from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from pipeline.config import read_secret
from pipeline.errors import UsageError

CANARY = "canary-0123456789"


def refusal(reference: str, **environ: str) -> str:
    with pytest.raises(UsageError) as caught:
        read_secret(reference, environ)
    assert caught.value.exit_code == 2
    assert CANARY not in caught.value.message
    assert CANARY.encode() not in pickle.dumps(caught.value.args)
    return caught.value.message


def key_file(folder: Path, mode: int = 0o600, content: bytes = CANARY.encode() + b"\n") -> Path:
    path = folder / "key"
    path.write_bytes(content)
    path.chmod(mode)
    return path


def test_a_secret_comes_from_the_variable_named() -> None:
    assert read_secret("env:A_KEY", {"A_KEY": f"  {CANARY}\n"}) == CANARY


def test_an_unset_variable_is_named() -> None:
    assert refusal("env:A_KEY") == (
        "the environment variable A_KEY is not set: it must hold the API key; "
        "export it, or write it into a .env beside the config"
    )


@pytest.mark.parametrize("value", ["", " \n"])
def test_an_empty_variable_is_named(value: str) -> None:
    assert refusal("env:A_KEY", A_KEY=value) == "the environment variable A_KEY is empty: it must hold the API key"


@pytest.mark.parametrize("value", [f"{CANARY} x", f"{CANARY}\r\nX-Evil: 1", f"{CANARY}é", f"{CANARY}\0"])
def test_what_no_header_can_hold_is_refused(value: str) -> None:
    assert refusal("env:A_KEY", A_KEY=value) == "the environment variable A_KEY holds characters that no API key has"


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_secret_comes_from_a_private_file(tmp_path: Path, mode: int) -> None:
    assert read_secret(f"file:{key_file(tmp_path, mode)}", {}) == CANARY


def test_a_link_to_a_private_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(key_file(tmp_path))
    assert read_secret(f"file:{tmp_path}/link", {}) == CANARY


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_a_file_that_others_may_open_is_refused(tmp_path: Path, mode: int) -> None:
    path = key_file(tmp_path, mode)
    assert refusal(f"file:{path}") == f"{path} holds a key, and others may read it: chmod 600 {path}"


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo", 0o600)
    assert refusal(f"file:{tmp_path}/fifo") == f"{tmp_path}/fifo holds a key but is no regular file"
    assert refusal(f"file:{tmp_path}").startswith(f"{tmp_path}")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert refusal(f"file:{tmp_path}/none") == f"{tmp_path}/none: no such file or directory"


@pytest.mark.parametrize("content", [b"", b"\n"])
def test_an_empty_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = key_file(tmp_path, content=content)
    assert refusal(f"file:{path}") == f"{path} is empty: it must hold the API key"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"a\0b", b"two\nlines"])
def test_a_file_that_holds_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = key_file(tmp_path, content=content)
    assert refusal(f"file:{path}") == f"{path} holds characters that no API key has"


@pytest.mark.parametrize(
    "reference", [CANARY, "", "env:", "file:", "env:A-B", "env:A B", "ENV:A", "env:A\n", "file:a\0"]
)
def test_a_literal_is_refused_and_not_repeated(reference: str) -> None:
    assert refusal(reference) == "api_key: must be env:NAME or file:PATH; a key itself must not be in a config"
