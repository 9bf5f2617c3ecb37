"""Vocabularies are found, unpacked once, and never waited for on a network."""

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import tiktoken.registry

from pipeline.storage import vocabulary

CL100K = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"
O200K = "fb374d419588a4632f3f557e76b4b70aebbca790"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing cached anywhere; returns where our own cache will be."""
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "tiktoken"))
    return tmp_path / "cache" / "pipeline" / "tiktoken"


def tokens(name: str) -> list[int]:
    encoding = vocabulary.load(name)
    assert encoding is not None
    return encoding.encode_ordinary("tiktoken is great!")


def test_the_shipped_vocabularies_are_unpacked_where_tiktoken_finds_them(cache: Path) -> None:
    assert tokens("cl100k_base") == [83, 1609, 5963, 374, 2294, 0]
    assert tokens("o200k_base") == [83, 8251, 2488, 382, 2212, 0]

    assert sorted(file.name for file in cache.iterdir()) == [CL100K, O200K]
    assert {file.stat().st_mode & 0o777 for file in cache.iterdir()} == {0o600}
    assert cache.stat().st_mode & 0o777 == 0o700


def test_an_encoding_built_on_another_shares_its_file(cache: Path) -> None:
    assert tokens("o200k_harmony") == [83, 8251, 2488, 382, 2212, 0]
    assert [file.name for file in cache.iterdir()] == [O200K]


def test_the_environment_is_as_it_was(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = dict(os.environ)
    vocabulary.load("cl100k_base")
    assert dict(os.environ) == before

    monkeypatch.delenv("TIKTOKEN_CACHE_DIR")
    vocabulary.load("o200k_base")
    assert "TIKTOKEN_CACHE_DIR" not in os.environ


def test_a_vocabulary_in_tiktokens_own_cache_is_used_and_not_copied(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    vocabulary.load("cl100k_base")
    theirs = tmp_path / "tiktoken"
    cache.rename(theirs)
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})

    assert tokens("cl100k_base") == [83, 1609, 5963, 374, 2294, 0]
    assert not cache.exists()


def test_a_damaged_file_is_replaced(cache: Path) -> None:
    cache.mkdir(parents=True)
    (cache / CL100K).write_bytes(b"half a vocabul")

    assert tokens("cl100k_base") == [83, 1609, 5963, 374, 2294, 0]
    assert hashlib.sha256((cache / CL100K).read_bytes()).hexdigest().startswith("223921b7")


def test_without_a_place_to_write_it_is_unpacked_for_this_process(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))

    assert tokens("cl100k_base") == [83, 1609, 5963, 374, 2294, 0]
    assert not cache.exists()


def test_without_home_and_user_it_still_loads(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "~")

    assert tokens("cl100k_base") == [83, 1609, 5963, 374, 2294, 0]


def test_what_is_neither_cached_nor_shipped_is_none(cache: Path) -> None:
    assert vocabulary.load("p50k_base") is None
    assert vocabulary.load("gpt2") is None
    assert vocabulary.load("no_such_encoding") is None


def test_processes_that_race_all_find_a_whole_vocabulary(cache: Path) -> None:
    code = "from pipeline.storage.vocabulary import load; print(len(load('cl100k_base').encode('hello world')))"
    racers = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]

    assert [racer.communicate(timeout=60)[0].strip() for racer in racers] == ["2", "2", "2"]
    assert [file.name for file in cache.iterdir()] == [CL100K]


class _Origin(BaseHTTPRequestHandler):
    release = threading.Event()

    def do_GET(self) -> None:
        if self.path == "/never":
            self.release.wait(10)
            return
        self.send_response(404 if self.path == "/missing" else 200)
        self.end_headers()
        for _ in range(100 if self.path == "/drips" else 0):
            self.wfile.write(b"v")
            self.release.wait(0.05)
        self.wfile.write(b"vocabulary")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def origin() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Origin)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    _Origin.release.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_download_gives_the_bytes_or_none_and_never_waits_long(origin: str) -> None:
    assert vocabulary.fetch(f"{origin}/there") == b"vocabulary"
    assert vocabulary.fetch(f"{origin}/missing") is None
    assert vocabulary.fetch(f"{origin}/never", seconds=0.1) is None
    assert vocabulary.fetch(f"{origin}/drips", seconds=0.2) is None
    assert vocabulary.fetch("http://127.0.0.1:1/refused") is None


def test_a_download_is_believed_only_with_the_right_hash(
    cache: Path, origin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vocabulary, "_url", lambda name: f"{origin}/{name}")

    assert vocabulary.load("p50k_base", download=True) is None
    assert not cache.exists()
