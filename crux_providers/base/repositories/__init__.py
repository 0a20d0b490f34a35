"""Repositories: where keys and model listings come from."""
