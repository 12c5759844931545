"""The control plane's address, in one spelling.

Logins are kept by it, enrolment tokens carry it and assertions are bound to it, so all three must agree on what
`HTTPS://Example.com:443/` is. Law: scheme, host and a port that is not the scheme's own; no path, no user, no query;
`http` only for loopback, where nobody is between.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from ..errors import WardgateError

_PORTS = {"http": 80, "https": 443}


def canonical(text: str) -> str:
    """`text` in its one spelling; WardgateError `invalid_domain` if it is no address of a control plane."""
    try:
        parts = urlsplit(text.strip() if "://" in text else f"https://{text.strip()}")
        host, port = (parts.hostname or ""), parts.port
    except ValueError as error:
        raise _refused(text) from error
    if parts.scheme not in _PORTS or not host or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise _refused(text)
    if "@" in parts.netloc or any(char.isspace() or not char.isprintable() for char in host):
        raise _refused(text)
    if parts.scheme == "http" and not is_loopback(host):
        raise WardgateError(
            "invalid_domain",
            f"{_shown(text)} is plain http to another machine, which anyone between could read: use https.",
        )
    shown = f"[{host}]" if ":" in host else host
    suffix = "" if port in (None, _PORTS[parts.scheme]) else f":{port}"
    return f"{parts.scheme}://{shown}{suffix}"


def is_loopback(host: str) -> bool:
    """Whether `host` (a name or a literal, no brackets) can only be this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _refused(text: str) -> WardgateError:
    return WardgateError(
        "invalid_domain",
        f"{_shown(text)} is not the address of a control plane: write it as https://wardgate.example.com.",
    )


def _shown(text: str) -> str:
    """The address without what may be a password in it, for a sentence."""
    return f"“{text.rsplit('@', 1)[-1][:200]}”"
