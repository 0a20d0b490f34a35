"""Anthropic, as data."""

from ..config import defaults
from ..config.declaration import ProviderDeclaration

# Families that take system messages in mid-conversation, think adaptively and refuse sampling
# parameters (platform documentation, read 2026-11-22; what a model refuses falls over to the next).
_NEWER = (
    "claude-opus-4-8",
    "claude-opus-5",
    "claude-sonnet-5",
    "claude-haiku-5",
    "claude-fable-5",
    "claude-mythos-5",
)
_ADAPTIVE = (*_NEWER, "claude-opus-4-7")

DECLARATION = ProviderDeclaration(
    name="anthropic",
    client="crux_providers.anthropic.client:AnthropicProvider",
    env_key="ANTHROPIC_API_KEY",
    base_url=defaults.ANTHROPIC_BASE_URL,
    version_path="/v1",
    auth="x-api-key",
    headers={"anthropic-version": defaults.ANTHROPIC_VERSION},
    dialect="anthropic_messages",
    options={
        "anthropic_messages": {
            # max_tokens is required (anthropic 2.12.0, types/message_create_params.py).
            "default_max_tokens": defaults.ANTHROPIC_MAX_TOKENS,
            "inline_system": _NEWER,
            "adaptive_thinking": _ADAPTIVE,
            "no_sampling": _ADAPTIVE,
        }
    },
    transports={"sdk": "crux_providers.transports.anthropic_sdk:AnthropicSdkTransport"},
    default_model="claude-haiku-4-5",
    json_output=False,  # the Messages API has no JSON mode without a schema
    models_path="/v1/models",
    fetcher="crux_providers.anthropic.get_anthropic_models",
)
