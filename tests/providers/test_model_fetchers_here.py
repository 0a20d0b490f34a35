"""The fetchers that ask nobody: the models on this machine, and LiteLLM's price map."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from crux_providers.base import ErrorCode, ProviderError
from crux_providers.base.get_models_base import load_snapshot
from crux_providers.base.repositories.model_registry.repository import ModelRegistryRepository


def fetch(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = import_module(f"crux_providers.{name}.get_{name}_models").run()
    return found


def test_local_lists_the_files_that_are_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from platformdirs import user_data_dir

    folder = Path(user_data_dir("crux")) / "models"
    folder.mkdir(parents=True)
    (folder / "smollm2-135m.gguf").write_bytes(b"GGUF")
    (folder / "notes.txt").write_text("no model")
    own = tmp_path / "mine.gguf"
    own.write_bytes(b"GGUF....")
    monkeypatch.setenv("CRUX_LOCAL_GGUF", f"{own}:{tmp_path}/not-there.gguf")
    found = fetch("local")
    assert [m["id"] for m in found] == ["mine", "smollm2-135m"]
    assert found[0]["extra"] == {"path": str(own), "bytes": 8}
    assert ModelRegistryRepository().list_models("local", refresh=True).metadata["source"] == (
        "files"
    )


def test_local_without_a_model_says_how_to_get_one(crux_db: Path) -> None:
    assert fetch("local") == []
    with pytest.raises(ProviderError, match="crux local pull"):
        ModelRegistryRepository().list_models("local", refresh=True)


def test_litellm_reads_its_own_price_map_with_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A package in the form of litellm 1.108's: ``model_cost``, made at import."""
    (tmp_path / "litellm.py").write_text(
        "import os\nassert os.environ['LITELLM_LOCAL_MODEL_COST_MAP'] == 'True'\n"
        "model_cost = {'sample_spec': {'mode': 'chat'},\n"
        " 'vendor/m': {'mode': 'chat', 'max_input_tokens': 10, 'max_output_tokens': 5,\n"
        "  'supports_function_calling': True, 'input_cost_per_token': 1e-6, 'x': None},\n"
        " 'picture': {'mode': 'image_generation'}}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "litellm", raising=False)
    (model,) = fetch("litellm")
    sys.modules.pop("litellm", None)
    assert (model["id"], model["context_length"], model["max_output_tokens"]) == ("vendor/m", 10, 5)
    assert model["capabilities"] == {"tools": True}
    assert load_snapshot("litellm").metadata == {"source": "litellm_sdk_enriched"}


def test_litellm_without_its_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "litellm", None)
    with pytest.raises(ProviderError, match=r"crux-integrations\[litellm\]") as caught:
        ModelRegistryRepository().list_models("litellm", refresh=True)
    assert caught.value.code is ErrorCode.UNSUPPORTED
