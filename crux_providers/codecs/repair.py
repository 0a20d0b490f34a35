"""A history begun on any dialect, made valid for another: one pure function for all of them.

:func:`repair` never changes a byte of text or of a tool's payload. What the target cannot be told
is left out or put elsewhere, and said in the words of :mod:`repair_words`. What it gives is a fixed
point: repaired again for the same target it stays as it is and loses nothing more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import ContentPart, Message, ToolCall, compact_json

from . import repair_words as words
from .repair_calls import is_blank, pair
from .repair_rules import FILES, Entry, Rules
from .repair_words import Notes

__all__ = ["Rules", "in_wire_order", "repair"]

INVALID_ARGUMENTS = "INVALID_JSON"
"""The key under which arguments that are no JSON object travel where the wire wants one, as
Anthropic proposes: platform.claude.com/docs/en/agents-and-tools/tool-use/
fine-grained-tool-streaming (2026-11)."""

OPENING = "Continue."
"""What the user says before a history that begins with a tool call, where that is refused."""

_SYSTEM = ("system", "developer")
_FEATURES = {"image": "vision"}


def repair(
    messages: Sequence[Message], rules: Rules
) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    """``messages`` as ``rules`` want them, and in words what of them was lost or moved.

    Raises ``unsupported`` for a user's file that only another provider can read, ``bad_request``
    for a tool turn that does not say which call it answers.
    """
    notes = Notes()
    turns = [made for m in messages if (made := _turn(m, rules, notes)) is not None]
    if rules.needs_follower is not None:
        turns = _linked(turns, rules, notes)
    turns = _system_placed(turns, rules, notes)
    turns = pair(turns, rules, notes)
    turns = _files_placed(turns, rules, notes)
    if rules.merges != "never":
        turns = _merged(turns, rules, notes)
    if rules.unsigned_call is not None:
        turns = [_signed(turn, rules, notes) for turn in turns]
    return tuple(turns), notes.lines()


def in_wire_order(parts: Sequence[ContentPart], calls: Sequence[ToolCall]) -> Iterator[Entry]:
    """Parts and calls as they stood: each call before the part its ``after`` counts up to."""
    waiting = list(calls)
    for position, part in enumerate(parts):
        while waiting and waiting[0].after is not None and waiting[0].after <= position:
            yield waiting.pop(0)
        yield part
    yield from waiting


# -- one turn by itself ---------------------------------------------------------------------------


def _turn(message: Message, rules: Rules, notes: Notes) -> Message | None:
    if message.name is not None and message.role not in rules.named and message.role != "tool":
        notes.add(words.NAME)
        message = replace(message, name=None)
    if message.is_error and not rules.error_mark:
        notes.add(words.ERROR_MARK)
        message = replace(message, is_error=False)
    if message.extra and message.dialect not in (None, rules.dialect):
        notes.add(words.fields(message.dialect or words.UNKNOWN, "message"))
        message = replace(message, extra=None, dialect=None)
    said = bool(message.content or message.tool_calls)
    if not isinstance(message.content, str):
        made = [_part(part, message, rules, notes) for part in message.content]
        message = _with_parts(message, made, rules)
    if message.tool_calls:
        calls = [_call(call, rules, notes) for call in message.tool_calls]
        if any(new is not old for new, old in zip(calls, message.tool_calls, strict=True)):
            message = replace(message, tool_calls=calls)
    if message.role != "tool" and not message.tool_calls and _says_nothing(message, said, rules):
        notes.add(words.empty(message.role))
        return None
    return message


def _says_nothing(message: Message, said: bool, rules: Rules) -> bool:
    """Whether a turn has to go: it lost all it had, or the API wants more than white space."""
    if not message.content:
        return said or not rules.empty_turns
    if rules.empty_turns:
        return False
    # Beside other blocks white space is taken (recorded: anthropic/messages_parallel_tools_stream).
    return is_blank(message)


def _with_parts(message: Message, made: Sequence[ContentPart | None], rules: Rules) -> Message:
    """The turn with its parts replaced one by one (None: gone); calls keep their places."""
    given = message.parts
    if all(new is old for new, old in zip(made, given, strict=True)):
        return message
    kept = [part for part in made if part is not None]
    content: str | list[ContentPart] = kept
    match kept:
        case []:
            content = ""
        case [ContentPart(type="text", signature=None, extra=None) as only] if (
            rules.lone_text and message.role == "assistant" and len(given) > 1
        ):
            content = only.text or ""
    calls = message.tool_calls
    if len(kept) < len(given) and any(c.after is not None for c in calls):
        before = [0]  # kept parts before each place
        for part in made:
            before.append(before[-1] + (part is not None))
        calls = [_placed(call, before) for call in calls]
    return replace(message, content=content, tool_calls=calls)


def _placed(call: ToolCall, before: Sequence[int]) -> ToolCall:
    if call.after is None:
        return call
    after = before[min(call.after, len(before) - 1)]
    return replace(call, after=None if after == before[-1] else after)


def _part(part: ContentPart, message: Message, rules: Rules, notes: Notes) -> ContentPart | None:
    match part.type:
        case "reasoning":
            return _reasoning(part, message, rules, notes)
        case "raw":
            known = part.dialect is not None or rules.unowned_items
            if known and not rules.foreign(part) and isinstance(part.data, Mapping):
                return part
            notes.add(words.item(_owner(part, rules)))
            return None
        case "refusal":
            return _refusal(part, message, rules, notes)
        case "text" if not part.text and not rules.empty_texts:
            notes.add(words.EMPTY_TEXT)
            return None
        case kind if kind in FILES and rules.foreign(part) and _elsewhere(part):
            if message.role in ("assistant", "tool"):
                notes.add(words.item(_owner(part, rules)))
                return None
            raise ProviderError(
                ErrorCode.UNSUPPORTED,
                f"this {kind} part only has a meaning for {_owner(part, rules)}",
                feature=_FEATURES.get(kind, kind),
            )
        case kind if kind in FILES and part.name is not None and not rules.file_names:
            notes.add(words.FILE_NAME)
            return replace(_bare(part, rules, notes), name=None)
        case _:
            return _bare(part, rules, notes)


def _owner(made: Entry, rules: Rules) -> str:
    """Whose ``made`` is: its dialect, or within this dialect its provider."""
    if made.dialect in (None, rules.dialect) and made.provider is not None:
        return made.provider
    return made.dialect or words.UNKNOWN


def _elsewhere(part: ContentPart) -> bool:
    """Whether a file lies with the provider that its fields belong to."""
    return part.data is None and part.url is None and bool(part.extra)


def _bare(part: ContentPart, rules: Rules, notes: Notes) -> ContentPart:
    """The part without fields that are another's; text and data stay."""
    if not rules.foreign(part):
        return part
    if part.signature is not None or part.extra:
        notes.add(words.fields(_owner(part, rules), f"{part.type} part"))
    return replace(part, signature=None, extra=None, dialect=None, provider=None)


