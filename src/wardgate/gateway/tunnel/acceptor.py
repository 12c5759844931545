"""From a connected socket to an authorised stream: the TLS handshake as server, then three questions.

Whose certificate is it (a session's, for this very gateway)? What for (an ALPN that we serve)? May it (the registry's
answer)? Only then the handler gets the stream, in the same call, before a byte of it was read.

Law: what has not passed all three is aborted and counted by its rule; until then it is half-open, under a deadline and
two caps, and nothing that it sends is looked at but the name it asks for. A relay is one address for all its peers, so
what comes by one is counted by its route token instead: that travels in clear, and whoever reads it off the wire can
keep out the session it belongs to, and no other.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from ...net import logs
from ...net.dial import reset_on_close
from ...net.halfopen import HalfOpen
from ...net.machine import MachineIdentity
from ...net.peek import PeerGoneError, peek
from ...net.stream import EarlyProtocol
from ...net.tls import server_context
from ...numbers import Numbers
from ...tunnel import client_hello, frames
from ...tunnel.client_hello import ClientHello
from ...tunnel.names import (
    CONTROL_ALPN,
    STREAM_ALPNS,
    IdentityError,
    PeerCertificate,
    SessionIdentity,
    peer_certificate,
)
from ...tunnel.route import parse_server_name

_log = logs.get("tunnel")
_SHUTDOWN = 2.0
_REMEMBERED = 256  # certificates whose reading is kept; a session's streams all bear the same one

Authorise = Callable[[str, str, bytes], str | None]


class Refusal(StrEnum):
    """Why a socket did not become a stream."""

    HALF_OPEN = "too_many_half_open"
    HANDSHAKE = "handshake_failed"
    IDENTITY = "certificate_names_no_session"
    OTHER_GATEWAY = "certificate_for_another_gateway"
    PURPOSE = "unknown_purpose"
    UNAUTHORISED = "not_authorised"


@dataclass(frozen=True, slots=True)
class TunnelStream:
    """An authorised stream. `take` gives the transport away, once, with what was received since the handshake."""

    alpn: str
    session_id: str
    not_after: datetime
    certificate: bytes
    peer: str
    early: EarlyProtocol

    def take(self) -> tuple[asyncio.Transport, bytes]:
        """The transport and what came early. Set its protocol at once: nothing may be awaited in between."""
        return self.early.take()

    def switch(self, protocol: asyncio.BaseProtocol) -> None:
        """Give the stream to `protocol`, which gets `connection_made`, what came early, and an end that came early."""
        self.early.switch(protocol)


Handler = Callable[[TunnelStream], None]


class Acceptor:
    """Makes streams of sockets."""

    def __init__(self, identity: MachineIdentity, authorise: Authorise, handler: Handler, numbers: Numbers) -> None:
        self._authorise = authorise
        self._handler = handler
        self._numbers = numbers
        self._read: dict[bytes, PeerCertificate] = {}
        self._relayed = HalfOpen(numbers.half_open_total, numbers.half_open_per_address)
        self._direct = HalfOpen(numbers.half_open_total, numbers.half_open_per_address)
        self._handshakes: set[asyncio.Task[None]] = set()
        self.accepted = 0
        self.refused: Counter[Refusal] = Counter()
        self.set_identity(identity)

    def set_identity(self, identity: MachineIdentity) -> None:
        """Present this certificate from now on."""
        self._gateway_id = identity.id
        self._context = server_context(identity.credentials, identity.trust["sessions"], STREAM_ALPNS)

    @property
    def half_open(self) -> int:
        """Sockets whose peer is not known yet."""
        return self._relayed.now + self._direct.now

    def accept(self, sock: socket.socket, peer: str, *, direct: bool = False) -> None:
        """Begin the handshake on `sock`, which is ours from now on. `peer` is an address, or the relay's name."""
        room, counted = (self._direct, peer) if direct else (self._relayed, _token(sock))
        if not room.enter(counted):
            self.refused[Refusal.HALF_OPEN] += 1
            reset_on_close(sock)
            sock.close()
            return
        task = asyncio.get_running_loop().create_task(self._handshake(sock, peer))
        self._handshakes.add(task)
        task.add_done_callback(self._handshakes.discard)
        task.add_done_callback(lambda _: room.leave(counted))

    async def close(self) -> None:
        """Break off the handshakes that are under way."""
        tasks = tuple(self._handshakes)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _handshake(self, sock: socket.socket, peer: str) -> None:
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: _Handshaken(self, peer),
                sock,
                ssl=self._context,
                ssl_handshake_timeout=self._numbers.tls_handshake,
                ssl_shutdown_timeout=_SHUTDOWN,
            )
        except (OSError, ssl.SSLError, TimeoutError) as error:
            self.refused[Refusal.HANDSHAKE] += 1
            _log.info("handshake failed", peer=peer, reason=getattr(error, "reason", None) or type(error).__name__)

    def handshaken(self, early: EarlyProtocol, peer: str) -> None:
        """Called in the moment the handshake is done: judge, then dispatch or abort."""
        assert early.transport is not None
        tls: ssl.SSLObject = early.transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) or b""
        alpn = tls.selected_alpn_protocol()
        judged = self._judge(certificate, alpn)
        if isinstance(judged, Refusal):
            self._refuse(early, judged, peer)
            return
        assert alpn is not None
        identity, not_after = judged
        reason = self._authorise(identity.session_id, alpn, certificate)
        if reason is not None:
            self._refuse(early, Refusal.UNAUTHORISED, peer, identity.session_id, reason)
            return
        self.accepted += 1
        self._handler(TunnelStream(alpn, identity.session_id, not_after, certificate, peer, early))

    def _judge(self, certificate: bytes, alpn: str | None) -> tuple[SessionIdentity, datetime] | Refusal:
        try:
            known = self._certificate(certificate)
        except IdentityError:
            return Refusal.IDENTITY
        if not isinstance(known.identity, SessionIdentity):
            return Refusal.IDENTITY
        if known.identity.gateway_id != self._gateway_id:
            return Refusal.OTHER_GATEWAY
        if alpn not in STREAM_ALPNS:
            return Refusal.PURPOSE
        return known.identity, known.not_after

    def _certificate(self, der: bytes) -> PeerCertificate:
        known = self._read.get(der)
        if known is None:
            known = peer_certificate(der)
            while len(self._read) >= _REMEMBERED:
                del self._read[next(iter(self._read))]
            self._read[der] = known
        return known

    def _refuse(
        self, early: EarlyProtocol, rule: Refusal, peer: str, session: str | None = None, reason: str | None = None
    ) -> None:
        """Abort; on a control stream, whose peer is known by now, say why first."""
        self.refused[rule] += 1
        _log.warning("stream refused", rule=rule.value, peer=peer, session=session, reason=reason)
        transport = early.transport
        assert transport is not None
        tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
        if rule is Refusal.UNAUTHORISED and tls.selected_alpn_protocol() == CONTROL_ALPN:
            message = f"The gateway refused the session: {reason}."
            transport.write(frames.encode(frames.Refused(code="session_refused", message=message)))
            transport.close()
        else:
            transport.abort()


def _token(sock: socket.socket) -> str:
    """The route token that the peer asked the relay with; all whose ClientHello is not here whole are one."""
    try:
        data = peek(sock, client_hello.LIMIT)
    except PeerGoneError:
        return ""
    hello = None if data is None else client_hello.parse(data)
    name = parse_server_name(hello.server_name or "") if isinstance(hello, ClientHello) else None
    return "" if name is None else name.token


class _Handshaken(EarlyProtocol):
    """Owns a transport while it is judged."""

    def __init__(self, acceptor: Acceptor, peer: str) -> None:
        super().__init__()
        self._acceptor = acceptor
        self._peer = peer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is done."""
        super().connection_made(transport)
        self._acceptor.handshaken(self, self._peer)
