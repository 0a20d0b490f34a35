"""What can be wrong with configuration, in one line that says what to do."""

from __future__ import annotations


class ConfigError(ValueError):
    """A configuration file that cannot be used; one line that names it and says what to do."""
