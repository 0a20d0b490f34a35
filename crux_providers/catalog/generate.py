"""Write the catalogue's files from packages that keep such figures: a developer's tool.

Usage: ``python -m crux_providers.catalog.generate [--today YYYY-MM-DD]``, with genai-prices
(prices, context windows) and the langchain-<vendor> packages (limits and capabilities, as data
files) installed. Nothing is typed by hand, and nothing of this is needed at run time.

The packages do not say when they were released, so a source's date is the newest date its own
data names up to today: the figures are at least that fresh.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from importlib import metadata
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "data"
INDEX = "index.json"

NAMES = {"google": "gemini", "x-ai": "xai"}
"""Where this library calls a provider by another name than the price source."""

PROFILES = {
    "anthropic": "langchain-anthropic",
    "deepseek": "langchain-deepseek",
    "gemini": "langchain-google-genai",
    "groq": "langchain-groq",
    "mistral": "langchain-mistralai",
    "openai": "langchain-openai",
    "openrouter": "langchain-openrouter",
    "xai": "langchain-xai",
}
"""The package with a provider's limits and capabilities (models.dev's data, MIT)."""

CLOSED = frozenset({"anthropic", "deepseek", "gemini", "openai", "xai"})
"""Providers that serve only their own models."""

CAPABILITIES = {
    "tool_calling": "tools",
    "tool_choice": "tool_choice",
    "structured_output": "json_schema",
    "image_inputs": "vision",
    "pdf_inputs": "pdf",
    "audio_inputs": "audio",
    "reasoning_output": "reasoning",
}
"""The profiles' words and ours; what has no word here is not taken over."""

TRUSTED_NO = frozenset({"vision", "pdf", "audio"})
"""Capabilities whose "false" counts: these come from a model's list of input kinds. For the others
the source writes false where it only has not heard (tools of gpt-3.5-turbo, schemas of a dated
claude-haiku-4-5 whose undated name has them; seen 2026-11), which is unknown here."""

_FREE = {"input": 0, "output": 0, "cached": 0, "cache_write": 0}
OWN: dict[str, dict[str, Any]] = {
    # Runs in the caller's process: nobody bills it. The window is what the model file's own header
    # says (llama.context_length); asked for tools it writes prose, seen with the embedded server.
    "local": {
        "sources": {
            "prices": {"name": "embedded", "version": "", "license": ""},
            "limits": {
                "name": "SmolLM2-135M-Instruct (GGUF)",
                "version": "",
                "license": "Apache-2.0",
            },
        },
        "models": [
            {
                "id": "smollm2-135m",
                "context": 8192,
                "prices": [_FREE],
                "capabilities": {
                    "streaming": True,
                    "json_output": True,
                    "json_schema": True,
                    "tools": False,
                    "vision": False,
                    "pdf": False,
                    "audio": False,
                    "reasoning": False,
                },
            },
            {"id": "*", "prices": [_FREE]},
        ],
        "names": {"smollm2-135m": 0},
        "rules": [[1, {"prefix": ""}]],
    },
    # Names are "vendor/model": the vendor's file answers.
    "litellm": {
        "delegate": {"bedrock": "aws", "fireworks_ai": "fireworks", "together_ai": "together"},
        "sources": {},
        "models": [],
        "names": {},
        "rules": [],
    },
}
"""What no package keeps: the embedded model, and how LiteLLM names everybody else's."""

PRICE_KEYS = {
    "input_mtok": "input",
    "output_mtok": "output",
    "cache_read_mtok": "cached",
    "cache_write_mtok": "cache_write",
}
_SNAPSHOT = re.compile(r"-(20\d{6}|20\d\d-\d\d-\d\d)$")
_DATE = re.compile(r"\b20\d\d-[01]\d-[0-3]\d\b")


