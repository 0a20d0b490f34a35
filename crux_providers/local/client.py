"""Local: what differs from its dialect, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..base.errors import ErrorCode, ProviderError
from ..base.interfaces import Transport
from ..base.models import ChatRequest
from ..base.provider import BaseOpenAIStyleProvider
from ..base.wire import Endpoint
from ..transports.http import HttpTransport
from ..transports.llamacpp import LlamaCppTransport
from .declaration import DECLARATION
from .weights import locate


class LocalProvider(BaseOpenAIStyleProvider):
    """The Local provider; see :class:`crux_providers.base.provider.BaseProvider`."""

    declaration = DECLARATION

    def prepare(self, request: ChatRequest) -> ChatRequest:
        """Refuse what small models answer with prose, or not at all, before anything runs.

        A server that was named by its base URL decides that itself.
        """
        choice = self._transport_choice
        here = choice == "http" and not self._base_url
        if not (here or isinstance(choice, LlamaCppTransport)):
            return request
        if request.tools:
            if request.tool_choice != "none":
                raise _unsupported("tools", "calls no tools")
            request = replace(request, tools=(), tool_choice=None)
        for message in request.messages:
            for part in message.parts:
                if (feature := _FEATURES.get(part.type)) is not None:
                    raise _unsupported(feature, f"reads no {part.type}")
        return request


_FEATURES = {"image": "vision", "pdf": "pdf", "audio": "audio"}


def _unsupported(feature: str, what: str) -> ProviderError:
    return ProviderError(
        ErrorCode.UNSUPPORTED, f"the model in this process {what}", feature=feature
    )


def embedded(endpoint: Endpoint, *, client: Any = None) -> Transport:
    """The transport over the model files of this machine, or to the server that was named."""
    if endpoint.base_url:
        return HttpTransport(endpoint)
    return LlamaCppTransport(locate)
