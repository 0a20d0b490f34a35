"""Ollama's own API, as data."""

from ..config import defaults
from ..config.declaration import ProviderDeclaration

DECLARATION = ProviderDeclaration(
    name="ollama",
    client="crux_providers.ollama.client:OllamaProvider",
    base_url=defaults.OLLAMA_BASE_URL,
    base_url_env="OLLAMA_HOST",
    version_path="/api",
    key_required=False,
    dialect="ollama_chat",
    transports={"sdk": "crux_providers.transports.ollama_sdk:OllamaSdkTransport"},
    models_path="/api/tags",
    fetcher="crux_providers.ollama.get_ollama_models",
    nearby="crux_providers.ollama.nearby:nearby",
)
