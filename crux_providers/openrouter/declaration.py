"""OpenRouter, as data."""

from ..config import defaults
from ..config.declaration import ProviderDeclaration

DECLARATION = ProviderDeclaration(
    name="openrouter",
    client="crux_providers.openrouter.client:OpenRouterProvider",
    env_key="OPENROUTER_API_KEY",
    base_url=defaults.OPENROUTER_BASE_URL,
    version_path="/api/v1",
    dialect="openai_chat",
    dialects={"chat": "openai_chat", "responses": "openai_responses"},
    options={
        "openai_chat": {
            "reasoning_field": "reasoning_details",
            "reasoning_request": "reasoning",
            "pdf_url": True,
            "assistant_images": True,
        },
        "openai_responses": {"reasoning_budget": "max_tokens"},
    },
    transports={"sdk": "crux_providers.transports.openai_sdk:OpenAISdkTransport"},
    default_model=defaults.OPENROUTER_MODEL,
    cost_field="usage.cost",
    fetcher="crux_providers.openrouter.get_openrouter_models",
)
