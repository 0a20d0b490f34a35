"""Anthropic, as data."""

from ..config import defaults
from ..config.declaration import ProviderDeclaration

DECLARATION = ProviderDeclaration(
    name="anthropic",
    client="crux_providers.anthropic.client:AnthropicProvider",
    env_key="ANTHROPIC_API_KEY",
    base_url=defaults.ANTHROPIC_BASE_URL,
    version_path="/v1",
    auth="x-api-key",
    headers={"anthropic-version": defaults.ANTHROPIC_VERSION},
    dialect="anthropic_messages",
    options={"anthropic_messages": {"default_max_tokens": defaults.ANTHROPIC_MAX_TOKENS}},
    transports={"sdk": "crux_providers.transports.anthropic_sdk:AnthropicSdkTransport"},
    default_model="claude-haiku-4-5",
    models_path="/v1/models",
    fetcher="crux_providers.anthropic.get_anthropic_models",
)
