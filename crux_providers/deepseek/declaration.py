"""DeepSeek, as data."""

from ..config import defaults
from ..config.declaration import ProviderDeclaration

DECLARATION = ProviderDeclaration(
    name="deepseek",
    client="crux_providers.deepseek.client:DeepSeekProvider",
    env_key="DEEPSEEK_API_KEY",
    base_url=defaults.DEEPSEEK_BASE_URL,
    dialect="openai_chat",
    dialects={"chat": "openai_chat"},
    options={
        "openai_chat": {
            "reasoning_field": "reasoning_content",
            "reasoning_wanted": True,
            "json_schema": False,
        }
    },
    transports={"sdk": "crux_providers.transports.openai_sdk:OpenAISdkTransport"},
    default_model="deepseek-chat",
    fetcher="crux_providers.deepseek.get_deepseek_models",
    json_schema=False,
)
