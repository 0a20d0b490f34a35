"""One LangChain chat model over many LLM providers: routes, fallbacks, costs and cassettes.

Names are imported when they are first used, so that ``import crux_integrations`` costs next to
nothing and loads neither langchain-core nor httpx.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from crux_providers import __version__

if TYPE_CHECKING:
    from crux_providers.base.errors import AllCandidatesFailed, StreamInterrupted

    from .langchain.chat_model import ChatCrux
    from .router.plan import Plan
    from .router.router import Router

_HOMES = {
    "AllCandidatesFailed": "crux_providers.base.errors",
    "ChatCrux": "crux_integrations.langchain.chat_model",
    "Plan": "crux_integrations.router.plan",
    "Router": "crux_integrations.router.router",
    "StreamInterrupted": "crux_providers.base.errors",
}

__all__ = [
    "AllCandidatesFailed",
    "ChatCrux",
    "Plan",
    "Router",
    "StreamInterrupted",
    "__version__",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value  # the next look-up finds it without coming here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
