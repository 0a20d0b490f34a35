"""Chat models with a fallback, each asked in its own way; one process a peer, JSON lines over pipes."""
