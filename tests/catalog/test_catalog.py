"""The catalogue: names find their model, figures have a source, unknown is not zero."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from crux_providers import catalog
from crux_providers.catalog import CatalogEntry, Price, PriceRow, Source, lookup
from crux_providers.catalog.generate import CLOSED, NAMES, PROFILES, TRUSTED_NO
from crux_providers.config import defaults
from crux_providers.config.declaration import declarations

DATA = Path(catalog.__file__).parent / "data"
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_a_model_by_its_name_and_by_its_dated_snapshot() -> None:
    plain = lookup("anthropic", "claude-haiku-4-5")
    dated = lookup("anthropic", "claude-haiku-4-5-20251001")
    assert plain is not None
    assert dated is not None
    assert plain.id == dated.id == "claude-haiku-4-5"
    assert plain.capabilities["tools"] is True
    assert plain.context is not None
    assert plain.context > 100_000


def test_a_compact_date_is_read_as_a_dashed_one() -> None:
    assert lookup("openai", "gpt-5-mini-20250807") == lookup("openai", "gpt-5-mini")
    assert lookup("openai", "gpt-5-mini-2025-08-07") == lookup("openai", "gpt-5-mini")


def test_what_is_not_there_is_none() -> None:
    assert lookup("openai", "no-such-model") is None
    assert lookup("nobody", "gpt-5-mini") is None
    assert lookup("../data/openai", "gpt-5-mini") is None
    assert catalog.model_names("nobody") == ()
    assert not catalog.closed("nobody")


def test_a_gateway_counts_only_at_its_own_address() -> None:
    assert lookup("groq", "llama-3.3-70b-versatile", base_url="https://api.groq.com/openai/v1")
    assert lookup("groq", "llama-3.3-70b-versatile", base_url="http://127.0.0.1:8000/v1") is None


def test_litellm_names_the_vendor() -> None:
    assert lookup("litellm", "anthropic/claude-haiku-4-5") == lookup(
        "anthropic", "claude-haiku-4-5"
    )
    assert lookup("litellm", "claude-haiku-4-5") is None


def test_the_embedded_model_costs_nothing_and_says_so() -> None:
    for name in ("smollm2-135m", "/models/any.gguf"):
        entry = lookup("local", name)
        assert entry is not None
        assert entry.price_at(0) == Price(0, 0, 0, 0)


def test_every_file_is_whole_and_every_figure_has_a_source() -> None:
    models = 0
    for provider in catalog.providers():
        raw = json.loads((DATA / f"{provider}.json").read_text(encoding="utf-8"))
        assert raw["provider"] == provider
        assert all(0 <= i < len(raw["models"]) for i in raw["names"].values())
        for name in raw["names"]:
            entry = lookup(provider, name)
            assert entry is not None
            _check(entry)
            models += 1
    assert models > 2000


def _check(entry: CatalogEntry) -> None:
    stated = {
        "price": entry.prices,
        "context": entry.context,
        "max_input": entry.max_input,
        "max_output": entry.max_output,
        "capabilities": entry.capabilities,
    }
    for figure, value in stated.items():
        if value:
            source = entry.sources[figure]
            assert source.license in ("MIT", "Apache-2.0", "")
            date.fromisoformat(source.date)
    for limit in (entry.context, entry.max_input, entry.max_output):
        assert limit is None or limit > 0, entry
    if entry.context and entry.max_input:
        assert entry.context >= entry.max_input
    for row in entry.prices:
        for _, price in ((0, row.price), *row.price.above):
            for figure in (price.input, price.output, price.cached, price.cache_write):
                assert figure is None or figure >= 0
    assert not any(
        value is False and word not in TRUSTED_NO and entry.provider not in ("local",)
        for word, value in entry.capabilities.items()
    )


def test_every_provider_folder_with_a_vendor_has_a_file_and_closed_ones_are_real() -> None:
    # Ollama serves what its user pulls; nobody can list that.
    assert set(declarations()) - set(catalog.providers()) <= {"ollama"}
    assert set(catalog.providers()) >= CLOSED
    assert all(catalog.closed(p) for p in CLOSED)
    assert not catalog.closed("openrouter")


def test_a_price_by_the_hour() -> None:
    entry = lookup("deepseek", "deepseek-flash")
    assert entry is not None
    peak = entry.price_at(NOW.replace(hour=2).timestamp())
    rest = entry.price_at(NOW.replace(hour=12).timestamp())
    assert peak is not None
    assert rest is not None
    assert peak.input is not None
    assert rest.input is not None
    assert peak.input > rest.input


def test_rows_a_date_a_window_over_midnight_and_the_later_row_wins() -> None:
    day = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
    old, new, night = Price(1), Price(2), Price(3)
    entry = CatalogEntry(
        "p",
        "m",
        prices=(
            PriceRow(old),
            PriceRow(new, since=day),
            PriceRow(night, hours=(22 * 3600, 2 * 3600)),
        ),
    )
    assert entry.price_at(day - 12 * 3600) is old
    assert entry.price_at(day + 12 * 3600) is new
    assert entry.price_at(day + 23 * 3600) is night
    assert entry.price_at(day + 25 * 3600) is night
    assert entry.price_at(day + 26 * 3600) is new
    assert replace(entry, prices=()).price_at(day) is None


def test_a_figure_goes_stale() -> None:
    source = Source("s", "1", "MIT", "2026-01-01", "2026-01-02")
    first = date(2026, 1, 1)
    assert not catalog.stale(source, first + timedelta(days=defaults.CATALOG_STALE_DAYS))
    assert catalog.stale(source, first + timedelta(days=defaults.CATALOG_STALE_DAYS + 1))


def test_only_the_file_that_is_asked_about_is_read_and_the_source_is_not_needed() -> None:
    code = (
        "import sys, builtins, io\n"
        "from pathlib import Path\n"
        "read = []\n"
        "real = Path.read_bytes\n"
        "Path.read_bytes = lambda self: (read.append(self.name), real(self))[1]\n"
        "from crux_providers.catalog import lookup\n"
        "assert lookup('anthropic', 'claude-haiku-4-5')\n"
        "print(read, [m for m in sys.modules if m.startswith(('genai_prices', 'pydantic'))])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['anthropic.json'] []"


# --- against the source itself, where a developer has it ------------------------------------------


@pytest.fixture(scope="module")
def vendors() -> list[Any]:
    if importlib.util.find_spec("genai_prices") is None:
        pytest.skip("genai-prices is a developer's tool and is not installed")
    stored = json.loads((DATA / "openai.json").read_text(encoding="utf-8"))
    from importlib.metadata import version

    if stored["sources"]["prices"]["version"] != version("genai-prices"):
        pytest.skip("the installed genai-prices is not the one the files were written from")
    found: list[Any] = importlib.import_module("genai_prices.data").providers
    return found


def test_names_find_what_the_source_finds(vendors: list[Any]) -> None:
    compared = 0
    for vendor in vendors:
        provider = NAMES.get(vendor.id, vendor.id)
        if provider not in catalog.providers():
            continue
        own = {m.id for m in vendor.models}
        names = set(catalog.model_names(provider))
        for base in sorted(names):
            for name in (base, f"{base}-20260115", f"x-{base}"):
                theirs, ours = vendor.find_model(name), lookup(provider, name)
                if ours is not None and (ours.id not in own or (not theirs and not ours.prices)):
                    continue  # an entry of the limits' source
                assert (theirs.id if theirs else None) == (ours.id if ours else None), name
                compared += 1
    assert compared > 5000


def test_prices_are_what_the_source_computes(vendors: list[Any]) -> None:
    """Dollars of a usage, with cache and over each tier, now, at a peak hour and in the future."""
    from genai_prices.types import Usage as TheirUsage

    from crux_providers.base.models import Usage
    from crux_providers.base.pricing import cost_usd

    plain = {"input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok"}
    moments = [NOW, NOW.replace(hour=2), NOW + timedelta(days=400)]
    compared = 0
    for vendor in vendors:
        provider = NAMES.get(vendor.id, vendor.id)
        if provider not in PROFILES:
            continue
        for model in vendor.models:
            ours = lookup(provider, model.id)
            if ours is None or ours.id != model.id or vendor.find_model(model.id) is not model:
                continue
            for moment in moments:
                theirs = model.get_prices(moment)
                if not {"input_mtok", "output_mtok"} <= {k for k in plain if getattr(theirs, k)}:
                    continue
                for tokens in (900, 150_000, 250_000, 600_000):
                    cached = 300 if theirs.cache_read_mtok is not None else 0
                    written = 200 if theirs.cache_write_mtok is not None else 0
                    parts: dict[str, Any] = {"input_tokens": tokens, "output_tokens": 700}
                    if cached:
                        parts["cache_read_tokens"] = cached
                    if written:
                        parts["cache_write_tokens"] = written
                    expected: Decimal = type(theirs)(
                        **{k: v for k, v in theirs.__dict__.items() if k in plain}
                    ).calc_price(TheirUsage(**parts))["total_price"]
                    usage = Usage(tokens, 700, details={"cached": cached, "cache_write": written})
                    got = cost_usd(usage, ours.price_at(moment.timestamp()))
                    assert got == pytest.approx(float(expected), rel=1e-9), (model.id, tokens)
                    compared += 1
    assert compared > 1000


def test_the_files_say_what_the_price_source_says(vendors: list[Any]) -> None:
    """Every file, from the installed price source again: names, rules, windows and prices."""
    from crux_providers.catalog import generate

    whole = parts = 0
    for vendor in vendors:
        provider = NAMES.get(vendor.id, vendor.id)
        if provider not in catalog.providers():
            continue
        stored = json.loads((DATA / f"{provider}.json").read_text(encoding="utf-8"))
        retrieved = date.fromisoformat(stored["sources"]["prices"]["retrieved"])
        # Through JSON, as the file went.
        again = json.loads(json.dumps(generate.provider_file(vendor, {}, retrieved)))
        assert again["rules"] == stored["rules"], provider
        assert stored["api"] == vendor.api_pattern
        assert stored["sources"]["prices"]["urls"] == (vendor.pricing_urls or [])
        if provider not in PROFILES:
            assert (again["models"], again["names"]) == (stored["models"], stored["names"])
            whole += 1
            continue
        # The source of limits added to these: nothing that the price source says is changed.
        for one, model in zip(again["models"], stored["models"], strict=False):
            assert (one["id"], one.get("prices")) == (model["id"], model.get("prices"))
            assert model.get("context") in (one.get("context"), None), one["id"]
        for name, index in again["names"].items():
            if stored["names"][name] != index:
                assert stored["models"][stored["names"][name]]["id"] == name
        parts += 1
    assert (whole, parts) >= (30, 6)


def test_generating_again_gives_these_very_files(tmp_path: Path) -> None:
    """With every source as installed when they were written; else it says which one differs."""
    from importlib.metadata import PackageNotFoundError, version

    from crux_providers.catalog import generate

    differing = []
    named = {
        (source["name"], source["version"])
        for file in DATA.glob("*.json")
        for source in json.loads(file.read_bytes()).get("sources", {}).values()
        if source["version"]
    }
    for name, wanted in sorted(named):
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "not installed"
        if found != wanted:
            differing.append(f"{name} is {found}, the files were written from {wanted}")
    if differing:
        pytest.skip("; ".join(differing))
    day = json.loads((DATA / "openai.json").read_bytes())["sources"]["prices"]["retrieved"]
    assert generate.main(["--today", day, "--out", str(tmp_path)]) == 0
    assert {f.name for f in tmp_path.iterdir()} == {f.name for f in DATA.iterdir()}
    for file in DATA.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes(), file.name


def test_capabilities_come_from_a_named_source_or_are_unknown() -> None:
    """What a provider's models can do is stated by the package that its file names, else by nobody:
    prices prove nothing of it."""
    stated = 0
    for provider in catalog.providers():
        for name in catalog.model_names(provider):
            entry = lookup(provider, name)
            assert entry is not None
            if entry.capabilities:
                stated += 1
                source = entry.sources["capabilities"]
                assert provider == "local" or source.name == PROFILES[provider]
    assert stated > 300


def test_old_figures_are_those_that_are_there() -> None:
    entry = lookup("openai", "gpt-5-mini")
    assert entry is not None
    late = date(2030, 1, 1)
    assert set(catalog.stale_figures(entry, late)) >= {"price", "max_input", "capabilities"}
    assert "price" not in catalog.stale_figures(replace(entry, prices=()), late)
    assert catalog.stale_figures(entry, date(2026, 11, 22)) == {}


def test_every_source_is_listed() -> None:
    found = catalog.sources()
    assert set(found) == set(catalog.providers())
    assert {source.name for source in found["openai"]} == {"genai-prices", "langchain-openai"}
    assert found["litellm"] == ()
