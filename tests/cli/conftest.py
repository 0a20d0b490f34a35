"""These tests run against both database engines."""

from tests.databases import place, postgres, store

__all__ = ["place", "postgres", "store"]
