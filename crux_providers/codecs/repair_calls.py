"""Tool calls and their results: ids the target takes, every result at its call, none missing."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.models import Message, ToolCall

from . import repair_words as words
from .repair_rules import Rules
from .repair_words import Notes

NO_RESULT = "There is no result of this call."
"""What answers a call that the history left open and went on from."""


def pair(turns: list[Message], rules: Rules, notes: Notes) -> list[Message]:
    """``turns`` with calls and results matched as ``rules`` want it.

    Raises ``bad_request`` for a result that does not say whose it is.

    A result answers the first open call of its id in the last turn that has one: dialects without
    ids of their own may number each turn's calls anew.
    """
    if not any(turn.tool_calls or turn.role == "tool" for turn in turns):
        return turns
    ids = _Ids(rules, notes)
    open_calls: dict[str, list[tuple[int, ToolCall]]] = {}
    made: list[Message] = []
    homes: dict[int, int] = {}  # places of results, and of the turns that called for them
    for turn in turns:
        place = len(made)
        if turn.tool_calls:
            calls = ids.taken(turn.tool_calls)
            for old, new in zip(turn.tool_calls, calls, strict=True):
                open_calls.setdefault(old.id, []).append((place, new))
            same = all(new is old for new, old in zip(calls, turn.tool_calls, strict=True))
            turn = turn if same else replace(turn, tool_calls=calls)
        elif turn.role == "tool":
            waiting = open_calls.get(turn.tool_call_id or "")
            if waiting:
                at = next(n for n, (home, _) in enumerate(waiting) if home == waiting[-1][0])
                homes[place], call = waiting.pop(at)
                turn = _answer(turn, call, rules)
            elif rules.results == "free" or rules.stands_alone(turn):
                turn = _renamed(turn, ids)
            elif turn.tool_call_id is None:
                raise ProviderError(ErrorCode.BAD_REQUEST, "a tool turn has no tool_call_id")
            else:
                notes.add(words.ORPHAN)
                if is_blank(turn):
                    continue
                turn = Message("user", turn.content)
        made.append(turn)
    if rules.results == "free":
        return made
    left: dict[int, list[ToolCall]] = {}
    for waiting in open_calls.values():
        for place, call in waiting:
            left.setdefault(place, []).append(call)
    return list(_emitted(made, homes, left, rules, notes))


def is_blank(turn: Message) -> bool:
    """Whether the content of a turn is white space and nothing else."""
    if isinstance(turn.content, str):
        return not turn.content.strip()
    return all(p.type == "text" and not (p.text or "").strip() for p in turn.content)


def _answer(turn: Message, call: ToolCall, rules: Rules) -> Message:
    name = turn.name or (call.name if rules.result_names else None)
    if turn.tool_call_id == call.id and turn.name == name:
        return turn
    return replace(turn, tool_call_id=call.id, name=name)


def _renamed(turn: Message, ids: _Ids) -> Message:
    known = turn.tool_call_id
    given = known if known is None else ids.of_unknown(known)
    return turn if given == known else replace(turn, tool_call_id=given)


def _emitted(
    made: list[Message],
    homes: dict[int, int],
    left: dict[int, list[ToolCall]],
    rules: Rules,
    notes: Notes,
) -> Iterator[Message]:
    """The turns with every result where its call wants it."""
    results: dict[int, list[int]] = {}
    for place, home in homes.items():
        results.setdefault(home, []).append(place)
    late = {
        home
        for home, places in results.items()
        if not _settled(made, home, places, home not in left, rules)
    }
    for place, turn in enumerate(made):
        if homes.get(place) in late:
            continue
        yield turn
        if place in late:
            notes.add(words.LATE)
            yield from (made[at] for at in results[place])
        if place in results or place + 1 < len(made):
            for call in left.get(place, ()):
                notes.add(words.UNANSWERED)
                yield Message(
                    "tool", NO_RESULT, call.name, tool_call_id=call.id, is_error=rules.error_mark
                )


def _settled(made: list[Message], home: int, places: list[int], whole: bool, rules: Rules) -> bool:
    """Whether the results at ``places`` stand where the call at ``home`` wants them."""
    if rules.results == "matched":
        return True
    start = home + 1
    if rules.results == "together":  # the API takes turns of a role that follow each other as one
        while whole and made[start].role == "assistant":
            start += 1
    end = next((n for n in range(start, len(made)) if made[n].role != "tool"), len(made))
    return made[start].role == "tool" and start <= places[0] and places[-1] < end


class _Ids:
    """Wire ids: as they are where the API takes them, else made from them, always the same."""

    def __init__(self, rules: Rules, notes: Notes) -> None:
        self._rules = rules
        self._valid = re.compile(rules.tool_id)
        self._notes = notes
        self._seen: dict[str, int] = {}

    def taken(self, calls: Iterable[ToolCall]) -> list[ToolCall]:
        """A turn's calls with ids the API takes."""
        if self._rules.unique_ids == "turn":
            self._seen = {}
        return [self._taken(call) for call in calls]

    def of_unknown(self, given: str) -> str:
        """The id of a result whose call nobody knows."""
        return self._id(given, 1)

    def _taken(self, call: ToolCall) -> ToolCall:
        count = self._seen[call.id] = self._seen.get(call.id, 0) + 1
        wire_id = self._id(call.id, count)
        return call if wire_id == call.id else replace(call, id=wire_id)

    def _id(self, given: str, count: int) -> str:
        if (count == 1 or not given) and self._valid.fullmatch(given):
            return given
        self._notes.add(words.IDS)
        prefix, digits = self._rules.made_id
        known_as = f"{given}\0{count}".encode("utf-8", "surrogatepass")
        return prefix + hashlib.sha256(known_as).hexdigest()[:digits]
