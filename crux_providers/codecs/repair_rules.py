"""What a dialect asks of a history, as one frozen value; each dialect's module declares its own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from crux_providers.base.models import ContentPart, Message, ToolCall

Entry: TypeAlias = ContentPart | ToolCall
Verdict: TypeAlias = tuple[ContentPart | None, str | None]
"""What of a part may go, and the words for what may not."""

FILES = frozenset({"image", "pdf", "audio"})
"""Parts that are files; which of them a user's turn takes is said by the dialect's writer."""


def _as_it_is(part: ContentPart, message: Message) -> Verdict:
    return part, None


def _call_as_it_is(call: ToolCall) -> tuple[ToolCall, str | None]:
    return call, None


def _never(message: Message) -> bool:
    return False


def owned(messages: Iterable[Message], dialect: str) -> list[Message]:
    """Turns read off the wire, with the name of the dialect that their own fields belong to."""
    return [replace(m, dialect=dialect) if m.extra else m for m in messages]


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules a history must follow to be taken by one dialect (of one ``provider``).

    Whose parts:

    - ``dialect``, ``provider``: signatures, encrypted reasoning, raw items and other wire fields of
      another dialect, or of another provider of this one, are left out. A part that names no
      provider is judged by its dialect alone, and every one where ``provider`` is None.
    - ``unowned_reasoning``, ``unowned_items``: whether those of no known dialect may go.
    - ``thoughts``: what of this dialect's own reasoning may go back, and in which form; ``calls``
      the same of a tool call's fields.
    - ``needs_follower``, ``follows``: which reasoning goes only where an entry that follows it is
      still the one it led to.
    - ``call_form``: fields of a call that are the dialect's form, not one provider's.
    - ``unsigned_call``: what stands in for the signature of a turn's first call that another
      dialect's model made, or None.

    What a turn may carry:

    - ``carries``: by role, the kinds of files (:data:`FILES`) a turn other than a user's takes; the
      rest of them move to a user's turn after it. A role that is not named takes all.
    - ``named``: roles that may have a name (a tool turn keeps its own, which is the tool's).
    - ``lone_text``: whether the one text that is left of an assistant's parts is plain content.
    - ``file_names``: whether a file may have a name.
    - ``refusals``: ``kept`` as such, kept where they are the dialect's ``own``, all sent as
      ``text``, or those of others, while its own are ``beside`` the content and go with no turn.
    - ``error_mark``: whether a tool result can be marked as failed.
    - ``object_arguments``: arguments are an object on the wire: other text is wrapped in one.
    - ``empty_texts``, ``empty_turns``: whether an empty text, a turn of white space may stand.

    How turns follow each other:

    - ``system``: later system turns stay (``anywhere``), move to the ``top``, or stay where they
      are ``inline`` between a user's turn and an assistant's and move elsewhere.
    - ``results``: they stand directly behind the turn that called, ``adjacent``, or ``together``
      behind several assistant's turns in a row; anywhere after it (``matched``); or as they come
      (``free``). Where it is not ``free``, every call but those the history ends with has a result,
      and every result a call. ``stands_alone`` exempts tool turns.
    - ``tool_id``: pattern of a valid tool-call id; one made in its stead is ``made_id[0]`` with
      ``made_id[1]`` hexadecimal digits. ``unique_ids``: within the ``history`` or one ``turn``.
    - ``result_names``: whether a result has to name its tool.
    - ``merges``: consecutive turns of a role become one: ``never``, ``always``, or an assistant's
      before one that has ``calls``, which also may not begin a history.
    """

    dialect: str
    provider: str | None = None
    unowned_reasoning: bool = True
    unowned_items: bool = True
    thoughts: Callable[[ContentPart, Message], Verdict] = _as_it_is
    calls: Callable[[ToolCall], tuple[ToolCall, str | None]] = _call_as_it_is
    needs_follower: Callable[[ContentPart], bool] | None = None
    follows: Callable[[Entry], bool] | None = None
    call_form: frozenset[str] = frozenset({"type"})
    unsigned_call: str | None = None
    carries: Mapping[str, frozenset[str]] = field(default_factory=dict)
    named: frozenset[str] = frozenset()
    lone_text: bool = False
    file_names: bool = True
    refusals: Literal["kept", "own", "text", "beside"] = "text"
    error_mark: bool = True
    object_arguments: bool = False
    empty_texts: bool = True
    empty_turns: bool = True
    system: Literal["anywhere", "inline", "top"] = "anywhere"
    results: Literal["adjacent", "together", "matched", "free"] = "adjacent"
    stands_alone: Callable[[Message], bool] = _never
    tool_id: str = r"[\s\S]+"
    made_id: tuple[str, int] = ("call_", 24)
    unique_ids: Literal["history", "turn"] = "history"
    result_names: bool = False
    merges: Literal["never", "calls", "always"] = "never"

    def foreign(self, made: Entry) -> bool:
        """Whether the wire fields of ``made`` belong to somebody else."""
        if made.dialect is not None and made.dialect != self.dialect:
            return True
        return None not in (made.provider, self.provider) and made.provider != self.provider

    def takes(self, role: str, kind: str) -> bool:
        """Whether a turn of ``role`` may carry a file of ``kind``."""
        return kind in self.carries.get(role, FILES)
