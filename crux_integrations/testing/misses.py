"""The error of a request that nothing recorded answers, and the words that explain it."""

from __future__ import annotations

from collections.abc import Sequence

from .cassette_file import Interaction
from .matching import FIELDS, RequestKey, nearest


class CassetteMiss(AssertionError):
    """A request that the cassette does not answer, or a connection it does not allow.

    No provider failed, the test did: nothing of this project takes it for a provider's failure,
    and it is raised again when the cassette closes, since an SDK may have wrapped it meanwhile.
    """


def explain_miss(
    sent: RequestKey,
    interactions: Sequence[Interaction],
    source: str,
    fields: Sequence[str] = FIELDS,
) -> str:
    """What was asked, which recording comes nearest, and the first field that differs."""
    head = f"no recording answers {sent} in {source}"
    found = nearest([item.key for item in interactions], sent, fields)
    if found is None:
        return f"{head}: it is empty"
    close = f"nearest: interaction {found.place + 1} of {len(interactions)}"
    if not found.differences:
        times = sum(not nearest([i.key], sent, fields).differences for i in interactions)  # type: ignore[union-attr]  # one recording has a nearest
        return f"{head}\n{close}, the same request, recorded {times} time(s) and played as often"
    first, *others = found.differences
    lines = [head, f"{close}, {interactions[found.place].key}", f"first difference: {first}"]
    if others:
        more = ", ".join(d.path for d in others[:5]) + (", …" if len(others) > 5 else "")
        lines.append(f"also different: {more}")
    return "\n".join(lines)