def _reasoning(
    part: ContentPart, message: Message, rules: Rules, notes: Notes
) -> ContentPart | None:
    known = part.dialect is not None or rules.unowned_reasoning
    if rules.foreign(part) or not known or message.role != "assistant":
        notes.add(words.reasoning(_owner(part, rules)))
        return None
    kept, lost = rules.thoughts(part, message)
    if lost is not None:
        notes.add(lost)
    return kept


def _refusal(part: ContentPart, message: Message, rules: Rules, notes: Notes) -> ContentPart | None:
    if rules.refusals == "beside" and (part.dialect == rules.dialect or not part.text):
        return None
    part = _bare(part, rules, notes)
    own = rules.refusals == "own" and part.dialect == rules.dialect
    if message.role == "assistant" and (own or rules.refusals == "kept"):
        return part
    notes.add(words.REFUSAL)
    return replace(part, type="text")


def _call(call: ToolCall, rules: Rules, notes: Notes) -> ToolCall:
    if rules.foreign(call):
        theirs = call.extra or {}
        kin = call.dialect in (None, rules.dialect)
        form = {k: v for k, v in theirs.items() if kin and k in rules.call_form}
        if call.signature is not None or len(theirs) > len(form):
            notes.add(words.fields(_owner(call, rules), "tool call"))
        dialect = rules.dialect if form else None
        call = replace(call, signature=None, extra=form or None, dialect=dialect, provider=None)
    call, lost = rules.calls(call)
    if lost is not None:
        notes.add(lost)
    if rules.object_arguments and not call.valid:
        notes.add(words.ARGUMENTS)
        whole = {INVALID_ARGUMENTS: call.raw_arguments}
        call = replace(call, arguments=whole, raw_arguments=compact_json(whole))
    return call


# -- turns among each other -----------------------------------------------------------------------


