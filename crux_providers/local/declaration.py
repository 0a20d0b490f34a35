"""A model inside this process, as data."""

from ..config.declaration import ProviderDeclaration

DECLARATION = ProviderDeclaration(
    name="local",
    client="crux_providers.local.client:LocalProvider",
    base_url="",
    auth="none",
    key_required=False,
    dialect="openai_chat",
    dialects={"chat": "openai_chat"},
    transports={"http": "crux_providers.transports.llamacpp:LlamaCppTransport"},
    default_model="smollm2-135m",
    models_path=None,
    fetcher="crux_providers.local.get_local_models",
)
