"""xAI, as data."""

from ..config import defaults
from ..config.declaration import ProviderDeclaration

DECLARATION = ProviderDeclaration(
    name="xai",
    client="crux_providers.xai.client:XAIProvider",
    env_key="XAI_API_KEY",
    base_url=defaults.XAI_BASE_URL,
    version_path="/v1",
    dialect="openai_chat",
    dialects={"chat": "openai_chat", "responses": "openai_responses"},
    transports={"sdk": "crux_providers.transports.openai_sdk:OpenAISdkTransport"},
    fetcher="crux_providers.xai.get_xai_models",
)