def _linked(turns: list[Message], rules: Rules, notes: Notes) -> list[Message]:
    """Every turn without the reasoning whose follower is gone."""
    assert rules.needs_follower is not None
    assert rules.follows is not None
    made: list[Message] = []
    for position, turn in enumerate(turns):
        if turn.role != "assistant" or isinstance(turn.content, str):
            made.append(turn)
            continue
        # What another assistant turn begins with is new to the provider, but something follows.
        led = any(m.role == "assistant" for m in turns[position + 1 : position + 2])
        gone: set[int] = set()
        for entry in reversed(list(in_wire_order(turn.parts, turn.tool_calls))):
            if isinstance(entry, ContentPart) and entry.type == "reasoning":
                if rules.needs_follower(entry) and not led:
                    gone.add(id(entry))
                    continue
                led = True
            else:
                led = rules.follows(entry)
        if gone:
            notes.add(words.REASONING_UNLINKED)
            kept = [None if id(p) in gone else p for p in turn.parts]
            turn = _with_parts(turn, kept, rules)
            if not turn.content and not turn.tool_calls:
                notes.add(words.empty(turn.role))
                continue
        made.append(turn)
    return made


def _system_placed(turns: list[Message], rules: Rules, notes: Notes) -> list[Message]:
    if rules.system == "anywhere":
        return turns
    top: list[Message] = []
    rest: list[Message] = []
    for position, turn in enumerate(turns):
        if turn.role not in _SYSTEM:
            rest.append(turn)
        elif not rest:
            top.append(turn)
        elif rules.system == "inline" and _fits(rest[-1], turns[position + 1 :]):
            rest.append(turn)
        else:
            notes.add(words.SYSTEM_MOVED)
            top.append(turn)
    return top + rest


def _fits(before: Message, after: Iterable[Message]) -> bool:
    # It has to follow a user turn and to be the last or precede an assistant turn
    # (build-with-claude/mid-conversation-system-messages, read 2026-11).
    follows = next((m.role for m in after if m.role not in _SYSTEM), "assistant")
    return before.role != "assistant" and follows == "assistant"


def _files_placed(turns: list[Message], rules: Rules, notes: Notes) -> list[Message]:
    """Files that a turn cannot carry come as a user's after it, and after its results."""
    if not rules.carries:
        return turns
    made: list[Message] = []
    moved: list[ContentPart] = []
    for turn in turns:
        if moved and turn.role != "tool":
            made.append(Message("user", moved))
            moved = []
        if turn.role != "user" and not isinstance(turn.content, str):
            parts: list[ContentPart | None] = []
            for part in turn.parts:
                if part.type not in FILES or _carried(part, turn.role, rules):
                    parts.append(part)
                    continue
                notes.add(words.moved(part.type, turn.role))
                # Its fields said something of the turn it stood in.
                moved.append(replace(part, signature=None, extra=None, dialect=None, provider=None))
                parts.append(None)
            turn = _with_parts(turn, parts, rules)
        if turn.content or turn.tool_calls or turn.role == "tool" or not moved:
            made.append(turn)
    return [*made, Message("user", moved)] if moved else made


def _carried(part: ContentPart, role: str, rules: Rules) -> bool:
    # A file of the provider's own goes back by what its fields say of it.
    return rules.takes(role, part.type) or (part.dialect == rules.dialect and bool(part.extra))


def _merged(turns: list[Message], rules: Rules, notes: Notes) -> list[Message]:
    made: list[Message] = []
    for turn in turns:
        calls = turn.role == "assistant" and bool(turn.tool_calls)
        last = made[-1] if made else None
        same = last is not None and last.role == turn.role and last.role in ("user", "assistant")
        if same and (calls or rules.merges == "always") and not made[-1].tool_calls:
            made[-1] = _joined(made[-1], turn)
            continue
        if calls and rules.merges == "calls" and (last is None or last.role in _SYSTEM):
            notes.add(words.OPENING)
            made.append(Message("user", OPENING))
        made.append(turn)
    return made


def _joined(first: Message, second: Message) -> Message:
    before = len(first.parts)
    calls = [
        c if c.after is None else replace(c, after=c.after + before) for c in second.tool_calls
    ]
    extra = {**(first.extra or {}), **(second.extra or {})} or None
    return replace(
        second,
        content=[*first.parts, *second.parts],
        tool_calls=calls,
        name=second.name or first.name,
        extra=extra,
    )


def _signed(turn: Message, rules: Rules, notes: Notes) -> Message:
    """The turn with a stand-in for the signature of a first call that another's model made."""
    calls = list(turn.tool_calls)
    if all(c.dialect == rules.dialect for c in calls):
        return turn
    first = next(c for c in in_wire_order(turn.parts, calls) if isinstance(c, ToolCall))
    if first.signature is not None:
        return turn
    notes.add(words.PLACEHOLDER)
    at = next(n for n, c in enumerate(calls) if c is first)
    calls[at] = replace(first, signature=rules.unsigned_call, dialect=rules.dialect)
    return replace(turn, tool_calls=calls)
