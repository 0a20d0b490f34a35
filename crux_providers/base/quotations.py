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


GRAM = 6
"""Of each run of ECHO characters, the piece that is looked up first; a prompt may be long, and most
of it shares nothing with the words."""
DATA_HEAD = 400
"""Of an image or document the beginning is compared; nobody quotes from its middle."""


def said(request: ChatRequest, answer: str | None = None) -> list[str]:
    """Every text of a request, and of its answer as far as it came."""
    texts = [answer] if answer else []
    for message in request.messages:
        if isinstance(message.content, str):
            texts.append(message.content)
        else:
            texts += [part.text for part in message.content if part.text]
            texts += [part.data[:DATA_HEAD] for part in message.content if part.data]
        texts += [call.raw_arguments for call in message.tool_calls if call.raw_arguments]
    return texts


def without_echo(words: str, texts: Iterable[str]) -> str:
    """``words`` as one line, with every run of :data:`ECHO` characters or more that stands in one
    of ``texts`` taken out, and every whole text of four or more."""
    words = " ".join(words.split())
    grams = {words[start : start + GRAM] for start in range(len(words) - GRAM + 1)}
    hidden = bytearray(len(words))
    for text in texts:
        line = " ".join(text.split())
        if 4 <= len(line) < ECHO:
            _hide(hidden, words, line)
            continue
        looked_at: set[str] = set()
        # Whatever ECHO characters they share, one of these pieces lies within them.
        for place in range(0, len(line) - GRAM + 1, ECHO - GRAM + 1):
            if line[place : place + GRAM] not in grams:
                continue
            around = line[max(0, place + GRAM - ECHO) : place + ECHO]
            if around not in looked_at:
                looked_at.add(around)
                for start in range(len(around) - ECHO + 1):
                    _hide(hidden, words, around[start : start + ECHO])
    if not any(hidden):
        return words
    kept: list[str] = []
    for letter, hide in zip(words, hidden, strict=True):
        if not hide:
            kept.append(letter)
        elif not kept or kept[-1] != QUOTED:
            kept.append(QUOTED)
    return "".join(kept)


def _hide(hidden: bytearray, words: str, piece: str) -> None:
    start = words.find(piece)
    while start >= 0:
        hidden[start : start + len(piece)] = b"\x01" * len(piece)
        start = words.find(piece, start + 1)