def main(argv: list[str] | None = None) -> int:
    """Write every file; returns 0, or 1 with a line that says which package is missing."""
    parser = argparse.ArgumentParser(prog="python -m crux_providers.catalog.generate")
    parser.add_argument("--today", type=date.fromisoformat, default=datetime.now(UTC).date())
    parser.add_argument("--out", type=Path, default=DATA)
    args = parser.parse_args(argv)
    try:
        vendors: list[Any] = importlib.import_module("genai_prices.data").providers
        texts = {"genai-prices": _file("genai-prices", "genai_prices/data.py")}
        profiles = {}
        for name, package in PROFILES.items():
            texts[package] = _file(package, f"{package.replace('-', '_')}/data/_profiles.py")
            profiles[name] = _literal(texts[package], "_PROFILES")
    except (ImportError, metadata.PackageNotFoundError) as exc:
        sys.stderr.write(f"catalog: install the sources first: {exc}\n")
        return 1
    args.out.mkdir(exist_ok=True)
    for vendor in vendors:
        name = NAMES.get(vendor.id, vendor.id)
        if not any(_rows(m, args.today) for m in vendor.models):
            continue
        sources = {
            "prices": _source(
                "genai-prices", texts["genai-prices"], args.today, vendor.pricing_urls or []
            )
        }
        if name in profiles:
            sources["limits"] = _source(
                PROFILES[name],
                texts[PROFILES[name]],
                args.today,
                ["https://github.com/sst/models.dev"],
            )
        book = provider_file(vendor, profiles.get(name, {}), args.today)
        write(
            args.out / f"{name}.json",
            {
                "provider": name,
                "api": vendor.api_pattern,
                "sources": sources,
                **book,
            },
        )
        sys.stdout.write(f"{name}: {len(book['models'])} models, {len(book['names'])} names\n")
    for name, book in OWN.items():
        day = args.today.isoformat()
        own = {
            kind: {**source, "date": day, "retrieved": day, "urls": []}
            for kind, source in book["sources"].items()
        }
        write(args.out / f"{name}.json", {"provider": name, **book, "sources": own})
    index = {"closed": sorted(CLOSED)}
    (args.out / INDEX).write_text(json.dumps(index) + "\n", encoding="utf-8")
    _write_licences(args.out, ["genai-prices", *sorted(PROFILES.values())])
    return 0


def provider_file(
    vendor: Any, profiles: Mapping[str, Mapping[str, Any]], today: date
) -> dict[str, Any]:
    """Models, exact names and match rules of one provider, in the price source's order.

    The source tries its models in order and takes the first that matches; the exact names are
    looked up with its own function here, so that the file gives the same answer by a table.
    """
    models: list[dict[str, Any]] = []
    rules: list[tuple[int, Any]] = []
    names: dict[str, int] = {}
    place = {id(model): i for i, model in enumerate(vendor.models)}
    literals: list[str] = []
    for i, model in enumerate(vendor.models):
        entry: dict[str, Any] = {"id": model.id}
        if model.context_window:
            entry["context"] = model.context_window
        if model.deprecated:
            entry["deprecated"] = True
        if rows := _rows(model, today):
            entry["prices"] = rows
        models.append(entry)
        for clause in _alternatives(model.match):
            if (text := getattr(clause, "equals", None)) is not None:
                literals.append(text.lower())
            else:
                rules.append((i, _rule(clause)))
    for text in (*literals, *(m.id.lower() for m in vendor.models)):
        if (found := vendor.find_model(text)) is not None:
            names[text] = place[id(found)]
    for name, profile in profiles.items():
        _add_profile(name, profile, models, names, vendor.find_model, place)
    return {"models": models, "names": dict(sorted(names.items())), "rules": rules}


def _add_profile(
    name: str,
    profile: Mapping[str, Any],
    models: list[dict[str, Any]],
    names: dict[str, int],
    find: Callable[[str], Any],
    place: Mapping[int, int],
) -> None:
    """Put limits and capabilities on the entry of that very name.

    A name that the price source counts under another model (a dated snapshot, a sibling billed
    alike) gets an entry of its own with that price: the price is shared, the limits need not be.
    """
    if not profile.get("text_outputs", True):
        return
    found = find(name)
    index = None if found is None else place[id(found)]
    if index is not None and models[index]["id"] == _SNAPSHOT.sub("", name) != name:
        return  # a dated snapshot of a model that is here: one model, one entry
    if index is None or models[index]["id"] != name:
        shared = {} if index is None else {k: v for k, v in models[index].items() if k == "prices"}
        models.append({"id": name, **shared})
        index = len(models) - 1
        names[name.lower()] = index
    entry = models[index]
    for theirs, ours in (("max_input_tokens", "max_input"), ("max_output_tokens", "max_output")):
        if profile.get(theirs):  # they write 0 where a model takes or gives no text
            entry[ours] = profile[theirs]
    # Two sources, one window: the price source rounds (1,000,000 for 1,048,576), and a window
    # smaller than the input it holds says nothing.
    if entry.get("context", 0) < entry.get("max_input", 0):
        entry.pop("context", None)
    if profile.get("status") == "deprecated":
        entry["deprecated"] = True
    capabilities = {
        ours: profile[theirs]
        for theirs, ours in CAPABILITIES.items()
        if profile.get(theirs) is True or (profile.get(theirs) is False and ours in TRUSTED_NO)
    }
    if capabilities:
        entry["capabilities"] = capabilities


