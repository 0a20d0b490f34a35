"""xAI, as data."""

from ..config import defaults
from ..config.declaration import ProviderDeclaration

# docs.x.ai/docs/guides/reasoning, read 2026-11-28: reasoning models answer presencePenalty,
# frequencyPenalty and stop with an error, and the models below one for reasoning_effort too.
# Those since grok-4.3 take an effort, and so does grok-3-mini.
REASONING_MODELS = ("grok-3-mini", "grok-4", "grok-code")
REFUSED_BY_REASONING = ("stop", "presence_penalty", "frequency_penalty")
FIXED_EFFORT = ("grok-3", "grok-4", "grok-4-fast", "grok-4-1-fast", "grok-code-fast")

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
