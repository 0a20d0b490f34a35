"""API keys: the process environment, then ``.env``, then ``config.yaml``."""

from __future__ import annotations

from ...config import files
from ...config.env import get_env_var_candidates, is_placeholder, resolve_provider_key


class KeysRepository:
    """Finds a provider's key. Reads at each call and changes nothing, ``os.environ`` included."""

    def get_api_key(self, provider: str) -> str | None:
        """The key, or None; placeholders count as none.

        Raises ConfigError (one line, naming the file) where ``.env`` or ``config.yaml`` has to be
        asked and cannot be read.
        """
        key, _ = resolve_provider_key(provider)
        if key is not None:
            return key
        stored = files.dotenv()
        for name in get_env_var_candidates(provider):
            if (key := _real(stored.get(name))) is not None:
                return key
        return _real(files.api_section(provider).get("api_key"))


def _real(value: object) -> str | None:
    if not isinstance(value, str) or is_placeholder(value):
        return None
    return value.strip()
