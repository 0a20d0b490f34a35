"""OpenAI, as data."""

from ..config import defaults
from ..config.declaration import ProviderDeclaration

RESPONSES_MODELS = ("o1", "o3", "o4", "gpt-5", "codex")
"""Model families that ``api="auto"`` sends to the Responses endpoint."""

DECLARATION = ProviderDeclaration(
    name="openai",
    client="crux_providers.openai.client:OpenAIProvider",
    env_key="OPENAI_API_KEY",
    base_url=defaults.OPENAI_BASE_URL,
    version_path="/v1",
    dialect="openai_chat",
    dialects={"chat": "openai_chat", "responses": "openai_responses"},
    options={
        # Reasoning models refuse max_tokens, and every other takes the newer name (recorded:
        # openai/chat_length__braintrust.yaml, gpt-4o-mini).
        "openai_chat": {"max_tokens_field": "max_completion_tokens"}
    },
    transports={"sdk": "crux_providers.transports.openai_sdk:OpenAISdkTransport"},
    default_model=defaults.OPENAI_DEFAULT_MODEL,
    fetcher="crux_providers.openai.get_openai_models",
)
