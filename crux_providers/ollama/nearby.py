"""The models of an Ollama that runs now, at ``OLLAMA_HOST`` or its usual place."""

from __future__ import annotations

from ..base.errors import ProviderError, WireFailure
from ..base.ports import resolve
from ..base.timeouts import CallScope, TimeoutConfig
from ..base.wire import WireRequest
from .client import OllamaProvider
from .declaration import DECLARATION

WAIT_S = 1.0
"""A server that runs answers at once; one that does not refuses at once."""


def nearby() -> list[str]:
    """Models that can chat, the one changed last first; none where no server answers."""
    listing = WireRequest(DECLARATION.models_path or "", method="GET")
    with OllamaProvider() as provider:
        try:
            answer = provider.transport.send(listing, CallScope(TimeoutConfig(total=WAIT_S)))
            models = resolve("codec", DECLARATION.dialect).models(answer.body)
        except (WireFailure, ProviderError):
            return []
    return [model.id for model in models if "embed" not in model.id]
