"""LiteLLM's library as a provider for everything else, as data."""

from ..config import defaults
from ..config.declaration import ProviderDeclaration

DECLARATION = ProviderDeclaration(
    name="litellm",
    client="crux_providers.litellm.client:LiteLLMProvider",
    base_url="",
    server_url=defaults.LITELLM_SERVER_URL,
    key_required=False,
    dialect="openai_chat",
    dialects={"chat": "openai_chat"},
    transports={
        "http": "crux_providers.transports.litellm_sdk:LiteLLMTransport",
        "sdk": "crux_providers.transports.litellm_sdk:LiteLLMTransport",
    },
    models_path=None,
    fetcher="crux_providers.litellm.get_litellm_models",
)
