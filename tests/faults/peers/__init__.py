"""Chat models with a fallback, each in a process of its own that answers JSON lines."""
