"""Streams as the local proxy opens them: TCP to a relay or gateway, TLS 1.3 to the gateway, nothing sent yet.

A `Stream` keeps whatever comes between the handshake and the moment somebody takes it over, so no byte and no end is
lost. `StreamDialler` opens them for one session, by the best route first (`net.routes`); `WarmStreams` keeps a few
established ahead of need, so that a client's connection does not wait for handshakes.

Law: a stream is handed out only when the peer's certificate is the one gateway that the control plane named; the server
name is for the relay's eyes and proves nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import cast

from ..api.models import Route
from ..errors import WardgateError
from ..numbers import DEFAULT, Numbers
from ..tunnel.names import GatewayIdentity, IdentityError, peer_certificate
from ..tunnel.route import to_instance
from . import dial
from .routes import Place, RouteBook, place
from .tls import Credentials, client_context

_KEPT_BYTES = 64 * 1024  # more than a control stream says before it is taken over
_SHUTDOWN = 2.0
_GROWN_OLD = 30.0
# Who has just got a spare talks on it now, and establishing another would be in the way. So that waits, unless streams
# are wanted in quick succession: then the next one waits for it already.
_REFILL_AFTER = 0.03
_SUCCESSION = 0.025
_OPENING_AT_ONCE = 16  # below the relay's cap of half-open peers per address
_NEXT_ROUTE = 2.0  # how long a route may be silent before the next one is tried beside it
# A place that is not there, or whose process died under a handshake: it is back as soon as it takes connections again.
_WENT_AWAY = frozenset({"relay_unreachable", "gateway_unreachable"})
_SLOWER = 0.25  # how much later than the first place another may answer and still be measured


class TunnelError(WardgateError):
    """A stream that could not be opened, or why one was lost."""


class EarlyProtocol(asyncio.Protocol):
    """Owns a stream's transport from the handshake until it is taken over."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._early = bytearray()
        self._paused = False
        self.ended = False
        self.lost = False
        self.error: Exception | None = None
        self.when_lost: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclass

    def data_received(self, data: bytes) -> None:
        """Keep the bytes; beyond `_KEPT_BYTES` the peer waits."""
        self._early += data
        if len(self._early) > _KEPT_BYTES and not self._paused and self.transport is not None:
            self._paused = True
            self.transport.pause_reading()

    def eof_received(self) -> bool:
        """The peer ended the stream."""
        self.ended = True
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The stream is gone."""
        self.lost, self.error = True, exc
        if self.when_lost is not None:
            self.when_lost()

    def take(self) -> tuple[asyncio.Transport, bytes]:
        """The transport, read again, and what came before. The caller sets its protocol at once, without awaiting."""
        assert self.transport is not None
        early = bytes(self._early)
        self._early.clear()
        if self._paused and not self.transport.is_closing():
            self._paused = False
            self.transport.resume_reading()
        return self.transport, early

    def switch(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand the stream over: `connection_made`, what came before, and the end if it has come already."""
        transport, early = self.take()
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        if early:
            _feed(protocol, early)
        loop = asyncio.get_running_loop()
        if self.ended and not self.lost and isinstance(protocol, asyncio.Protocol | asyncio.BufferedProtocol):
            loop.call_soon(protocol.eof_received)
        if self.lost:
            loop.call_soon(protocol.connection_lost, self.error)


def _feed(protocol: asyncio.BaseProtocol, data: bytes) -> None:
    if not isinstance(protocol, asyncio.BufferedProtocol):
        assert isinstance(protocol, asyncio.Protocol)
        protocol.data_received(data)
        return
    view = memoryview(data)
    while view:
        buffer = memoryview(protocol.get_buffer(len(view)))
        count = min(len(buffer), len(view))
        buffer[:count] = view[:count]
        protocol.buffer_updated(count)
        view = view[count:]


