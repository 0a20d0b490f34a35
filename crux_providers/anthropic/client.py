"""Anthropic: what differs from its dialect, and nothing else."""

from __future__ import annotations

from ..base.provider import BaseProvider, StructuredOutput
from .declaration import DECLARATION


class AnthropicProvider(StructuredOutput, BaseProvider):
    """The Anthropic provider; see :class:`crux_providers.base.provider.BaseProvider`."""

    declaration = DECLARATION
