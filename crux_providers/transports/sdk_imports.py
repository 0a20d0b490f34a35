"""Importing a provider's SDK at first use, or saying in one sentence how to get it."""

from __future__ import annotations

import importlib
from types import ModuleType

from ..base.errors import WireFailure


def import_sdk(module: str, extra: str) -> ModuleType:
    """The SDK's module; raises WireFailure(local) that names the ``extra`` to install."""
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        missing = exc.name or module
        if missing.partition(".")[0] != module.partition(".")[0]:
            detail = f"the SDK {module!r} needs {missing!r}, which is not installed"
        else:
            detail = f"the SDK {module!r} is not installed"
        raise WireFailure(
            "local", f"{detail}: pip install 'crux-integrations[{extra}]'", cause=exc
        ) from exc
