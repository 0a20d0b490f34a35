"""LiteLLM: what differs from its dialect, and nothing else."""

from __future__ import annotations

from ..base.provider import BaseOpenAIStyleProvider
from .declaration import DECLARATION


class LiteLLMProvider(BaseOpenAIStyleProvider):
    """The LiteLLM provider; see :class:`crux_providers.base.provider.BaseProvider`."""

    declaration = DECLARATION
