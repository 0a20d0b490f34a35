"""Listings of models: what is taken from them, what never is, and how they are kept."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crux_providers.base.errors import ErrorCode, ProviderError
from crux_providers.base.get_models_base import (
    _infer_updated_at_from_id,
    load_cached_models,
    load_snapshot,
    normalize_items,
    refreshing,
    run_fetcher,
    save_provider_models,
)
from crux_providers.base.models import ModelInfo


def one(**fields: Any) -> dict[str, Any]:
    (model,) = normalize_items([{"id": "m", **fields}])
    return model


@pytest.mark.parametrize(
    "field",
    ["context_length", "context_window", "input_token_limit", "inputTokenLimit", "max_model_len"],
)
def test_context_length_comes_from_explicit_numbers(field: str) -> None:
    assert one(**{field: 8192})["context_length"] == 8192
    assert one(**{field: 8192.0})["context_length"] == 8192


@pytest.mark.parametrize(
    "bad", [None, "8192", True, 0, -1, 1.5, float("nan"), float("inf"), 10**30, []]
)
def test_context_length_is_never_made_up(bad: object) -> None:
    assert one(context_window=bad)["context_length"] is None
    assert one(id="big-model-128k")["context_length"] is None


def test_the_first_field_that_states_a_number_counts() -> None:
    assert one(context_length=None, context_window=4096)["context_length"] == 4096


@pytest.mark.parametrize(
    ("fields", "day"),
    [
        ({"updated_at": "2025-03-04"}, "2025-03-04"),
        ({"updated_at": "2025-03-04T23:30:00-02:00"}, "2025-03-05"),
        ({"updated_at": datetime(2025, 3, 4, tzinfo=UTC)}, "2025-03-04"),
        ({"updated_at": "soon", "id": "gpt-4o-2024-08-06"}, "2024-08-06"),
        ({"id": "claude-3-5-haiku-20241022", "created": 1}, "2024-10-22"),
        ({"created": 1715367049}, "2024-05-10"),
        ({"created": 0}, None),
        ({"created": True}, None),
        ({"created": 10**20}, None),
        ({"created_at": "2025-02-19T00:00:00Z"}, "2025-02-19"),
        ({}, None),
    ],
)
def test_updated_at(fields: dict[str, Any], day: str | None) -> None:
    assert one(**fields)["updated_at"] == day


@pytest.mark.parametrize(
    ("model_id", "day"),
    [
        ("gpt-4o-2024-08-06", "2024-08-06"),
        ("claude-3-opus-20240229", "2024-02-29"),
        ("model-20241399", None),
        ("gpt-4-0613", None),
        ("hash-12024080699", None),
        ("", None),
    ],
)
def test_a_date_in_an_id(model_id: str, day: str | None) -> None:
    assert _infer_updated_at_from_id(model_id) == day


def test_capabilities_come_from_the_providers_fields_and_say_so() -> None:
    model = one(
        architecture={"input_modalities": ["text", "image", "file"]},
        supported_parameters=["tools", "tool_choice", "temperature", "structured_outputs"],
    )
    assert model["capabilities"] == dict.fromkeys(
        ["vision", "pdf", "tools", "tool_choice", "json_schema"], True
    )
    assert set(model["capability_sources"].values()) == {"api"}


def test_capabilities_as_a_mapping_keep_what_is_false() -> None:
    model = one(capabilities={"function_calling": True, "vision": False, "completion_chat": True})
    assert model["capabilities"] == {"tools": True, "vision": False, "completion_chat": True}


def test_what_an_id_says_is_marked_and_never_beats_the_provider() -> None:
    (bare,) = normalize_items([{"id": "o3-mini"}])
    assert bare["capabilities"] == {"reasoning": True}
    assert bare["capability_sources"] == {"reasoning": "heuristic"}
    (told,) = normalize_items([{"id": "o3-mini", "capabilities": {"reasoning": False}}])
    assert told["capabilities"] == {"reasoning": False}
    assert told["capability_sources"] == {"reasoning": "api"}
    (plain,) = normalize_items([{"id": "foo3-mini"}])
    assert plain["capabilities"] == {}


def test_items_of_any_kind() -> None:
    class Dumped:
        def model_dump(self) -> dict[str, Any]:
            return {"id": "pydantic", "context_window": 10}

    items = [
        "bare",
        {"name": "models/gemini-2.5", "inputTokenLimit": 5},
        Dumped(),
        SimpleNamespace(id="plain", _private=1),
        ModelInfo("info", context_length=7, capabilities={"tools": True}),
        {"id": "bare", "context_length": 99},
        {"id": ""},
        {"object": "list"},
        None,
    ]
    found = {model["id"]: model for model in normalize_items(items, "p")}
    assert list(found) == ["bare", "gemini-2.5", "pydantic", "plain", "info"]
    assert found["bare"]["context_length"] is None  # the first of an id stays
    assert found["gemini-2.5"]["context_length"] == 5
    assert found["info"]["capabilities"] == {"tools": True}
    assert {model["provider"] for model in found.values()} == {"p"}


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(
                ["id", "name", "created", "updated_at", "context_window", "capabilities",
                 "architecture", "modalities", "extra", "created_at", "family",
                 "capability_sources", "max_output_tokens"]
            ),
            _JSON,
        )
    )
)  # fmt: skip
def test_any_json_normalizes_to_models_that_can_be_stored(items: list[dict[str, Any]]) -> None:
    for model in normalize_items(items, "p"):
        made = ModelInfo(**model)
        assert made.id
        assert made.context_length is None or made.context_length > 0
        assert made.updated_at is None or len(made.updated_at) >= 10
        assert all(isinstance(flag, bool) for flag in made.capabilities.values())


# -- storing --------------------------------------------------------------------------------------


def test_what_is_saved_is_loaded_with_its_origin(crux_db: object) -> None:
    items = [{"id": "b", "context_window": 10}, {"id": "a"}]
    saved = save_provider_models(
        "p", items, fetched_via="api", metadata={"source": "openai_sdk_enriched"}
    )
    loaded = load_snapshot("p")
    assert loaded == saved
    assert (loaded.fetched_via, loaded.metadata["source"]) == ("api", "openai_sdk_enriched")
    assert [model["id"] for model in load_cached_models("p")] == ["b", "a"]
    assert load_cached_models("p") == normalize_items(items, "p")
    assert load_cached_models("nobody") == []


def test_an_empty_listing_never_replaces_a_stored_one(
    crux_db: object, caplog: pytest.LogCaptureFixture
) -> None:
    save_provider_models("p", ["a"])
    with caplog.at_level(logging.WARNING, logger="crux_providers"):
        assert save_provider_models("p", []) == load_snapshot("p")
    assert [json.loads(r.getMessage())["event"] for r in caplog.records] == ["registry.empty"]
    assert [model["id"] for model in load_cached_models("p")] == ["a"]


def test_a_fetcher_stores_and_returns(crux_db: object) -> None:
    models = run_fetcher("p", lambda: ([{"id": "a"}], "sdk"))
    assert [model["id"] for model in models] == ["a"]
    assert load_snapshot("p").metadata == {"source": "sdk"}


def test_a_fetcher_that_fails_answers_from_the_store(
    crux_db: object, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> Any:
        raise ConnectionError("no network")

    save_provider_models("p", ["a"])
    before = load_snapshot("p")
    with caplog.at_level(logging.WARNING, logger="crux_providers"):
        assert [model["id"] for model in run_fetcher("p", fails)] == ["a"]
    (record,) = [json.loads(r.getMessage()) for r in caplog.records]
    assert record["event"] == "models.fetch.error"
    assert (record["provider"], record["fallback_used"]) == ("p", True)
    assert record["failure_class"] == "ConnectionError"
    with refreshing(), pytest.raises(ProviderError) as caught:
        run_fetcher("p", fails)
    assert caught.value.code is ErrorCode.TRANSIENT
    assert caught.value.provider == "p"
    assert load_snapshot("p") == before


def test_models_that_cannot_be_kept_are_still_returned(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CRUX_DB", str(tmp_path / "file" / "x.db"))
    with caplog.at_level(logging.WARNING, logger="crux_providers"):
        assert [m["id"] for m in run_fetcher("p", lambda: (["a"], "api"))] == ["a"]
    assert "models.store.error" in caplog.text


def test_without_a_database_a_listing_lives_in_memory() -> None:
    save_provider_models("p-in-memory", ["a"])
    assert [model["id"] for model in load_cached_models("p-in-memory")] == ["a"]
