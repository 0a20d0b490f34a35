"""Persistence: one versioned schema on SQLite or PostgreSQL, written in the background.

``store.get_store()`` is the way in. Importing this package imports no database driver.
"""
