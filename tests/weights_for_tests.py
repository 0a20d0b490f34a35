"""Where the tests' model file comes from: fetched once, outside the HOME that each test gets."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

from crux_providers.local import weights

NAME = next(iter(weights.KNOWN))
OWN = os.environ.get("CRUX_TEST_GGUF")
USERS = weights.folder() / f"{NAME}{weights.SUFFIX}"
"""What ``crux local pull`` or the demo has fetched for the developer already."""


def model_file(cache: Path) -> Path:
    """The file, pulled into ``cache`` at its first use; skips, saying why, where there is none."""
    if importlib.util.find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed (extra `local`)")
    if OWN:
        return Path(OWN)
    if USERS.is_file():
        return USERS
    try:
        return weights.pull(NAME, into=cache)
    except weights.PullError as error:
        pytest.skip(f"no model file; CRUX_TEST_GGUF names one: {error}")
