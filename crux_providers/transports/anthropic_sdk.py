"""Anthropic's SDK as a transport: for Anthropic, and with a ready client for Bedrock and Vertex."""

from __future__ import annotations

from .sdk_raw_verb import RawVerbTransport


class AnthropicSdkTransport(RawVerbTransport):
    """Through ``Anthropic`` and ``AsyncAnthropic``; ready clients may be Bedrock's or Vertex's."""

    module = "anthropic"
    extra = "anthropic"
    sync_client = "Anthropic"
    async_client = "AsyncAnthropic"
