"""Which key goes where: an environment's key only to the provider's own host.

A routes file may come with a cloned repository. What it may not do is point a provider somewhere
else and have the user's key follow: a ``base_url`` of the file's own, or a ``verify`` that lets
anybody pose as the host, takes a key that the file names itself, and the variables that hold
providers' keys may stand nowhere but in that provider's own ``api_key``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from crux_providers.config.declaration import ProviderDeclaration, declarations
from crux_providers.config.errors import ConfigError

from .routes import ProviderConfig, Timeouts

FindKey = Callable[[ProviderDeclaration, Mapping[str, str]], str | None]


class DeclaresProviders(Protocol):
    """A configuration, as far as providers go."""

    @property
    def providers(self) -> Mapping[str, ProviderConfig]:
        """The providers that the file declares, by name."""
        ...


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """How to make a provider; :meth:`arguments` are its constructor's.

    ``api_key`` is what the file gives, ``""`` for none at all, None where the provider is to find
    its own (``key_source`` ``environment``). ``missing`` says why it cannot be used now, in words
    that name the variable; None where it can. ``declaration`` is None for a gateway, whose codec is
    ``dialect``.
    """

    name: str
    declaration: ProviderDeclaration | None
    dialect: str
    key_source: Literal["file", "environment", "none"]
    api_key: str | None = field(default=None, repr=False)
    base_url: str | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    api: str | None = None
    transport: str | None = None
    timeout: float | Timeouts | None = None
    proxy: str | None = field(default=None, repr=False)
    verify: bool | str = True
    missing: str | None = None

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of the provider's constructor; what is not said is left out."""
        timeout: Any = self.timeout
        if isinstance(timeout, Timeouts):
            limits = {
                "connect": timeout.connect,
                "first_token": timeout.first_token,
                "total": timeout.total,
            }
            timeout = {k: v for k, v in limits.items() if v is not None}
        given = {
            "api_key": self.api_key,
            "base_url": self.base_url,
            "headers": dict(self.headers) or None,
            "api": self.api,
            "transport": self.transport,
            "timeout": timeout,
            "proxy": self.proxy,
        }
        arguments = {k: v for k, v in given.items() if v is not None}
        return arguments if self.verify is True else {**arguments, "verify": self.verify}


def key_in_environment(declared: ProviderDeclaration, env: Mapping[str, str]) -> str | None:
    """The provider's key by its declared variables, in their order; empty ones do not count."""
    names = (declared.env_key, *declared.env_aliases)
    return next((env[n] for n in names if n and env.get(n)), None)


def provider_settings(
    config: DeclaresProviders,
    name: str,
    env: Mapping[str, str],
    find_key: FindKey = key_in_environment,
) -> ProviderSettings:
    """What provider ``name`` is to be made with. Pure, but for what ``find_key`` does.

    ``find_key`` says whether the environment has a key (pass one that knows ``.env`` and
    ``config.yaml`` too); it is not asked where no key of the environment may go. Raises KeyError
    for a provider that neither the file nor a folder declares.
    """
    declared = declarations().get(name)
    given = config.providers.get(name)
    if given is None:
        if declared is None:
            raise KeyError(name)
        given = ProviderConfig(name)
    api_key = given.api_key
    source: Literal["file", "environment", "none"]
    missing: str | None = None
    if given.missing:
        missing = _unset(given.missing)
    if api_key is not None:
        source = "file" if api_key else "none"
    elif given.foreign or declared is None:
        source, api_key = "none", ""
        if missing is None and declared is not None and declared.key_required:
            missing = _WITHHELD.format(name=name, variable=declared.base_url_variable)
    elif declared.env_key is None:
        source = "none"
    else:
        source = "environment"
        if missing is None and declared.key_required:
            missing = _no_key(declared, declared.env_key, env, find_key)
    return ProviderSettings(
        name=name,
        declaration=declared,
        dialect=given.dialect or (declared.dialect if declared is not None else ""),
        key_source=source,
        api_key=api_key,
        base_url=given.base_url,
        headers=given.headers,
        api=given.api,
        transport=given.transport,
        timeout=given.timeout,
        proxy=given.proxy,
        verify=given.verify,
        missing=missing,
    )


def _no_key(
    declared: ProviderDeclaration, variable: str, env: Mapping[str, str], find_key: FindKey
) -> str | None:
    try:
        return None if find_key(declared, env) else _unset((variable,))
    except ConfigError as exc:  # a file that cannot be read costs this provider, not the others
        return f"{_unset((variable,))}, and {exc}"


_WITHHELD = (
    "the routes file chooses where {name} is, so it needs an api_key of its own there: a key of "
    "the environment goes only to the provider's own host or to {variable} of the environment"
)


def _unset(names: tuple[str, ...]) -> str:
    return f"{' and '.join(names)} {'is' if len(names) == 1 else 'are'} not set"


def is_foreign(provider: ProviderConfig, env: Mapping[str, str]) -> bool:
    """Whether the file takes this provider's calls to where its key must not follow."""
    declared = declarations().get(provider.name)
    if declared is None or provider.verify is not True:
        return True
    if provider.base_url is None:
        return False
    if provider.base_url == env.get(declared.base_url_variable):
        return False
    return _origin(provider.base_url) != _origin(declared.base_url)


def _origin(url: str) -> tuple[str, str | None, int | None] | None:
    """Scheme, host and port; None, which equals nothing useful, for what is no address."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if "\\" in url or "@" in parts.netloc:  # what libraries read differently is nobody's own host
        return None
    usual = {"https": 443, "http": 80}.get(parts.scheme)
    return parts.scheme, parts.hostname, usual if port is None else port


def may_hold(variable: str, provider: ProviderConfig) -> bool:
    """Whether ``provider`` may name this provider's-key variable as its ``api_key``."""
    owner = key_variables()[variable]
    if provider.name == owner:
        return not provider.foreign
    home = declarations()[owner].base_url
    return (
        provider.verify is True
        and provider.base_url is not None
        and _origin(provider.base_url) == _origin(home)
    )


@cache
def key_variables() -> Mapping[str, str]:
    """Every environment variable that holds a provider's key, with the provider's name."""
    return {
        variable: declared.name
        for declared in declarations().values()
        for variable in (declared.env_key, *declared.env_aliases)
        if variable
    }
