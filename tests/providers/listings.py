"""Listings as the providers' documentation shows them, and a server that gives them out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl

from tests.servers.scripted_server import Exchange

OPENAI = {
    "object": "list",
    "data": [
        {"id": "gpt-4o-2024-08-06", "object": "model", "created": 1722814719, "owned_by": "system"},
        {"id": "o3-mini", "object": "model", "created": 1737146383, "owned_by": "system"},
    ],
}
DEEPSEEK = {
    "object": "list",
    "data": [
        {"id": "deepseek-chat", "object": "model", "owned_by": "deepseek"},
        {"id": "deepseek-reasoner", "object": "model", "owned_by": "deepseek"},
    ],
}
XAI = {
    "object": "list",
    "data": [{"id": "grok-4", "object": "model", "created": 1752019200, "owned_by": "xai"}],
}
OPENROUTER = {
    "data": [
        {
            "id": "openai/gpt-4o",
            "canonical_slug": "openai/gpt-4o",
            "name": "OpenAI: GPT-4o",
            "created": 1715558400,
            "context_length": 128000,
            "architecture": {
                "modality": "text+image->text",
                "input_modalities": ["text", "image", "file"],
                "output_modalities": ["text"],
            },
            "pricing": {"prompt": "0.0000025", "completion": "0.00001"},
            "top_provider": {"context_length": 128000, "max_completion_tokens": 16384},
            "supported_parameters": ["tools", "tool_choice", "structured_outputs", "logprobs"],
        }
    ]
}
ANTHROPIC = [
    {
        "data": [
            {
                "type": "model",
                "id": "claude-haiku-4-5-20251001",
                "display_name": "Claude Haiku 4.5",
                "created_at": "2025-10-15T00:00:00Z",
                "max_input_tokens": 200000,
                "max_tokens": 64000,
            }
        ],
        "has_more": True,
        "first_id": "claude-haiku-4-5-20251001",
        "last_id": "claude-haiku-4-5-20251001",
    },
    {
        "data": [
            {
                "type": "model",
                "id": "claude-opus-4-1-20250805",
                "display_name": "Claude Opus 4.1",
                "created_at": "2025-08-05T00:00:00Z",
            }
        ],
        "has_more": False,
        "first_id": "claude-opus-4-1-20250805",
        "last_id": "claude-opus-4-1-20250805",
    },
]
GEMINI = [
    {
        "models": [
            {
                "name": "models/gemini-2.5-flash",
                "version": "001",
                "displayName": "Gemini 2.5 Flash",
                "inputTokenLimit": 1048576,
                "outputTokenLimit": 65536,
                "supportedGenerationMethods": ["generateContent", "countTokens"],
                "temperature": 1,
                "topP": 0.95,
                "topK": 64,
            }
        ],
        "nextPageToken": "page-2",
    },
    {
        "models": [
            {
                "name": "models/text-embedding-004",
                "version": "004",
                "displayName": "Text Embedding 004",
                "inputTokenLimit": 2048,
                "outputTokenLimit": 1,
                "supportedGenerationMethods": ["embedContent"],
            }
        ]
    },
]
OLLAMA = {
    "models": [
        {
            "name": "qwen3:8b",
            "model": "qwen3:8b",
            "modified_at": "2025-05-10T08:06:48.639712648-07:00",
            "size": 5225388164,
            "digest": "500a1f067a9f",
            "details": {
                "parent_model": "",
                "format": "gguf",
                "family": "qwen3",
                "families": ["qwen3"],
                "parameter_size": "8.2B",
                "quantization_level": "Q4_K_M",
            },
        },
        {
            "name": "gone:latest",
            "model": "gone:latest",
            "modified_at": "2024-01-02T03:04:05Z",
            "size": 1,
            "digest": "0",
            "details": {"format": "gguf", "family": "llama"},
        },
    ]
}
OLLAMA_SHOW = {
    "license": "Apache",
    "modelfile": "FROM x",
    "details": {"family": "qwen3"},
    "model_info": {"general.architecture": "qwen3", "qwen3.context_length": 40960},
    "capabilities": ["completion", "tools", "thinking"],
    "modified_at": "2025-05-10T08:06:48.639712648-07:00",
}

Pages = Callable[[Mapping[str, str]], Any]


def query_of(exchange: Exchange) -> dict[str, str]:
    """The query of a request, as a mapping."""
    return dict(parse_qsl(exchange.target.partition("?")[2]))


def _anthropic(exchange: Exchange) -> Any:
    after = query_of(exchange).get("after_id")
    return ANTHROPIC[0] if after is None else ANTHROPIC[1]


def _gemini(exchange: Exchange) -> Any:
    token = query_of(exchange).get("pageToken")
    return GEMINI[0] if token is None else GEMINI[1]


def _ollama(exchange: Exchange) -> Any:
    if exchange.target == "/api/tags":
        return OLLAMA
    name = json.loads(exchange.body).get("model")
    return OLLAMA_SHOW if name == "qwen3:8b" else None


LISTINGS: Mapping[str, Callable[[Exchange], Any]] = {
    "openai": lambda exchange: OPENAI,
    "deepseek": lambda exchange: DEEPSEEK,
    "xai": lambda exchange: XAI,
    "openrouter": lambda exchange: OPENROUTER,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "ollama": _ollama,
}
"""provider → the JSON its server answers a request of the listing with; None is a 404."""


def serve(provider: str) -> Callable[[Exchange], None]:
    """A scenario of the scripted server that is the provider's listing."""

    def scenario(exchange: Exchange) -> None:
        answer = LISTINGS[provider](exchange)
        if answer is None:
            exchange.answer(b'{"error": "model not found"}', 404)
        else:
            exchange.answer(json.dumps(answer).encode())

    return scenario
