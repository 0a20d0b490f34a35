"""A model inside this process, as data."""

from ..config import defaults
from ..config.declaration import ProviderDeclaration

DECLARATION = ProviderDeclaration(
    name="local",
    client="crux_providers.local.client:LocalProvider",
    base_url="",
    server_url=defaults.LOCAL_SERVER_URL,
    key_required=False,
    dialect="openai_chat",
    dialects={"chat": "openai_chat"},
    options={"openai_chat": {"reasoning_request": None, "pdf_part": None}},
    transports={"http": "crux_providers.local.client:embedded"},
    unready="crux_providers.local.weights:unready",
    default_model="smollm2-135m",
    models_path=None,
    fetcher="crux_providers.local.get_local_models",
)
