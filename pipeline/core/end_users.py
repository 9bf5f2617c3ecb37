"""End users' ids never leave as they are: the provider sees a keyed hash, the same for the same user every time.

An id is `user`, or the `safety_identifier` that supersedes it where the API knows that field. Without the local secret
nobody can tell from the hash who it was, not even by trying all names. Source: OpenAI's guidance on safety identifiers.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Mapping, Sequence

import orjson

from pipeline.job import Job
from pipeline.types import Item, Json

_NEW, _OLD = "safety_identifier", "user"
_KNOW_NEW = frozenset({"/chat/completions", "/responses"})
_HASH = re.compile(r"[0-9a-f]{64}")


def hidden(user_id: Json, secret: bytes) -> str:
    """Return HMAC-SHA256 of an id in hexadecimal, 64 characters, the most that the API takes; a hash stays one."""
    if isinstance(user_id, str) and _HASH.fullmatch(user_id):
        return user_id
    text = user_id if isinstance(user_id, str) else orjson.dumps(user_id).decode()
    return hmac.digest(secret, text.encode(), "sha256").hex()


class HidesEndUsers:
    """A job whose request bodies hold no end user's id.

    Args:
        job: Any job.
        secret: Returns the local secret; asked when the first id comes.
    """

    def __init__(self, job: Job, secret: Callable[[], bytes]) -> None:
        self._job = job
        self._secret = secret
        self.path = job.path
        self.max_items = job.max_items
        self.render, self.split, self.fields = job.render, job.split, job.fields

    def body(self, items: Sequence[Item]) -> Mapping[str, Json]:
        body = self._job.body(items)
        if _OLD not in body and _NEW not in body:
            return body
        user_id = body.get(_NEW) or body.get(_OLD)
        rest = {key: value for key, value in body.items() if key not in {_OLD, _NEW}}
        if user_id is None:
            return rest
        return {**rest, _NEW if self.path in _KNOW_NEW else _OLD: hidden(user_id, self._secret())}
