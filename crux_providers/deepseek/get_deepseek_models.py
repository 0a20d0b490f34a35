"""DeepSeek's models: a short listing of names."""

from __future__ import annotations

from typing import Any

from ..base.get_models_base import run_fetcher
from ..base.listing import fetch_listing, run_program
from ..openai.get_openai_models import listing_elsewhere


def run() -> list[dict[str, Any]]:
    """Fetch, normalize and store the models; those stored before where that fails."""
    return run_fetcher("deepseek", lambda: fetch_listing("deepseek", sdk=listing_elsewhere))


if __name__ == "__main__":
    run_program("deepseek", run)