class Stream:
    """An established stream to the gateway, to be switched to a protocol once."""

    def __init__(self, early: EarlyProtocol, route: Route, alpn: str, instance: str) -> None:
        self._early = early
        self.route = route
        self.alpn = alpn
        self.instance = instance  # the tag of who answered

    @property
    def usable(self) -> bool:
        """Whether neither side has ended it."""
        early = self._early
        return early.transport is not None and not (early.ended or early.lost or early.transport.is_closing())

    def switch(self, protocol: asyncio.BaseProtocol) -> asyncio.Transport:
        """Give it to `protocol` (Protocol or BufferedProtocol), with nothing lost; answers with the transport."""
        self._early.switch(protocol)
        assert self._early.transport is not None
        return self._early.transport

    def when_lost(self, callback: Callable[[], None]) -> None:
        """Call `callback` if it is lost before it is switched."""
        self._early.when_lost = callback

    def why_lost(self, error: BaseException | None) -> TunnelError:
        """One sentence for a stream that was lost before the gateway said anything on it.

        In TLS 1.3 a client is done before its certificate was judged, and asyncio's servers drop a bad one without a
        word: so a refusal mostly looks like a cut.
        """
        if isinstance(error, ssl.SSLError):
            return explain(error, self.route)
        return TunnelError(
            "stream_refused",
            f"The gateway cut the connection through {_named(self.route)}: the session may have ended, or its "
            "certificate expired.",
        )

    def abort(self) -> None:
        """Drop it."""
        if self._early.transport is not None:
            self._early.transport.abort()


class StreamDialler:
    """Opens the streams of one session. `gateway_ca` is the gateways intermediate (PEM or DER)."""

    def __init__(
        self,
        routes: Sequence[Route],
        gateway_id: str,
        gateway_ca: str | bytes,
        credentials: Credentials,
        numbers: Numbers = DEFAULT,
    ) -> None:
        self.book = RouteBook(routes)
        self._gateway = GatewayIdentity(gateway_id)
        self._trust = gateway_ca
        self._credentials = credentials
        self._numbers = numbers
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._opening = asyncio.Semaphore(_OPENING_AT_ONCE)
        self._measuring = asyncio.Lock()
        self._measured = False
        self._seen = b""  # the gateway's certificate that was judged last, and its tag
        self._seen_tag = ""

    async def open(
        self,
        alpn: str,
        *,
        instance: str | None = None,
        patience: float | None = None,
        first: Place | None = None,
    ) -> Stream:
        """A stream for the purpose `alpn`, by the best route that leads there; TunnelError says what failed last.

        With `instance` (a tag) only that instance of the gateway will do. A route that says nothing for a while does
        not hold up the next one: they are tried beside each other, and the first that leads there wins. `patience` is
        what one handshake may take, if less than usual, `first` the way to try before others.
        """
        await self._know_the_ways()
        async with self._opening:
            order = self.book.order(monotonic(), instance, first)
            return await self._race(order, alpn, instance, patience or self._numbers.tls_handshake)

    async def _race(self, order: Sequence[Route], alpn: str, instance: str | None, patience: float) -> Stream:
        failure = TunnelError("gateway_unreachable", "The control plane named no way to the gateway.")
        waiting = deque(order)
        running: dict[asyncio.Task[Stream], Route] = {}
        try:
            while waiting or running:
                if waiting:
                    route = waiting.popleft()
                    attempt = self._open(route, alpn, instance, patience)
                    running[asyncio.get_running_loop().create_task(attempt)] = route
                pause = _NEXT_ROUTE if waiting else None
                done, _ = await asyncio.wait(running, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                won: Stream | None = None
                for task in done:
                    route = running.pop(task)
                    error = task.exception()
                    if error is None and won is None:
                        won = task.result()
                    elif error is None:
                        _drop(task)
                    elif isinstance(error, TunnelError):
                        self.book.failed(route, monotonic(), deaf=error.code not in _WENT_AWAY)
                        failure = error
                    else:
                        raise error
                if won is not None:
                    return won
        finally:
            for task, route in running.items():
                self.book.failed(route, monotonic())  # slower than another that was tried after it
                task.add_done_callback(_drop)
                task.cancel()
        raise failure

    def measure_again(self) -> None:
        """Before the next stream: something broke, and the network may be another one."""
        self.book.forget()
        self._measured = False

    async def _know_the_ways(self) -> None:
        async with self._measuring:
            if not self._measured and len(self.book) > 1:
                await self._measure()
            self._measured = True

    async def _measure(self) -> None:
        """How long a TCP connection takes to each place, all at once; who does not answer comes last."""
        tasks = {asyncio.create_task(self._time(route)): route for route in self.book.unmeasured()}
        started, grace = monotonic(), self._numbers.tcp_connect
        pending = set(tasks)
        while pending and (left := started + grace - monotonic()) > 0:
            done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if any(task.result() for task in done):
                grace = min(grace, monotonic() - started + _SLOWER)
        for task in pending:
            self.book.failed(tasks[task], monotonic(), deaf=False)
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    async def _time(self, route: Route) -> bool:
        started = monotonic()
        try:
            sock = await dial.connect(route.address, self._numbers.tcp_connect)
        except WardgateError:
            self.book.failed(route, monotonic(), deaf=False)
            return False
        dial.reset_on_close(sock)
        sock.close()
        self.book.measured(route, monotonic() - started)
        return True

    async def _open(self, route: Route, alpn: str, instance: str | None, patience: float) -> Stream:
        started = monotonic()
        try:
            sock = await dial.connect(route.address, min(self._numbers.tcp_connect, patience))
        except WardgateError as error:
            raise TunnelError("relay_unreachable", _unreachable(route, error.message)) from error
        connected = monotonic() - started
        early = EarlyProtocol()
        relayed = instance is not None and route.kind == "relay"
        try:
            transport, _ = await asyncio.get_running_loop().create_connection(
                lambda: early,
                sock=sock,
                ssl=self._context(alpn),
                server_hostname=to_instance(route.sni, instance) if relayed and instance else route.sni,
                ssl_handshake_timeout=patience,
                ssl_shutdown_timeout=_SHUTDOWN,
            )
        except (OSError, ssl.SSLError, TimeoutError) as error:
            raise explain(error, route) from error
        try:
            tag = self._check(transport, route, alpn, instance)
        except TunnelError:
            transport.abort()
            raise
        self.book.measured(route, connected, proved=True)
        return Stream(early, route, alpn, tag)

    def _check(self, transport: asyncio.BaseTransport, route: Route, alpn: str, instance: str | None) -> str:
        """Whether the peer is the gateway that the control plane named, speaking what we asked for; its tag."""
        tls: ssl.SSLObject = transport.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) or b""
        if certificate != self._seen:
            try:
                known = peer_certificate(certificate)
            except IdentityError:
                known = None
            if known is None or known.identity != self._gateway:
                raise TunnelError(
                    "gateway_mismatch",
                    f"What answered through {_named(route)} is not the gateway that the control plane named: nothing "
                    "was sent to it.",
                )
            self._seen, self._seen_tag = certificate, known.tag
        if instance is not None and self._seen_tag != instance:
            raise TunnelError(
                "gateway_not_connected", f"The gateway's instance that serves the session is not at {_named(route)}."
            )
        if tls.selected_alpn_protocol() != alpn:
            raise TunnelError("gateway_mismatch", "The gateway does not speak this version of the tunnel: update it.")
        return self._seen_tag

    def _context(self, alpn: str) -> ssl.SSLContext:
        context = self._contexts.get(alpn)
        if context is None:
            context = self._contexts[alpn] = client_context(self._credentials, self._trust, [alpn])
        return context


