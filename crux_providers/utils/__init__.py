"""Programs over all providers."""
