"""OpenAI: two endpoints, chosen by model."""

from __future__ import annotations

from ..base.provider import BaseOpenAIStyleProvider
from .declaration import DECLARATION, RESPONSES_MODELS


class OpenAIProvider(BaseOpenAIStyleProvider):
    """The OpenAI provider; ``api`` is ``"chat"``, ``"responses"`` or ``"auto"`` (the default)."""

    declaration = DECLARATION

    def default_model(self) -> str | None:
        """The model of ``get_openai_config()``: config.yaml's, else ``o3-mini``."""
        from ..config import get_openai_config

        return str(get_openai_config()["model"])

    def uses_responses_api(self, model: str) -> bool:
        """Whether ``api="auto"`` sends ``model`` (a reasoning family) to the Responses endpoint."""
        return model.startswith(RESPONSES_MODELS)

    def dialect_for(self, model: str) -> str:
        """``api`` decides; ``auto`` asks :meth:`uses_responses_api`."""
        if self._api in (None, "auto"):
            api = "responses" if self.uses_responses_api(model) else "chat"
            return self._declared.dialects[api]
        return super().dialect_for(model)
