"""Getting lines to a receiver: over HTTP, or as syslog over TLS, TCP and UDP.

`send` returns when the receiver has them, as far as its protocol can say that. HTTP says it (2xx). Syslog over a stream
has no answer: here it counts when the receiver's kernel has acknowledged every byte and the connection still stands,
and what was sent last is sent again where the connection was then reset, which is how a receiver ends that had not
read everything. UDP says nothing at all.

Law: a name is looked up, judged (`net.places`) and the very address that was judged is connected to. Nothing that a
receiver says is repeated: it may be another system's secret.
"""

from __future__ import annotations

import array
import asyncio
import fcntl
import os
import ssl
import termios
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final, Protocol

from ...errors import WardgateError
from ..outbound import Outbound
from . import formats
from .lines import Line
from .target import Target

_SECONDS: Final = 10.0
_POLL: Final = 0.01
_MOST_ANSWER: Final = 64 * 1024
_TOO_LARGE: Final = 413


class NotSent(Exception):  # noqa: N818 - it is what happened to the lines
    """The receiver did not take them; `str()` says why. `too_large`: fewer at once may do."""

    def __init__(self, why: str, *, too_large: bool = False) -> None:
        super().__init__(why)
        self.too_large = too_large


class Sender(Protocol):
    """One way to one receiver."""

    async def send(self, lines: Sequence[Line]) -> None:
        """Deliver; NotSent."""

    async def close(self) -> None:
        """Let go of connections."""


class HttpSender:
    """A request for each delivery."""

    def __init__(
        self,
        outbound: Outbound,
        target: Target,
        tls: ssl.SSLContext | None,
        headers: Mapping[str, str],
        body_of: Callable[[Sequence[Line]], tuple[bytes, Mapping[str, str]]],
    ) -> None:
        self._outbound = outbound
        self._target = target
        self._tls = tls
        self._headers = headers
        self._body_of = body_of

    async def send(self, lines: Sequence[Line]) -> None:
        """See `Sender.send`."""
        body, signed = self._body_of(lines)
        headers = {**self._headers, "content-type": "application/json", **signed}
        try:
            answer = await self._outbound.request(
                "POST", self._target.url, content=body, headers=headers, most=_MOST_ANSWER, tls=self._tls
            )
        except WardgateError as error:
            raise NotSent(error.message) from error
        if not 200 <= answer.status < 300:
            why = f"{self._target.host} answered with status {answer.status}"
            raise NotSent(f"{why}.", too_large=answer.status == _TOO_LARGE)

    async def close(self) -> None:
        """Nothing is kept open."""


class StreamSender:
    """Syslog over TCP or TLS, on a connection that is kept."""

    def __init__(self, outbound: Outbound, target: Target, tls: ssl.SSLContext | None, host: str) -> None:
        self._outbound = outbound
        self._target = target
        self._tls = tls
        self._host = host
        self._peer: _Peer | None = None
        self._last = b""

    async def send(self, lines: Sequence[Line]) -> None:
        """See `Sender.send`."""
        data = formats.framed([formats.syslog(line, self._host, formats.STREAM_MOST) for line in lines])
        try:
            async with asyncio.timeout(_SECONDS):
                peer = await self._connected()
                peer.write(self._last + data if peer.fresh else data)
                await peer.taken()
        except TimeoutError:
            await self.close()
            raise NotSent(f"{self._target.host} did not take them in time.") from None
        except (OSError, WardgateError) as error:
            await self.close()
            raise NotSent(_why(self._target.host, error)) from error
        self._last = data

    async def close(self) -> None:
        """End the connection, and forget what it was sent: that was acknowledged."""
        if self._peer is not None:
            self._peer.close()
            self._peer = None

    async def _connected(self) -> _Peer:
        peer = self._peer
        if peer is not None and not peer.is_lost:
            return peer
        if peer is not None and not peer.was_reset:
            self._last = b""  # it had read everything when it closed
        loop = asyncio.get_running_loop()
        address = await self._outbound.address(self._target.host, self._target.port)
        server_hostname = self._target.host if self._tls is not None else None
        _, made = await loop.create_connection(
            _Peer, address, self._target.port, ssl=self._tls, server_hostname=server_hostname
        )
        self._peer = made
        return made


class DatagramSender:
    """Syslog over UDP: as good as the network is."""

    def __init__(self, outbound: Outbound, target: Target, host: str) -> None:
        self._outbound = outbound
        self._target = target
        self._host = host

    async def send(self, lines: Sequence[Line]) -> None:
        """See `Sender.send`."""
        try:
            async with asyncio.timeout(_SECONDS):
                address = await self._outbound.address(self._target.host, self._target.port)
                loop = asyncio.get_running_loop()
                transport, errors = await loop.create_datagram_endpoint(
                    _Datagrams, remote_addr=(address, self._target.port)
                )
                try:
                    for line in lines:
                        transport.sendto(formats.syslog(line, self._host, formats.UDP_MOST))
                    await asyncio.sleep(_POLL)  # a host without a listener says so at once, on a good day
                finally:
                    transport.close()
        except TimeoutError:
            raise NotSent(f"{self._target.host} can't be looked up in time.") from None
        except (OSError, WardgateError) as error:
            raise NotSent(_why(self._target.host, error)) from error
        if errors.error is not None:
            raise NotSent(_why(self._target.host, errors.error))

    async def close(self) -> None:
        """Nothing is kept open."""


class _Peer(asyncio.Protocol):
    """A connection that is written to; what comes back is thrown away."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._error: Exception | None = None
        self.is_lost = False
        self.fresh = True

    @property
    def was_reset(self) -> bool:
        """Whether it ended in another way than by a close behind everything that was sent."""
        return self._error is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio's."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio's."""
        self.is_lost = True
        self._error = exc

    def write(self, data: bytes) -> None:
        """Hand it to the kernel, sooner or later."""
        assert self._transport is not None
        self.fresh = False
        self._transport.write(data)

    async def taken(self) -> None:
        """Until the other side's kernel has acknowledged all of it; OSError if the connection ends before."""
        assert self._transport is not None
        sock = self._transport.get_extra_info("socket")
        while not self.is_lost:
            if not self._transport.get_write_buffer_size() and not _unacknowledged(sock.fileno()):
                return
            await asyncio.sleep(_POLL)
        raise self._error or ConnectionResetError("it closed the connection")

    def close(self) -> None:
        """At once; what is unsent is sent again elsewhere."""
        if self._transport is not None:
            self._transport.abort()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.error: Exception | None = None

    def error_received(self, exc: Exception) -> None:
        self.error = exc


def _unacknowledged(fd: int) -> int:
    """Bytes in the socket's send queue, which keeps what is not acknowledged (SIOCOUTQ, see tcp(7))."""
    count = array.array("i", [0])
    with suppress(OSError):
        fcntl.ioctl(fd, termios.TIOCOUTQ, count)
    return count[0]


def _why(host: str, error: Exception) -> str:
    if isinstance(error, WardgateError):
        return error.message
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"{host} has a certificate that is not trusted: {error.verify_message}."
    if isinstance(error, ssl.SSLError):
        return f"{host} did not complete the TLS handshake."
    if isinstance(error, OSError) and error.errno:
        return f"{host} could not be reached: {os.strerror(error.errno).lower()}."
    return f"{host} closed the connection."
