"""The local models: the GGUF files that are on this machine.

Those that ``CRUX_LOCAL_GGUF`` names (several are joined as in ``PATH``) come first, then
``models/*.gguf`` of the user's data directory. A model's id is its file's name without ``.gguf``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from platformdirs import user_data_dir

from ..base.errors import ErrorCode, ProviderError
from ..base.get_models_base import run_fetcher
from ..base.listing import run_program
from ..base.models import ModelInfo

OWN_FILES = "CRUX_LOCAL_GGUF"


def run() -> list[dict[str, Any]]:
    """Look, normalize and store the models; those stored before where there is none."""
    return run_fetcher("local", fetch)


def fetch() -> tuple[list[ModelInfo], str]:
    """The models present; raises ``unsupported``, with the way to one, where there is none."""
    found = {path.stem: path for path in reversed(list(files()))}  # the first of a name counts
    if not found:
        raise ProviderError(
            ErrorCode.UNSUPPORTED,
            f"no model is here: `crux local pull` fetches one, {OWN_FILES} names a GGUF file",
        )
    return [_model(name, path) for name, path in sorted(found.items())], "files"


def files() -> Iterator[Path]:
    """The GGUF files, those the user names first."""
    for named in os.environ.get(OWN_FILES, "").split(os.pathsep):
        if named and (path := Path(named).expanduser()).is_file():
            yield path
    yield from sorted((Path(user_data_dir("crux")) / "models").glob("*.gguf"))


def _model(name: str, path: Path) -> ModelInfo:
    return ModelInfo(id=name, extra={"path": str(path), "bytes": path.stat().st_size})


if __name__ == "__main__":
    run_program("local", run)
