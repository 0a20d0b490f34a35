"""The registry of models, read from the database."""

from .repository import ModelRegistryRepository

__all__ = ["ModelRegistryRepository"]
