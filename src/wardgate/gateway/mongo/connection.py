"""One dial: name, TCP, TLS. The transport that comes out has sent nothing yet.

It is used for data streams, where the first bytes must be the client's own hello, and for the gateway's own
connections. What it is not: a login and a protocol; both come later on the same transport.

Law: every IP address is judged by `net.places.never_dialled` immediately before the socket connects to that same IP
address; names are never handed to anything that would resolve them again. Every step has its deadline, and a step that
fails leaves no socket behind.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Sequence
from typing import TypeVar

from ...net.places import never_dialled
from .errors import Code, MongoError, quoted
from .names import Endpoint
from .target import Target, split_address

P = TypeVar("P", bound=asyncio.BaseProtocol)
STAGGER = 0.25  # RFC 8305: the next address is tried beside the one that has not answered yet
KEEPALIVE_IDLE, KEEPALIVE_EVERY, KEEPALIVE_TIMES = 120, 10, 9  # as MongoDB's drivers

_VERIFY_EXPIRED = 10
_VERIFY_NOT_YET_VALID = 9
_VERIFY_NAMES = (62, 64)  # host name, IP address
_NOT_TLS_REASONS = frozenset(
    {"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "RECORD_LAYER_FAILURE"}
)
_CLIENT_CERTIFICATE_DEMANDED = frozenset(
    {
        "TLSV13_ALERT_CERTIFICATE_REQUIRED",
        "TLSV1_3_ALERT_CERTIFICATE_REQUIRED",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",  # TLS 1.2; with the suites of both sides it has hardly another reason
    }
)
_CLIENT_CERTIFICATE_REFUSED = frozenset(
    {
        "SSLV3_ALERT_BAD_CERTIFICATE",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED",
        "SSLV3_ALERT_CERTIFICATE_REVOKED",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN",
        "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE",
        "TLSV1_ALERT_ACCESS_DENIED",
        "TLSV1_ALERT_DECRYPT_ERROR",
        "TLSV1_ALERT_UNKNOWN_CA",
    }
)


async def dial(target: Target, address: str, protocol_factory: Callable[[], P]) -> tuple[asyncio.Transport, P]:
    """Connect to one member. The protocol gets `connection_made` after TLS. Raises MongoError."""
    endpoints = await resolve(target, address)
    sock = await connect(target, address, endpoints)
    return await secure(target, address, sock, protocol_factory)


async def resolve(target: Target, address: str) -> list[Endpoint]:
    """The addresses behind a name that may be dialled. Raises MongoError(dns_failed, address_refused, login_host)."""
    try:
        host, port = split_address(address)
        if target.check_hosts is not None:
            target.check_hosts((host,))
        found = await target.names.addresses(host, port, target.numbers.tcp_connect)
    except (OSError, UnicodeError, ValueError) as error:  # TimeoutError is an OSError
        raise MongoError(
            Code.DNS_FAILED, f"The gateway can't resolve {quoted(address)}: check the name, and DNS at the gateway."
        ) from error
    allowed = [each for each in dict.fromkeys(found) if not never_dialled(each.sockaddr[0])]
    if not allowed:
        raise MongoError(
            Code.ADDRESS_REFUSED,
            f"{quoted(address)} leads to a link-local, metadata or other address that a gateway never dials.",
        )
    return allowed


async def connect(target: Target, address: str, endpoints: Sequence[Endpoint]) -> socket.socket:
    """TCP to the first endpoint that answers. Raises MongoError(tcp_…)."""
    try:
        async with asyncio.timeout(target.numbers.tcp_connect):
            return await _race(_interleaved(endpoints))
    except OSError as error:
        raise _tcp_error(address, error, target.numbers.tcp_connect) from error


async def secure(
    target: Target, address: str, sock: socket.socket, protocol_factory: Callable[[], P]
) -> tuple[asyncio.Transport, P]:
    """TLS as the target wants it, or none. Owns `sock` from here on. Raises MongoError(tls_…)."""
    loop = asyncio.get_running_loop()
    made: list[P] = []

    def factory() -> P:
        made.append(protocol_factory())
        return made[0]

    try:
        if target.tls is None:
            return await loop.create_connection(factory, sock=sock)
        async with asyncio.timeout(target.numbers.tls_handshake):
            return await loop.create_connection(
                factory,
                sock=sock,
                ssl=target.tls,
                server_hostname=split_address(address)[0].rstrip("."),
                # Longer than the deadline around it, so that one error means "too late", not two.
                ssl_handshake_timeout=target.numbers.tls_handshake + 5,
            )
    except (OSError, ValueError) as error:  # ssl.SSLError and TimeoutError are OSErrors; ValueError: no name for SNI
        raise tls_error(address, error, target.numbers.tls_handshake) from error
    finally:
        if not made:  # else the loop's transport owns the descriptor and closes it, at a moment of its own
            sock.close()


# --- TCP ----------------------------------------------------------------------------------------------------------


def _interleaved(endpoints: Sequence[Endpoint]) -> list[Endpoint]:
    """The resolver's order, families taking turns, so that a dead one costs one stagger only."""
    first = [each for each in endpoints if each.family == endpoints[0].family]
    other = [each for each in endpoints if each.family != endpoints[0].family]
    mixed: list[Endpoint] = []
    for index in range(max(len(first), len(other))):
        mixed += first[index : index + 1] + other[index : index + 1]
    return mixed


