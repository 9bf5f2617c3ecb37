"""What the simulator writes: words derived from the prompt, so that a test can tell whose answer it is reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

WORDS = (  # noqa: SIM905  a list would take a line a word
    "apple ball bird black blue book box car city clear cloud cold corn day door dream "
    "east field fire fish five flower food four game glass gold good green hand heart home "
    "horse house table king lake leaf light line lion map moon tree water music night north "
    "wood open paper red river road rock rose sea silver sky snow star stone street summer"
).split()
"""64 words that are one cl100k_base token each, with and without a space before them."""

_SHORTEST = 8
_SPREAD = 8


def expected_text(prompt: str, choice: int = 0, max_tokens: int | None = None) -> str:
    """Return the text that the simulator answers to `prompt`.

    8 to 15 words, one token each, chosen by the SHA-256 of the choice's number and the prompt; two prompts share
    an answer with a chance of at most 2**-48.

    Args:
        prompt: The prompt, or `chat_prompt` of a conversation.
        choice: The choice's number within its prompt, from 0.
        max_tokens: The most tokens that the request allows; the text is cut there.
    """
    return " ".join(expected_words(prompt, choice)[:max_tokens])


def expected_words(prompt: str, choice: int = 0) -> list[str]:
    """Return the words of `expected_text`."""
    digest = sha256(b"%d\0" % choice + prompt.encode()).digest()
    count = _SHORTEST + digest[-1] % _SPREAD
    return [WORDS[byte % len(WORDS)] for byte in digest[:count]]


def chat_prompt(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return a conversation as one text: a line `role: content` for each message."""
    return "\n".join(f"{message['role']}: {message_text(message)}" for message in messages)


def message_text(message: Mapping[str, Any]) -> str:
    """Return the text of one message, whose content is a text, null, or a list of parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text", "") for part in content)
