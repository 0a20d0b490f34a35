"""SQLite, and the tools that work on its files."""
