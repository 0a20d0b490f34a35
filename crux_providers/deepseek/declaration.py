"""DeepSeek, as data."""

from ..config import defaults
from ..config.declaration import ProviderDeclaration

# The older name of the model that does not think; elsewhere thinking is on unless the request says
# otherwise (api-docs.deepseek.com/guides/thinking_mode, read 2026-11-28).
PLAIN_MODELS = ("deepseek-chat",)

DECLARATION = ProviderDeclaration(
    name="deepseek",
    client="crux_providers.deepseek.client:DeepSeekProvider",
    env_key="DEEPSEEK_API_KEY",
    base_url=defaults.DEEPSEEK_BASE_URL,
    dialect="openai_chat",
    dialects={"chat": "openai_chat", "responses": "openai_responses"},
    options={
        "openai_chat": {
            # It must go back with a turn that called tools, and is ignored with any other
            # (api-docs.deepseek.com/guides/thinking_mode, read 2026-11-28; recorded:
            # deepseek/chat_reasoning_tools__pydantic-ai.yaml).
            "reasoning_field": "reasoning_content",
            "json_schema": False,
        },
        # It takes reasoning that nothing follows
        # (recorded: deepseek/responses_reasoning__pydantic-ai.yaml).
        "openai_responses": {"linked_reasoning": False, "json_schema": False},
    },
    transports={"sdk": "crux_providers.transports.openai_sdk:OpenAISdkTransport"},
    default_model="deepseek-chat",
    fetcher="crux_providers.deepseek.get_deepseek_models",
    json_schema=False,
)
