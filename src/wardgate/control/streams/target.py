"""Where a stream leads, checked when it is set; the address that its name stands for is judged at each connection."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from ...api.problems import FieldError, ProblemCode, ProblemError
from ...api.streams import StreamKind
from ...errors import WardgateError
from ..outbound import Outbound

_SYSLOG_PORTS: Final = {"syslog+tls": 6514, "syslog+tcp": 514, "syslog+udp": 514}
_HTTP_PORTS: Final = {"https": 443, "http": 80}
# What the delivery itself says, or what would change where a request ends.
_OWN_HEADERS: Final = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "host", "te", "trailer", "transfer-encoding",
     "upgrade", "webhook-id", "webhook-signature", "webhook-timestamp"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Target:
    """A receiver. `is_sealed`: nobody on the way can read what is sent."""

    kind: StreamKind
    scheme: str
    host: str
    port: int
    url: str

    @property
    def is_sealed(self) -> bool:
        """See above."""
        return self.scheme in ("https", "syslog+tls")


def parse(kind: StreamKind, url: str, outbound: Outbound) -> Target:
    """The receiver that `url` names; ProblemError `invalid_request`."""
    if kind is not StreamKind.SYSLOG:
        try:
            parts = outbound.check(url)
        except WardgateError as error:
            raise _bad("url", error.message) from error
        if parts.fragment:
            raise _bad("url", "It has no fragment.")
        return Target(kind, parts.scheme, parts.hostname or "", parts.port or _HTTP_PORTS[parts.scheme], url)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _bad("url", "That is no URL.") from None
    clean = url.isascii() and url.isprintable() and " " not in url
    bare = parts.path in ("", "/") and not parts.query and not parts.fragment and "@" not in parts.netloc
    if not clean or not bare or parts.scheme not in _SYSLOG_PORTS or not parts.hostname or port == 0:
        raise _bad("url", "Write it as syslog+tls://host:6514, syslog+tcp://host:514 or syslog+udp://host:514.")
    return Target(kind, parts.scheme, parts.hostname, port or _SYSLOG_PORTS[parts.scheme], url)


def tls_context(ca_certificate: str | None) -> ssl.SSLContext:
    """How a receiver is trusted; ProblemError `invalid_request` for a certificate that is none."""
    context = ssl.create_default_context()
    if ca_certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            context.load_verify_locations(cadata=ca_certificate)
        except (ssl.SSLError, ValueError):
            raise _bad("ca_certificate", "It is no PEM certificate.") from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def check_header(name: str, value: str) -> None:
    """ProblemError `invalid_request` for a header that can't be sent."""
    if name.lower() in _OWN_HEADERS:
        raise _bad("headers", f"{name} is set by the delivery itself.")
    if not value.isascii() or not value.isprintable() or not value.strip() or len(value) > 4096:
        raise _bad("headers", f"The value of {name} can't be sent: use printable ASCII.")


def check_bodies(target: Target, bodies: bool) -> None:
    """ProblemError `invalid_request`: bodies go where nobody on the way reads them."""
    if bodies and not target.is_sealed:
        raise _bad("bodies", "Bodies are sent over TLS only: use https:// or syslog+tls://.")


def _bad(field: str, why: str) -> ProblemError:
    message = f"The stream's {field.replace('_', ' ')} can't be used. {why}"
    return ProblemError(ProblemCode.INVALID_REQUEST, message, errors=[FieldError(field=field, message=why)])
