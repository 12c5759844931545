"""The control plane's address, as every program checks and writes it.

One rule in one place: `https://` anywhere, `http://` only on loopback, because a login token or an enrolment proof must
never cross a network in clear. The canonical form (no trailing slash, lower-case host, default port left out) is also
the audience of signed assertions and the key of stored logins, so two spellings can't mean two things.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit

from ..errors import WardgateError

_DEFAULT_PORTS = {"http": 80, "https": 443}


def canonical(domain: str) -> str:
    """`domain` as `scheme://host[:port]`; WardgateError `invalid_domain` if it is no acceptable address.

    A bare host name means HTTPS.
    """
    text = domain.strip()
    if "://" not in text:
        text = f"https://{text}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise _invalid(domain) from None
    if parts.scheme not in _DEFAULT_PORTS or not host or "@" in parts.netloc:
        raise _invalid(domain)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise _invalid(domain)
    if parts.scheme == "http" and not is_loopback(host):
        raise WardgateError(
            "insecure_domain",
            f"http://{host} would send your login in clear: use https:// (plain http is accepted on loopback only).",
        )
    shown = f"[{host}]" if ":" in host else host
    suffix = "" if port is None or port == _DEFAULT_PORTS[parts.scheme] else f":{port}"
    return f"{parts.scheme}://{shown}{suffix}"


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine by definition, without asking a resolver."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True)
class PasskeySite:
    """What passkeys are made for: `rp_id`, a host name, and the one `origin` whose pages may use them."""

    rp_id: str
    origin: str


def passkey_site(domain: str) -> PasskeySite | None:
    """Where a control plane's passkeys are good; None where it has no name.

    A passkey belongs to a host name, never to an IP address (WebAuthn, section 5.1.2). A control plane on a loopback
    address is also reached as `localhost`, which every browser takes.
    """
    parts = urlsplit(canonical(domain))
    host = "localhost" if is_loopback(parts.hostname or "") else parts.hostname or ""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        suffix = "" if parts.port is None else f":{parts.port}"
        return PasskeySite(host, f"{parts.scheme}://{host}{suffix}")
    return None


def _invalid(domain: str) -> WardgateError:
    shown = domain.rpartition("@")[2][:100]  # what precedes an @ may be a password
    return WardgateError(
        "invalid_domain",
        f"“{shown}” is not the address of a control plane: write it as https://wardgate.example.com.",
    )
