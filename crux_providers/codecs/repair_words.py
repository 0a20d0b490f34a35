"""What a history loses on its way to a dialect, in words: the one place they are made.

They reach the caller as ``WireRequest.degraded`` and ``meta.extra["crux"]["degraded"]``.
"""

from __future__ import annotations

UNKNOWN = "unknown origin"

IDS = "tool-call ids the API refuses were replaced"
ARGUMENTS = "a call's arguments that are no JSON object were wrapped in one"
CALL_SIGNATURE = "a signature of a tool call was left out: the provider has no place for it"
PLACEHOLDER = "a tool call without a signature was sent with the provider's placeholder"
ERROR_MARK = "a tool result's error mark was left out"
ORPHAN = "a tool result without its call was sent as a user message"
LATE = "a tool result was moved to its call"
UNANSWERED = "a tool call without a result was answered with a note that says so"

REASONING_UNWANTED = "earlier reasoning was left out: the provider wants none of it"
REASONING_UNSIGNED = "reasoning without a signature was left out, since the API refuses it"
REASONING_UNLINKED = "reasoning without the item it led to was left out"
REASONING_UNKEPT = "reasoning that the provider did not keep was left out"
REASONING_SIGNATURE = "a signature of reasoning was left out: the provider has no place for it"

SYSTEM_MOVED = "a system message in mid-conversation was moved to the top"
REFUSAL = "a refusal was sent as text"
NAME = "the name of a message was left out"
FILE_NAME = "the name of a file was left out"
EMPTY_TEXT = "an empty text was left out, since the API refuses it"
OPENING = "a user message was put before a history that began with a tool call"

_ARTICLES = {"image": "an image", "audio": "audio"}
_PLACES = {"tool": "a tool result", "assistant": "an assistant message"}


def reasoning(owner: str) -> str:
    """Reasoning that only ``owner``, a dialect or a provider, could read."""
    return f"reasoning of {owner} was left out"


def item(owner: str) -> str:
    """A raw item, or a file, that only ``owner`` could read."""
    return f"an item of {owner} was left out"


def fields(owner: str, of: str) -> str:
    """Signatures, ids and other fields of ``owner`` on something that itself goes on."""
    return f"{owner}'s fields of a {of} were left out"


def moved(kind: str, role: str) -> str:
    """A file that a turn of ``role`` cannot carry and a user's can."""
    what, where = _ARTICLES.get(kind, f"a {kind}"), _PLACES.get(role, "a system message")
    return f"{what} of {where} was moved to a user message after it"


def empty(role: str) -> str:
    """A whole turn that says nothing, or nothing that can be sent."""
    return f"an empty {role} message was left out"


class Notes:
    """What a request lost on its way to the wire, each line once, in order."""

    __slots__ = ("_lines",)

    def __init__(self) -> None:
        self._lines: dict[str, None] = {}

    def add(self, line: str) -> None:
        """Note a loss in words."""
        self._lines[line] = None

    def extend(self, lines: tuple[str, ...]) -> None:
        """Note several losses."""
        self._lines.update(dict.fromkeys(lines))

    def lines(self) -> tuple[str, ...]:
        """Every line, in the order first noted."""
        return tuple(self._lines)
