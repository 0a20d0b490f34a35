"""OpenAI's SDK as a transport: for OpenAI, Azure, and every gateway that speaks its dialect."""

from __future__ import annotations

from .sdk_raw_verb import RawVerbTransport


class OpenAISdkTransport(RawVerbTransport):
    """Through ``OpenAI`` and ``AsyncOpenAI``; ready clients may be Azure's."""

    module = "openai"
    extra = "openai"
    sync_client = "OpenAI"
    async_client = "AsyncOpenAI"
