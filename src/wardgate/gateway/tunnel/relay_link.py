"""One relay: the control connection that this gateway keeps to it, and the dial-backs that it asks for.

The relay sends tickets; for each the gateway dials the relay again, says the ticket and waits. The first byte that
comes then is a local proxy's, and the acceptor gets the socket. A relay is trusted with nothing but that: its
certificate must name the relay that the control plane named, and what it sends is capped.

Law: the link never ends by itself. A lost relay takes its waiting dial-backs with it and is dialled again, with a
growing pause and jitter; streams that are up do not notice.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import ssl
from collections.abc import Callable, Iterable
from time import monotonic
from typing import cast

from ... import __version__
from ...api.machine import RelayAddress
from ...errors import WardgateError
from ...net import dial, logs
from ...net.peek import PeerGoneError, peek, readable
from ...numbers import Numbers
from ...tunnel import dialback, frames
from ...tunnel.names import RELAY_ALPN, RELAY_NAME, IdentityError, RelayIdentity, peer_identity
from .acceptor import Acceptor

_log = logs.get("tunnel.relay")
_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 15.0
_SHUTDOWN = 1.0


class RelayLink:
    """Keeps one relay connected until `close`."""

    def __init__(
        self,
        relay: RelayAddress,
        context: Callable[[], ssl.SSLContext],
        withdrawn: Callable[[], Iterable[frames.Withdraw]],
        acceptor: Acceptor,
        numbers: Numbers,
    ) -> None:
        """`context` and `withdrawn` are asked at every dialling: certificates are renewed, sessions end."""
        self.relay = relay
        self._context = context
        self._withdrawn = withdrawn
        self._acceptor = acceptor
        self._numbers = numbers
        self._control: _Control | None = None
        self._dial_backs: set[asyncio.Task[None]] = set()
        self.connected = asyncio.Event()
        self.waiting = 0
        self.losses = 0
        self._task = asyncio.get_running_loop().create_task(self._run())

    def withdraw(self, frame: frames.Withdraw) -> None:
        """Tell the relay, if it is there; the next connection begins with all withdrawals anyway."""
        if self._control is not None:
            self._control.send(frame)

    async def close(self) -> None:
        """Leave the relay."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task

    def statistics(self) -> dict[str, object]:
        """What is up."""
        return {
            "relay": self.relay.name,
            "connected": self.connected.is_set(),
            "waiting": self.waiting,
            "dial_backs": len(self._dial_backs),
            "losses": self.losses,
        }

    async def _run(self) -> None:
        pause = _FIRST_PAUSE
        reported = False
        while True:
            started = monotonic()
            try:
                await self._connect_and_stay()
                why = "the relay closed the connection"
            except (WardgateError, OSError, ssl.SSLError, TimeoutError) as error:
                why = str(error) or type(error).__name__
            finally:
                was_connected = self.connected.is_set()
                self.connected.clear()
                self._control = None
                await self._drop_dial_backs()
            if was_connected:
                self.losses += 1
            if was_connected or not reported:
                _log.warning("relay lost" if was_connected else "relay not reached", relay=self.relay.name, reason=why)
                reported = True
            pause = _FIRST_PAUSE if monotonic() - started > _LONGEST_PAUSE else min(pause * 2, _LONGEST_PAUSE)
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))

    async def _connect_and_stay(self) -> None:
        """Connect, register, and follow the relay until the connection ends."""
        sock = await dial.connect(self.relay.address, self._numbers.tcp_connect)
        control = _Control(self, self._numbers)
        transport, _ = await asyncio.get_running_loop().create_connection(
            lambda: control,
            sock=sock,
            ssl=self._context(),
            server_hostname=RELAY_NAME,
            ssl_handshake_timeout=self._numbers.tls_handshake,
            ssl_shutdown_timeout=_SHUTDOWN,
        )
        try:
            self._check(transport)
            self._control = control
            control.send(frames.Register(version=__version__, idle=self._numbers.dial_back_idle))
            for frame in self._withdrawn():
                control.send(frame)
            await control.ended.wait()
        finally:
            control.stop()
            transport.abort()
        if control.failure is not None:
            raise control.failure

    def _check(self, transport: asyncio.BaseTransport) -> None:
        tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) or b""
        if peer_identity(certificate) != RelayIdentity(self.relay.id):
            raise IdentityError(f"what answers at {self.relay.address} is not the relay {self.relay.name}")
        if tls.selected_alpn_protocol() != RELAY_ALPN:
            raise IdentityError(f"the relay {self.relay.name} does not speak {RELAY_ALPN}")

    # --- what the relay asks --------------------------------------------------------------------------------------

    def heard(self, frame: frames.Frame) -> None:
        """A frame of the relay. Its first one shows that it has taken us."""
        if not self.connected.is_set():
            self.connected.set()
            _log.info("relay connected", relay=self.relay.name, address=self.relay.address)
        if isinstance(frame, frames.Dial):
            self._dial_back(frame.ticket)
        elif isinstance(frame, frames.Idle):
            for ticket in frame.tickets:
                self._dial_back(ticket)

    def _dial_back(self, ticket: str) -> None:
        if len(self._dial_backs) >= self._numbers.half_open_total:
            _log.warning("dial-back refused", relay=self.relay.name, rule="too_many_dial_backs")
            return
        task = asyncio.get_running_loop().create_task(self._serve(bytes.fromhex(ticket)))
        self._dial_backs.add(task)
        task.add_done_callback(self._dial_backs.discard)

    async def _serve(self, ticket: bytes) -> None:
        """Dial back with `ticket`, wait for a stream to be put on it, and hand it to the acceptor."""
        try:
            sock = await dial.connect(self.relay.address, self._numbers.tcp_connect)
        except WardgateError:
            return  # the relay notices, and asks again
        try:
            sock.send(dialback.preface(ticket))
            await self._first_byte(sock)
        except (PeerGoneError, OSError):
            sock.close()
            return
        except asyncio.CancelledError:
            sock.close()
            raise
        # From here on it is the acceptor's: losing the relay's control connection must not end a stream.
        self._acceptor.accept(sock, f"relay {self.relay.name}")

    async def _first_byte(self, sock: socket.socket) -> None:
        self.waiting += 1
        try:
            await readable(sock)
            peek(sock, 1)
        finally:
            self.waiting -= 1

    async def _drop_dial_backs(self) -> None:
        tasks = tuple(self._dial_backs)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _Control(asyncio.Protocol):
    """The frames of a control connection, and the clock that finds a silent relay."""

    def __init__(self, link: RelayLink, numbers: Numbers) -> None:
        self._link = link
        self._lost_after = numbers.control_lost
        self._reader = frames.FrameReader(frames.FROM_RELAY)
        self._transport: asyncio.Transport | None = None
        self._heard_at = monotonic()
        self._timer = asyncio.get_running_loop().call_later(self._lost_after, self._check_silence)
        self.ended = asyncio.Event()
        self.failure: WardgateError | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclass

    def send(self, frame: frames.Frame) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(frames.encode(frame))

    def data_received(self, data: bytes) -> None:
        self._heard_at = monotonic()
        self._reader.feed(data)
        try:
            for frame in self._reader.frames():
                if isinstance(frame, frames.Ping):
                    self.send(frames.Pong())
                if not self.ended.is_set():
                    self._link.heard(frame)
        except frames.FrameError as error:
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        if exc is not None and self.failure is None:
            self.failure = WardgateError("relay_lost", getattr(exc, "reason", None) or str(exc))
        self.ended.set()

    def stop(self) -> None:
        self._timer.cancel()
        self.ended.set()

    def _check_silence(self) -> None:
        silent = monotonic() - self._heard_at
        if silent >= self._lost_after:
            self._fail(WardgateError("relay_lost", f"the relay has been silent for {silent:.0f} s"))
            return
        self._timer = asyncio.get_running_loop().call_later(self._lost_after - silent, self._check_silence)

    def _fail(self, error: WardgateError) -> None:
        self.failure = error
        self.ended.set()