def _drop(task: asyncio.Task[Stream]) -> None:
    """An attempt that was not needed: what it opened in the last moment is closed."""
    if not task.cancelled() and task.exception() is None:
        task.result().abort()


async def open_stream(
    routes: Sequence[Route],
    gateway_id: str,
    gateway_ca: str | bytes,
    credentials: Credentials,
    alpn: str,
    numbers: Numbers = DEFAULT,
) -> Stream:
    """One stream, without keeping a dialler; see `StreamDialler.open`."""
    return await StreamDialler(routes, gateway_id, gateway_ca, credentials, numbers).open(alpn)


# What OpenSSL calls the alerts of a relay (before the handshake) and of a gateway (after it).
_ALERTS = {
    "UNRECOGNIZED_NAME": ("gateway_not_connected", "The gateway is not connected to {via}: it may be down."),
    "ACCESS_DENIED": ("route_refused", "The way through {via} is closed for this session: it has ended or expired."),
    "INTERNAL_ERROR": ("gateway_not_answering", "The gateway did not answer through {via} in time."),
    "USER_CANCELLED": ("relay_busy", "The limit of streams through {via} is reached."),
    "CERTIFICATE_EXPIRED": ("certificate_refused", "The gateway refused this session's certificate: it has expired."),
    "UNKNOWN_CA": ("certificate_refused", "The gateway refused this session's certificate: it is from another CA."),
    "CERTIFICATE_REQUIRED": ("certificate_refused", "The gateway refused this session's certificate."),
    "BAD_CERTIFICATE": ("certificate_refused", "The gateway refused this session's certificate."),
}


def explain(error: BaseException | None, route: Route) -> TunnelError:
    """One sentence for why a stream was not opened or was lost."""
    reason = str(getattr(error, "reason", None) or "")
    if isinstance(error, ssl.SSLCertVerificationError):
        return TunnelError(
            "gateway_mismatch",
            f"The certificate shown through {_named(route)} is not one of this wardgate's gateways "
            f"({error.verify_message}): nothing was sent.",
        )
    for alert, (code, sentence) in _ALERTS.items():
        if alert in reason:
            return TunnelError(code, sentence.format(via=_named(route)))
    if isinstance(error, TimeoutError | ConnectionAbortedError):
        return TunnelError("gateway_not_answering", f"The gateway did not answer through {_named(route)} in time.")
    return TunnelError(
        "gateway_unreachable", f"The connection through {_named(route)} was cut before it was established."
    )


