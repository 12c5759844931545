"""Streams to the gateway for one session: one for control, warm spares for data, and the ways that lead there.

The control stream decides where the session is: its data streams go to the same instance of the gateway. When no known
way leads to the gateway, the control plane is asked for the ways as they are now, with the user's own login.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Final

from ...api.models import Route, SessionGrant
from ...errors import WardgateError
from ...net import certs
from ...net.routes import place
from ...net.stream import Stream, StreamDialler, WarmStreams
from ...net.tls import Credentials
from ...numbers import Numbers
from ...secret import Secret

CONTROL_ALPN: Final = "wardgate-ctl/1"
DATA_ALPN: Final = "wardgate-mongo/1"
_ASK_EVERY = 5.0  # the control plane, while nothing leads to the gateway
_AGAIN = 4.0  # what a handshake may take while a session is cut off


class SessionOverError(WardgateError):
    """The control plane says that the session has ended; `reason` is an end reason of the API."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__("session_ended", message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Way:
    """How a stream went: the route's name and place, and the tag of the gateway's instance at its end."""

    name: str
    place: tuple[str, str]
    instance: str


class DataStream:
    """A stream that nobody has taken yet."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.switch = stream.switch
        self.abort = stream.abort

    @property
    def way(self) -> Way:
        """How it went."""
        return _way(self._stream)

    @property
    def usable(self) -> bool:
        """Whether neither side has ended it."""
        return self._stream.usable


# The ways as they are now; SessionOverError where the session has ended, WardgateError where nobody can say.
Ask = Callable[[], Awaitable[Sequence[Route]]]


class TunnelDialler:
    """`link.Dialler` over the tunnel."""

    def __init__(self, grant: SessionGrant, key: certs.PrivateKey, numbers: Numbers, ask: Ask | None = None) -> None:
        credentials = Credentials(grant.certificate.encode(), Secret(certs.key_to_pem(key)))
        self._dialler = StreamDialler(grant.routes, grant.gateway_id, grant.gateway_ca, credentials, numbers)
        self._warm = WarmStreams(self._dialler, DATA_ALPN)
        self._ask = ask
        self._asked_at = -_ASK_EVERY
        self._instance: str | None = None  # where the session is

    async def open_control(self, protocol: asyncio.Protocol) -> Way:
        """The control stream: to the instance that has the session, else to any; else by ways that are asked for."""
        stream = await self._anywhere()
        self._instance = stream.instance
        # By the same way: the control stream's silence is how one learns that a way is dead, and of no other way.
        self._warm.lead_to(stream.instance, place(stream.route))
        stream.switch(protocol)
        return _way(stream)

    async def _anywhere(self) -> Stream:
        if self._instance is None:
            return await self._dialler.open(CONTROL_ALPN)
        self._dialler.measure_again()  # what was away may be back
        try:
            return await self._dialler.open(CONTROL_ALPN, instance=self._instance, patience=_AGAIN)
        except WardgateError:
            pass
        try:
            return await self._dialler.open(CONTROL_ALPN, patience=_AGAIN)
        except WardgateError:
            if not await self._asked():
                raise
        return await self._dialler.open(CONTROL_ALPN, patience=_AGAIN)

    async def _asked(self) -> bool:
        """Whether the control plane named a place that was not known. SessionOverError."""
        if self._ask is None or monotonic() - self._asked_at < _ASK_EVERY:
            return False
        self._asked_at = monotonic()
        try:
            routes = await self._ask()
        except SessionOverError:
            raise
        except WardgateError:
            return False
        return self._dialler.book.replace(routes)

    async def why_over(self) -> None:
        """Raise SessionOverError if the control plane says so; nothing if it does not, or can't be asked."""
        self._asked_at = -_ASK_EVERY
        await self._asked()

    def lost(self, way: Way, *, silent: bool) -> None:
        """The control stream is gone: spares may be dead; a way that fell silent is tried last."""
        self._warm.drop()
        if silent:
            for route in self._dialler.book.order(monotonic()):
                if place(route) == way.place:
                    self._dialler.book.failed(route, monotonic())

    def warm_up(self) -> None:
        """Keep spares from now on: the gateway takes data streams of an active session only."""
        self._warm.start()

    async def open_data(self) -> DataStream:
        """A data stream to where the session is, established ahead of need where there is a spare."""
        return DataStream(await self._warm.get())

    async def close(self) -> None:
        """Drop the spares."""
        await self._warm.close()


def _way(stream: Stream) -> Way:
    return Way(stream.route.name, place(stream.route), stream.instance)
