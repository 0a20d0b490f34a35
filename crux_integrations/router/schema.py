"""The JSON Schema of a routes file, for editors; made from the table the loader reads by."""

from __future__ import annotations

from typing import Any

from .grammar import FILE

SCHEMA_ID = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12) as a new mapping."""
    return {"$schema": SCHEMA_ID, "title": "routes.yaml", **FILE.schema()}
