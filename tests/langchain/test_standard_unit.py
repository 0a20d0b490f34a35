"""LangChain's own unit tests for chat models, over both forms of the constructor.

``test_serdes`` and ``test_init_from_env`` skip by themselves: ChatCrux is written down by its
routes file, not by LangChain's loader (which loads nobody's classes but its own list), and it
reads keys when it calls, not when it is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_tests.unit_tests import ChatModelUnitTests

from crux_integrations import ChatCrux

ROUTES = """
version: 1
routes:
  default:
    candidates: [openai:gpt-5-mini, anthropic:claude-haiku-4-5]
"""


class TestOneModel(ChatModelUnitTests):
    """``ChatCrux(model="provider:model")``."""

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatCrux

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"model": "anthropic:claude-haiku-4-5"}


@pytest.mark.filterwarnings("ignore:api_key was not used")
class TestRoutes(ChatModelUnitTests):
    """``ChatCrux(routes=...)``; a key has no provider to belong to there, which a warning says."""

    @pytest.fixture(autouse=True)
    def _routes(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "routes.yaml").write_text(ROUTES)
        monkeypatch.chdir(tmp_path)

    @property
    def chat_model_class(self) -> type[BaseChatModel]:
        return ChatCrux

    @property
    def chat_model_params(self) -> dict[str, Any]:
        return {"routes": "routes.yaml"}