async def _race(endpoints: list[Endpoint]) -> socket.socket:
    if len(endpoints) == 1:
        return await _connect_one(endpoints[0])
    waiting = list(reversed(endpoints))
    attempts: set[asyncio.Task[socket.socket]] = set()
    errors: list[OSError] = []
    try:
        while waiting or attempts:
            if waiting:
                attempts.add(asyncio.create_task(_connect_one(waiting.pop())))
            done, _ = await asyncio.wait(
                attempts, timeout=STAGGER if waiting else None, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                attempts.discard(task)
                error = task.exception()
                if error is None:
                    attempts |= done - {task}  # a photo finish: the others are closed below
                    return task.result()
                if not isinstance(error, OSError):
                    raise error
                errors.append(error)
        raise errors[0]
    finally:
        for task in attempts:
            task.cancel()
        for result in await asyncio.gather(*attempts, return_exceptions=True):
            if isinstance(result, socket.socket):
                result.close()


async def _connect_one(endpoint: Endpoint) -> socket.socket:
    sock = socket.socket(endpoint.family, socket.SOCK_STREAM | getattr(socket, "SOCK_CLOEXEC", 0))
    try:
        sock.setblocking(False)
        _tune(sock)
        await asyncio.get_running_loop().sock_connect(sock, endpoint.sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        ("TCP_KEEPIDLE", KEEPALIVE_IDLE),
        ("TCP_KEEPINTVL", KEEPALIVE_EVERY),
        ("TCP_KEEPCNT", KEEPALIVE_TIMES),
    ):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _tcp_error(address: str, error: OSError, deadline: float) -> MongoError:
    shown = quoted(address)
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return MongoError(
            Code.TCP_TIMEOUT, f"{shown} did not answer within {deadline:g} s: is a firewall between it and the gateway?"
        )
    if error.errno == errno.ECONNREFUSED:
        return MongoError(Code.TCP_REFUSED, f"{shown} refused the connection: nothing listens on that port.")
    return MongoError(
        Code.TCP_UNREACHABLE, f"The gateway can't reach {shown}: {quoted(error.strerror or type(error).__name__)}."
    )


# --- TLS ----------------------------------------------------------------------------------------------------------


def tls_error(address: str, error: BaseException, deadline: float) -> MongoError:
    """What a failed handshake means, in one sentence."""
    shown = quoted(address)
    if isinstance(error, ssl.SSLCertVerificationError):
        return _certificate_error(shown, address, error)
    if isinstance(error, TimeoutError):
        return MongoError(
            Code.TLS_TIMEOUT, f"{shown} did not finish the TLS handshake within {deadline:g} s; does it speak TLS?"
        )
    reason = (getattr(error, "reason", None) or "").upper() if isinstance(error, ssl.SSLError) else ""
    if reason in _NOT_TLS_REASONS:
        return MongoError(
            Code.TLS_NOT_SPOKEN, f"{shown} does not speak TLS: turn SSL off for this resource, or TLS on at the server."
        )
    if reason in _CLIENT_CERTIFICATE_REFUSED:
        return client_certificate_refused(address)
    if reason in _CLIENT_CERTIFICATE_DEMANDED:
        return MongoError(
            Code.TLS_CLIENT_CERTIFICATE,
            f"{shown} demands a client certificate: give the account one (until then save the resource untested), or "
            "set net.tls.allowConnectionsWithoutCertificates at the server.",
        )
    if not isinstance(error, ssl.SSLError) or isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError)):
        return MongoError(
            Code.TLS_FAILED, f"{shown} closed the connection during the TLS handshake; perhaps it does not speak TLS."
        )
    return MongoError(
        Code.TLS_FAILED, f"TLS with {shown} failed: {quoted(reason.replace('_', ' ').lower() or 'no reason given')}."
    )


def client_certificate_refused(address: str) -> MongoError:
    """The server does not take the certificate that we show."""
    return MongoError(
        Code.TLS_CLIENT_CERTIFICATE,
        f"{quoted(address)} refused the account's client certificate: its authority must be in the server's "
        "net.tls.CAFile, and it must not be expired or revoked.",
    )


def _certificate_error(shown: str, address: str, error: ssl.SSLCertVerificationError) -> MongoError:
    if error.verify_code in _VERIFY_NAMES:
        host = quoted(split_address(address)[0])
        return MongoError(
            Code.TLS_HOSTNAME,
            f"The certificate of {shown} is for another name than {host}: "
            "use a name that the certificate has, or give the server one with this name.",
        )
    if error.verify_code == _VERIFY_EXPIRED:
        return MongoError(Code.TLS_EXPIRED, f"The certificate of {shown} has expired: renew it at the server.")
    if error.verify_code == _VERIFY_NOT_YET_VALID:
        return MongoError(
            Code.TLS_NOT_YET_VALID,
            f"The certificate of {shown} is not valid yet: check the clocks of server and gateway.",
        )
    return MongoError(
        Code.TLS_UNTRUSTED,
        f"The certificate of {shown} is not signed by a trusted authority ({quoted(error.verify_message)}): "
        "give the resource the CA certificate that signed it.",
    )
