"""What can be wrong with somebody's MongoDB, as stable codes and one sentence each.

The codes stand in the connection test's hops and in notices, so they are append-only. The sentence names the address,
says what happened and, where we know it, what to do; it never holds a password or a byte of a SASL payload.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from ...errors import WardgateError


class Code(StrEnum):
    """Stable codes, alphabetical."""

    ADDRESS_REFUSED = "address_refused"
    CA_INVALID = "ca_invalid"
    CLIENT_CERTIFICATE_EXPIRED = "client_certificate_expired"
    CLIENT_CERTIFICATE_INVALID = "client_certificate_invalid"
    COMMAND_FAILED = "command_failed"
    DNS_FAILED = "dns_failed"
    DNS_SRV_HOST = "dns_srv_host"
    DNS_SRV_MISSING = "dns_srv_missing"
    DNS_TXT_INVALID = "dns_txt_invalid"
    LOGIN_FAILED = "login_failed"
    LOGIN_HOST = "login_host"
    LOGIN_HOSTILE = "login_hostile"
    LOGIN_MECHANISM = "login_mechanism"
    LOGIN_NEEDS_TLS = "login_needs_tls"
    LOGIN_TOKEN = "login_token"  # noqa: S105 - a code, not a token
    NOT_MONGODB = "not_mongodb"
    PASSWORD_UNUSABLE = "password_unusable"  # noqa: S105 - a code, not a password
    PROTOCOL_ERROR = "protocol_error"
    SERVER_CLOSED = "server_closed"
    SERVER_SILENT = "server_silent"
    TCP_REFUSED = "tcp_refused"
    TCP_TIMEOUT = "tcp_timeout"
    TCP_UNREACHABLE = "tcp_unreachable"
    TLS_CLIENT_CERTIFICATE = "tls_client_certificate"
    TLS_EXPIRED = "tls_expired"
    TLS_FAILED = "tls_failed"
    TLS_HOSTNAME = "tls_hostname"
    TLS_NOT_SPOKEN = "tls_not_spoken"
    TLS_NOT_YET_VALID = "tls_not_yet_valid"
    TLS_REQUIRED = "tls_required"
    TLS_TIMEOUT = "tls_timeout"
    TLS_UNTRUSTED = "tls_untrusted"
    TOPOLOGY_MEMBER = "topology_member"
    TOPOLOGY_NO_PRIMARY = "topology_no_primary"
    TOPOLOGY_SET_NAME = "topology_set_name"


# What does not mend by itself: nobody waits for it. (A name that is not found, or a server that is down, may.)
LASTING = frozenset(
    {
        Code.ADDRESS_REFUSED,
        Code.NOT_MONGODB,
        Code.PROTOCOL_ERROR,
        Code.TLS_CLIENT_CERTIFICATE,
        Code.TLS_EXPIRED,
        Code.TLS_HOSTNAME,
        Code.TLS_NOT_SPOKEN,
        Code.TLS_NOT_YET_VALID,
        Code.TLS_UNTRUSTED,
    }
)

# Nobody said no: it may be busy, or far away for a moment.
LATE = frozenset({Code.SERVER_SILENT, Code.TCP_TIMEOUT, Code.TLS_TIMEOUT})


class MongoError(WardgateError):
    """A failure on the way to MongoDB or in its answer. `code` is one of `Code`."""

    def __init__(self, code: Code | str, message: str) -> None:
        super().__init__(code, message)


class CommandFailedError(MongoError):
    """MongoDB answered ``ok: 0``. `server_code` is its own numeric code (0 where it gave none)."""

    def __init__(self, what: str, reply: Mapping[str, Any]) -> None:
        code = reply.get("code")
        self.server_code: int = code if isinstance(code, int) else 0
        super().__init__(
            Code.COMMAND_FAILED, f"{what} was refused: {quoted(reply.get('errmsg'))} (code {self.server_code})."
        )


def quoted(text: object, limit: int = 200) -> str:
    """A server's words, made harmless for terminals and logs: one line, printable, bounded."""
    line = "".join(c if c.isprintable() else " " for c in str(text if text is not None else "no reason given"))
    line = " ".join(line.split()).rstrip(".")
    return line if len(line) <= limit else line[: limit - 1] + "…"