def _named(route: Route) -> str:
    return f"the relay {route.name}" if route.kind == "relay" else f"the direct route {route.address}"


def _unreachable(route: Route, why: str) -> str:
    what = f"The relay {route.name}" if route.kind == "relay" else "The gateway's direct route"
    return f"{what} is unreachable: {why}"


class WarmStreams:
    """Keeps `keep` streams of one purpose established and unused. They are authenticated and idle, so cheap."""

    def __init__(self, dialler: StreamDialler, alpn: str, keep: int = 2) -> None:
        self._dialler = dialler
        self._alpn = alpn
        self._keep = keep
        self._ready: deque[Stream] = deque()
        self._filling: asyncio.Task[None] | None = None
        self._due: asyncio.TimerHandle | None = None
        self._got_at = 0.0
        self._waiter: asyncio.Future[Stream | None] | None = None  # who gets the one that is being established
        self._closed = False
        self._instance: str | None = None
        self._first: Place | None = None
        self.hits = 0
        self.misses = 0

    def lead_to(self, instance: str | None, first: Place | None = None) -> None:
        """From now on streams are for this instance, by that way if it works; other spares are dropped."""
        self._instance, self._first = instance, first
        kept = [each for each in self._ready if each.instance == instance and first in (None, place(each.route))]
        for stream in self._ready:
            if stream not in kept:
                stream.abort()
        self._ready = deque(kept)

    def drop(self) -> None:
        """Drop the spares: the way they took may be dead."""
        while self._ready:
            self._ready.popleft().abort()

    def start(self) -> None:
        """Begin to keep spares."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        if not self._closed and (self._filling is None or self._filling.done()):
            self._filling = asyncio.get_running_loop().create_task(self._fill())

    async def get(self) -> Stream:
        """A spare if there is one, else a new stream; TunnelError as `StreamDialler.open`."""
        stream = self._pop()
        if stream is not None:
            self.hits += 1
            self._refill()
            return stream
        self.misses += 1
        try:
            return await self._next() or await self._open()
        finally:
            self._refill()

    async def close(self) -> None:
        """Drop the spares and keep no more."""
        self._closed = True
        if self._due is not None:
            self._due.cancel()
        if self._filling is not None:
            self._filling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._filling
        self.drop()

    def statistics(self) -> dict[str, int]:
        """Spares that are ready, and how often one was there when it was needed."""
        return {"ready": len(self._ready), "hits": self.hits, "misses": self.misses}

    def _pop(self) -> Stream | None:
        while self._ready:
            stream = self._ready.popleft()
            if stream.usable:
                return stream
            stream.abort()
        return None

    def _refill(self) -> None:
        """At once in quick succession or when none is left, else when the one who got one has had its turn."""
        got_at, self._got_at = self._got_at, monotonic()
        if not self._ready or self._got_at - got_at < _SUCCESSION:
            self.start()
        elif self._due is None and not self._closed:
            self._due = asyncio.get_running_loop().call_later(_REFILL_AFTER, self.start)

    async def _next(self) -> Stream | None:
        """The stream that is being established, if there is one and nobody else waits for it."""
        if self._filling is None or self._filling.done() or self._waiter is not None:
            return None
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            return await self._waiter
        finally:
            self._waiter = None

    async def _fill(self) -> None:
        """Fill up once. A failure ends it: the next `get` shows the user why, and tries again."""
        try:
            await self._fill_up()
        finally:
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    async def _fill_up(self) -> None:
        while not self._closed and len(self._ready) < self._keep:
            try:
                instance = self._instance
                stream = await self._open()
            except WardgateError:
                return
            if self._closed or instance != self._instance:
                stream.abort()
            elif self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(stream)
            else:
                stream.when_lost(partial(self._spare_lost, stream, monotonic()))
                self._ready.append(stream)

    async def _open(self) -> Stream:
        return await self._dialler.open(self._alpn, instance=self._instance, first=self._first)

    def _spare_lost(self, stream: Stream, established_at: float) -> None:
        """Replace a spare that grew old. One that was cut at once is not: that would go on for ever."""
        if stream in self._ready:
            self._ready.remove(stream)
            if monotonic() - established_at >= _GROWN_OLD:
                self.start()