def _rows(model: Any, today: date) -> list[dict[str, Any]]:
    """The prices that hold today or later, oldest first; replaced ones are left out."""
    prices = model.prices
    if not isinstance(prices, list):
        row = _price(prices)
        return [row] if row else []
    rows: list[dict[str, Any]] = []
    for conditional in prices:
        row = _price(conditional.prices)
        limit = conditional.constraint
        start = getattr(limit, "start_date", None)
        if limit is None or (start is not None and start <= today):
            rows = []  # from today on it hides every row before it
        if start is not None:
            row["since"] = start.isoformat()
        elif limit is not None:
            row["hours"] = [f"{limit.start_time:%H:%M}", f"{limit.end_time:%H:%M}"]
        rows.append(row)
    return rows if any(_PRICED & row.keys() for row in rows) else []


_PRICED = frozenset(PRICE_KEYS.values())


def _price(price: Any) -> dict[str, Any]:
    base: dict[str, Any] = {}
    starts: set[int] = set()
    found = {
        ours: v
        for theirs, ours in PRICE_KEYS.items()
        if (v := getattr(price, theirs, None)) is not None
    }
    for ours, value in found.items():
        starts.update(tier.start for tier in getattr(value, "tiers", ()))
        base[ours] = _number(value, 0)
    if starts:
        base["above"] = [
            [start, {ours: _number(value, start + 1) for ours, value in found.items()}]
            for start in sorted(starts)
        ]
    return base


def _number(value: Any, tokens: int) -> int | float:
    """A price at this many input tokens: the last tier that starts below them."""
    if not isinstance(value, Decimal):
        begun = [tier.price for tier in value.tiers if tokens > tier.start]
        value = begun[-1] if begun else value.base
    return int(value) if value == value.to_integral_value() else float(value)


def _alternatives(clause: Any) -> Iterable[Any]:
    """The clauses of which one suffices."""
    if hasattr(clause, "or_"):
        for part in clause.or_:
            yield from _alternatives(part)
    else:
        yield clause


def _rule(clause: Any) -> dict[str, Any]:
    for theirs, ours in (
        ("starts_with", "prefix"),
        ("ends_with", "suffix"),
        ("contains", "contains"),
        ("equals", "equals"),
    ):
        if (text := getattr(clause, theirs, None)) is not None:
            return {ours: text.lower()}
    if (pattern := getattr(clause, "regex", None)) is not None:
        return {"regex": pattern}
    if (parts := getattr(clause, "and_", None)) is not None:
        return {"all": [_rule(part) for part in parts]}
    return {"any": [_rule(part) for part in clause.or_]}


def _source(package: str, text: str, today: date, urls: list[str]) -> dict[str, Any]:
    info = metadata.metadata(package)
    named = [d for d in set(_DATE.findall(text)) if d <= today.isoformat()]
    return {
        "name": package,
        "version": info["Version"],
        "license": next((info[k] for k in ("License-Expression", "License") if k in info), ""),
        "date": max(named),
        "retrieved": today.isoformat(),
        "urls": urls,
    }


def _file(package: str, path: str) -> str:
    for file in metadata.files(package) or ():
        if str(file) == path:
            return file.read_text(encoding="utf-8")
    raise ImportError(f"{package} has no {path}")


def _literal(text: str, name: str) -> dict[str, Any]:
    """The value of a top-level literal, without running the file."""
    for node in ast.parse(text).body:
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", "") == name:
            value: dict[str, Any] = ast.literal_eval(node.value or node)
            return value
    raise ImportError(f"{name} not found")


def write(path: Path, book: Mapping[str, Any]) -> None:
    """One model, rule or header field a line, so that a new release shows as a readable diff."""

    def dump(value: Any) -> str:
        return json.dumps(value, ensure_ascii=False, separators=(", ", ": "))

    fields = []
    for key, value in book.items():
        if key in ("models", "rules"):
            items = ",\n".join(f"  {dump(item)}" for item in value)
            fields.append(f"{dump(key)}: [\n{items}\n ]" if value else f"{dump(key)}: []")
        else:
            fields.append(f"{dump(key)}: {dump(value)}")
    path.write_text("{\n " + ",\n ".join(fields) + "\n}\n", encoding="utf-8")


def _write_licences(out: Path, packages: Iterable[str]) -> None:
    texts: dict[str, list[str]] = {}
    for package in packages:
        for file in metadata.files(package) or ():
            if "dist-info" in str(file) and file.name.upper().startswith("LICENSE"):
                texts.setdefault(file.read_text(encoding="utf-8").strip(), []).append(package)
    parts = [f"Data from: {', '.join(names)}\n\n{text}\n" for text, names in texts.items()]
    (out / "LICENSES.txt").write_text("\n---\n\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
