"""A gateway's control connection, at the relay: its frames, its pings, and the moment it is lost."""

from __future__ import annotations

import asyncio
import ssl
from time import monotonic
from typing import Protocol, cast

from ..net import logs
from ..numbers import Numbers
from ..tunnel import frames
from ..tunnel.names import RELAY_ALPN, GatewayIdentity, IdentityError, peer_certificate

_log = logs.get("relay.control")


class Board(Protocol):
    """Who is told."""

    def gateway_up(self, gateway_id: str, instance: str, control: GatewayControl) -> None:
        """The handshake is done and the certificate names this gateway; `instance` is the tag of its key."""

    def gateway_frame(self, gateway_id: str, control: GatewayControl, frame: frames.Frame) -> None:
        """A frame came."""

    def gateway_down(self, gateway_id: str, control: GatewayControl) -> None:
        """The connection is gone; called once."""


class GatewayControl(asyncio.Protocol):
    """Over TLS; the peer is a gateway by its certificate, or the connection is aborted before a byte is read."""

    def __init__(self, board: Board, numbers: Numbers) -> None:
        self._board = board
        self._numbers = numbers
        self._reader = frames.FrameReader(frames.TO_RELAY)
        self._transport: asyncio.Transport | None = None
        self._gateway_id: str | None = None
        self._heard_at = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Look at the certificate; only a gateway stays."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclass
        tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
        try:
            known = peer_certificate(tls.getpeercert(binary_form=True) or b"")
        except IdentityError:
            known = None
        identity = None if known is None else known.identity
        if known is None or not isinstance(identity, GatewayIdentity) or tls.selected_alpn_protocol() != RELAY_ALPN:
            _log.warning("control connection refused", peer=transport.get_extra_info("peername"))
            self._transport.abort()
            return
        self._gateway_id = identity.gateway_id
        self._heard_at = monotonic()
        self._timer = asyncio.get_running_loop().call_later(self._numbers.control_ping, self._tick)
        self._board.gateway_up(identity.gateway_id, known.tag, self)

    def data_received(self, data: bytes) -> None:
        """Hand frames on; a malformed one ends the connection."""
        if self._gateway_id is None or self._transport is None or self._transport.is_closing():
            return
        self._heard_at = monotonic()
        self._reader.feed(data)
        try:
            for frame in self._reader.frames():
                self._board.gateway_frame(self._gateway_id, self, frame)
        except frames.FrameError as error:
            _log.warning("control connection broken", gateway=self._gateway_id, reason=error.message)
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the board, once."""
        if self._timer is not None:
            self._timer.cancel()
        if self._gateway_id is not None:
            self._board.gateway_down(self._gateway_id, self)

    def send(self, frame: frames.Frame) -> None:
        """Send `frame`, unless the connection is ending."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frames.encode(frame))

    def abort(self) -> None:
        """End it now."""
        if self._transport is not None:
            self._transport.abort()

    def _tick(self) -> None:
        silent = monotonic() - self._heard_at
        if silent >= self._numbers.control_lost:
            _log.warning("gateway silent", gateway=self._gateway_id)
            self.abort()
            return
        self.send(frames.Ping())
        pause = min(self._numbers.control_ping, self._numbers.control_lost - silent)
        self._timer = asyncio.get_running_loop().call_later(pause, self._tick)
