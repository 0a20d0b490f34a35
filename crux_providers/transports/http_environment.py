"""What a user's environment says about a connection: proxies, exceptions to them, certificates."""

from __future__ import annotations

import ipaddress
import os
import ssl
import threading
from pathlib import Path

from ..base.errors import WireFailure


def proxy_for(scheme: str, host: str, port: int, setting: str | None) -> str | None:
    """The proxy a call to ``scheme://host:port`` goes through, or None.

    ``setting`` is :attr:`Endpoint.proxy`: an URL is taken as it is, ``""`` is none, and None asks
    ``<scheme>_proxy`` and ``all_proxy`` (lower case first), unless ``no_proxy`` names the host.
    """
    if setting is not None:
        return _with_scheme(setting)
    found = _variable(f"{scheme}_proxy") or _variable("all_proxy")
    if not found or bypasses_proxy(host, port, _variable("no_proxy")):
        return None
    return _with_scheme(found)


def _variable(name: str) -> str:
    value = os.environ.get(name)
    if value is not None:
        return value
    # A web server puts a request's `Proxy:` header into HTTP_PROXY (CVE-2016-5385).
    if name == "http_proxy" and "REQUEST_METHOD" in os.environ:
        return ""
    return os.environ.get(name.upper(), "")


def _with_scheme(proxy: str) -> str | None:
    return (proxy if "://" in proxy else f"http://{proxy}") if proxy else None


def bypasses_proxy(host: str, port: int, no_proxy: str) -> bool:
    """Whether ``no_proxy`` names ``host``.

    Entries are separated by commas or blanks: ``*`` is every host; ``example.com``,
    ``.example.com`` and ``*.example.com`` are the domain and all below it; an address matches
    itself, ``10.0.0.0/8`` the addresses in it; ``:8080`` after any of them that port alone.
    """
    host = host.strip("[]").lower().rstrip(".")
    address = _address(host)
    for entry in no_proxy.lower().replace(",", " ").split():
        name, wanted_port = _split_port(entry)
        if wanted_port is not None and wanted_port != port:
            continue
        if name == "*":
            return True
        if address is not None:
            try:
                if address in ipaddress.ip_network(name, strict=False):
                    return True
            except ValueError:
                pass  # a domain, which no address is in
            continue
        domain = name.removeprefix("*").strip(".")
        if domain and (host == domain or host.endswith(f".{domain}")):
            return True
    return False


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _split_port(entry: str) -> tuple[str, int | None]:
    if entry.startswith("["):
        name, _, rest = entry[1:].partition("]")
        port = rest.removeprefix(":")
    elif entry.count(":") == 1:
        name, _, port = entry.partition(":")
    else:
        name, port = entry, ""  # no port, or a bare IPv6 address
    return name, int(port) if port.isdecimal() else None


Certificates = tuple[bool | str, str, str]
"""What decides an SSL context: ``Endpoint.verify``, SSL_CERT_FILE, SSL_CERT_DIR."""

_contexts: dict[Certificates, ssl.SSLContext] = {}
_contexts_lock = threading.Lock()


def certificates(verify: bool | str) -> Certificates:
    """The settings a context is made from and shared by."""
    if verify is not True:
        return (verify, "", "")
    return (True, os.environ.get("SSL_CERT_FILE", ""), os.environ.get("SSL_CERT_DIR", ""))


def ssl_context(settings: Certificates) -> ssl.SSLContext:
    """The one context for these settings; made at first use, since making it costs 40 to 100 ms.

    Raises WireFailure(local) where a certificate file or folder cannot be read.
    """
    with _contexts_lock:
        context = _contexts.get(settings)
        if context is None:
            context = _contexts[settings] = _new_context(*settings)
        return context


def _new_context(verify: bool | str, cert_file: str, cert_dir: str) -> ssl.SSLContext:
    if verify is False:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context
    try:
        if isinstance(verify, str):
            folder = Path(verify).is_dir()
            return ssl.create_default_context(
                cafile=None if folder else verify, capath=verify if folder else None
            )
        if cert_file or cert_dir:
            return ssl.create_default_context(cafile=cert_file or None, capath=cert_dir or None)
        import certifi  # httpx brings it

        return ssl.create_default_context(cafile=certifi.where())
    except (OSError, ssl.SSLError) as exc:
        named = verify if isinstance(verify, str) else cert_file or cert_dir
        raise WireFailure(
            "local", f"the certificates in {named!r} cannot be read: {exc}", cause=exc
        ) from exc


def forget_locks_after_fork() -> None:
    """In a forked child: a lock that another thread held would stay held for ever."""
    global _contexts_lock
    _contexts_lock = threading.Lock()
