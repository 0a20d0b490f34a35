"""Arguments of ChatCrux that are refused."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from crux_integrations import ChatCrux
from tests.langchain.scripted_router import ScriptedRouter


def test_validation_errors_are_pydantics() -> None:
    with pytest.raises(ValidationError):
        ChatCrux(routes=ScriptedRouter(), temperature="hot")
