"""Google Gemini (the Generative Language API), as data."""

from ..config import defaults
from ..config.declaration import ProviderDeclaration

DECLARATION = ProviderDeclaration(
    name="gemini",
    client="crux_providers.gemini.client:GeminiProvider",
    env_key="GEMINI_API_KEY",
    env_aliases=("GOOGLE_API_KEY",),
    base_url=defaults.GEMINI_BASE_URL,
    version_path="/v1beta",
    auth="x-goog-api-key",
    dialect="gemini_generate",
    transports={"sdk": "crux_providers.transports.google_sdk:GoogleSdkTransport"},
    default_model="gemini-2.5-flash",
    models_path="/v1beta/models",
    fetcher="crux_providers.gemini.get_gemini_models",
)
