"""What somebody's words quote of a conversation, taken out of them. Pure.

An error's message may hold pieces of the request it is about; where the message is kept, they must
not be.
"""

from __future__ import annotations

from collections.abc import Iterable

from .models import ChatRequest

ECHO = 12
"""The least number of characters in a row that counts as a quotation."""
QUOTED = "[…]"


def said(request: ChatRequest, answer: str | None = None) -> list[str]:
    """Every text of a request, and of its answer as far as it came."""
    texts = [answer] if answer else []
    for message in request.messages:
        if isinstance(message.content, str):
            texts.append(message.content)
        else:
            texts += [text for part in message.content for text in (part.text, part.data) if text]
        texts += [call.raw_arguments for call in message.tool_calls if call.raw_arguments]
    return texts


def without_echo(words: str, texts: Iterable[str]) -> str:
    """``words`` as one line, with every run of :data:`ECHO` characters or more that stands in one
    of ``texts`` taken out, and every whole text of four or more."""
    words = " ".join(words.split())
    hidden = bytearray(len(words))
    for text in texts:
        line = " ".join(text.split())
        if 4 <= len(line) < ECHO:
            start = words.find(line)
            while start >= 0:
                hidden[start : start + len(line)] = b"\x01" * len(line)
                start = words.find(line, start + 1)
        for start in range(len(words) - ECHO + 1):
            if words[start : start + ECHO] in line:
                hidden[start : start + ECHO] = b"\x01" * ECHO
    if not any(hidden):
        return words
    kept: list[str] = []
    for letter, hide in zip(words, hidden, strict=True):
        if not hide:
            kept.append(letter)
        elif not kept or kept[-1] != QUOTED:
            kept.append(QUOTED)
    return "".join(kept)
