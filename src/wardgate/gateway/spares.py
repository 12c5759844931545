"""Warm server connections: dialled, and mostly logged in, before a client connection of the session needs them.

A client waits for TCP, TLS and a login otherwise: four to six round trips and most of the CPU time of opening a
connection. A spare has done them and said nothing else. No hello was sent on it, so the client's own is still the
first, with its metadata and our attribution in it.

What it is not: a pool. A spare is handed out once, to one client connection, and never comes back; it belongs to one
access session and one member.

Law:
1. A member gets spares only while connections to it turn out to run commands. Drivers' monitors never do: where half of
   the last connections did not, spares are dialled but not logged in; where none did, there are none.
2. Nothing was sent on a spare but a login, and nothing may be heard on it but its answers: else it is dropped.
3. A login that fails on a spare ends logging in ahead for the whole session and drops those that are logged in: the
   next client connection hears from the server itself what is wrong, or shows that only the missing hello was.
4. After `close` there is no spare and none is being made.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from collections.abc import Mapping
from enum import IntEnum
from time import monotonic
from typing import Any, Final, cast

import bson

from ..errors import WardgateError
from ..numbers import Numbers
from ..wire.errors import RemoteProtocolError
from ..wire.header import build_msg
from ..wire.message import parse_reply
from ..wire.reader import FramingError, MessageReader
from .mongo import connection as mongo
from .mongo.discovery import Role, Topology
from .mongo.login import Login
from .mongo.target import Target

_LOGIN_BYTES: Final = 64 * 1024  # no answer to a login step comes near it
_REMEMBERED: Final = 8  # connections by which a member is judged
# Who has just taken a spare sends its first commands now, and making another would be in the way. So that waits, unless
# connections are opened in quick succession: then the next one waits for it already.
_AFTER: Final = 0.03
_AT_ONCE: Final = 0.002
_SUCCESSION: Final = 0.025


class Want(IntEnum):
    """How far a member's spares are made."""

    NONE = 0
    DIALLED = 1
    LOGGED_IN = 2


class SpareLostError(WardgateError):
    """The connection ended, or something was said on it that nobody asked for."""

    def __init__(self) -> None:
        super().__init__("spare_lost", "MongoDB closed a connection before it was used.")


class Spare(asyncio.Protocol):
    """One connection from its TLS handshake until it is given away."""

    def __init__(self) -> None:
        self.logged_in = False
        self._transport: asyncio.Transport | None = None
        self._lost = False
        self._reader = MessageReader(_LOGIN_BYTES)
        self._request = 0
        self._reply: asyncio.Future[Mapping[str, Any]] | None = None

    # --- as a protocol --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is done."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's transports are no subclass
        if self._lost:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """An answer to the login; anything else is a reason to drop it."""
        reply = self._reply
        if reply is None or reply.done():
            self.abort()
            return
        try:
            message = self._reader.take(data)
            if message is None:
                return
            answer = parse_reply(message)
            if answer.response_to == self._request and not answer.more_to_come and not self._reader.buffered:
                reply.set_result(bson.decode(answer.body))
                return
        except (FramingError, RemoteProtocolError, bson.errors.InvalidBSON):
            pass
        self.abort()

    def eof_received(self) -> bool:
        """MongoDB closes it."""
        self.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self.abort()

    # --- for the pool ---------------------------------------------------------------------------------------------

    async def exchange(self, command: dict[str, Any]) -> Mapping[str, Any]:
        """One step of the login. Raises SpareLostError."""
        if self._lost or self._transport is None:
            raise SpareLostError
        self._request += 1
        self._reply = asyncio.get_running_loop().create_future()
        self._transport.write(build_msg(bson.encode(command), self._request))
        return await self._reply

    @property
    def usable(self) -> bool:
        """Whether it is still open and silent, also by what the loop has not read yet."""
        transport = self._transport
        if self._lost or transport is None or transport.is_closing():
            return False
        descriptor = transport.get_extra_info("socket").fileno()
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return not poll.poll(0)

    def give(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand the connection over: `protocol` owns it from here on."""
        assert self._transport is not None
        transport, self._transport = self._transport, None
        transport.set_protocol(protocol)
        protocol.connection_made(transport)

    def abort(self) -> None:
        """Drop it, unless it was given away."""
        self._lost = True
        if self._transport is not None:
            self._transport.abort()
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(SpareLostError())


class _Place:
    """One member."""

    __slots__ = ("address", "due", "making", "ready", "role", "seen", "taken_at", "used_at")

    def __init__(self, address: str, role: Role | None) -> None:
        self.address = address
        self.role = role
        self.ready: deque[Spare] = deque()  # oldest first, and taken in that order, so that none grows old
        self.making: dict[asyncio.Task[None], Spare] = {}
        self.seen: deque[bool] = deque(maxlen=_REMEMBERED)  # whether the last connections ran commands
        self.used_at = monotonic()
        self.taken_at = 0.0  # loop time
        self.due: asyncio.TimerHandle | None = None

    @property
    def want(self) -> Want:
        """By what the last connections turned out to be."""
        commanding = sum(self.seen)
        if not commanding:
            return Want.NONE
        return Want.LOGGED_IN if 2 * commanding >= len(self.seen) else Want.DIALLED

    def pop(self) -> Spare | None:
        """The oldest one that is still good."""
        while self.ready:
            spare = self.ready.popleft()
            if spare.usable:
                return spare
            spare.abort()
        return None

    def drop(self) -> None:
        """Abort what is there and what is being made."""
        if self.due is not None:
            self.due.cancel()
            self.due = None
        for task, spare in self.making.items():
            task.cancel()
            spare.abort()
        while self.ready:
            self.ready.popleft().abort()


class Spares:
    """The spares of one access session. Belongs to the event loop; no method waits."""

    def __init__(self, target: Target, login: Login) -> None:
        self._target = target
        self._login = login
        self._numbers: Numbers = target.numbers
        self._places: dict[str, _Place] = {}
        self._topology: Topology | None = None
        self._logs_in = True
        self._closed = False
        self._sweeper: asyncio.TimerHandle | None = None
        self.hits = self.misses = self.failures = 0

    def take(self, address: str) -> Spare | None:
        """A spare of this member, if there is one. It is the caller's from here on."""
        place = self._places.get(address)
        if place is None:
            self.misses += 1
            return None
        place.used_at = monotonic()
        spare = place.pop()
        self._fill_after(place)
        if spare is None:
            self.misses += 1
        else:
            self.hits += 1
        return spare

    def judge(self, address: str, *, commands: bool) -> None:
        """A connection to this member ran commands, or turned out to run none."""
        if self._closed:
            return
        place = self._places.get(address)
        if place is None:
            if not commands:
                return
            role = None if self._topology is None else self._topology.role(address)
            place = self._places[address] = _Place(address, role)
            self._sweep_later()
        place.seen.append(commands)
        if commands:
            place.used_at = monotonic()
            self._fill_after(place)

    def refuse_login(self) -> None:
        """Logging in ahead does not work here (law 3)."""
        self._logs_in = False
        for place in self._places.values():
            for spare in [each for each in place.ready if each.logged_in]:
                place.ready.remove(spare)
                spare.abort()

    def topology_changed(self, topology: Topology) -> None:
        """A member whose role has changed, or that is lost, keeps no spares."""
        self._topology = topology
        for place in list(self._places.values()):
            role = topology.role(place.address)
            if role != place.role:
                place.drop()
                place.role = role
                if role in (None, Role.UNKNOWN):
                    del self._places[place.address]

    def close(self) -> None:
        """The session ends."""
        self._closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for place in self._places.values():
            place.drop()
        self._places.clear()

    def statistics(self) -> dict[str, int]:
        """What is ready, and how often a spare was there when it was wanted."""
        ready = [spare for place in self._places.values() for spare in place.ready]
        return {
            "ready": len(ready),
            "logged_in": sum(spare.logged_in for spare in ready),
            "making": sum(len(place.making) for place in self._places.values()),
            "hits": self.hits,
            "misses": self.misses,
            "failures": self.failures,
        }

    # --- making them ----------------------------------------------------------------------------------------------

    def _fill_after(self, place: _Place) -> None:
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        delay = _AFTER if place.ready and now - place.taken_at > _SUCCESSION else _AT_ONCE
        place.taken_at = now
        if place.due is not None:
            if place.due.when() <= now + delay:
                return
            place.due.cancel()
        place.due = loop.call_later(delay, self._fill, place)

    def _fill(self, place: _Place) -> None:
        place.due = None
        numbers = self._numbers
        everywhere = sum(len(each.ready) + len(each.making) for each in self._places.values())
        here = len(place.ready) + len(place.making)
        missing = min(numbers.spare_connections - here, numbers.spare_connections_session - everywhere)
        if self._closed or place.want is Want.NONE:
            return
        for _ in range(missing):
            spare = Spare()
            task = asyncio.get_running_loop().create_task(self._make(place, spare))
            place.making[task] = spare
            task.add_done_callback(place.making.pop)

    async def _make(self, place: _Place, spare: Spare) -> None:
        """Dial, log in, keep. A failure is nobody's news: who needs a connection next meets it and is told."""
        try:
            await mongo.dial(self._target, place.address, lambda: spare)
            if self._logs_in and place.want is Want.LOGGED_IN:
                await self._log_in(spare)
            if spare.usable and not self._closed and self._places.get(place.address) is place:
                place.ready.append(spare)
                return
        except (WardgateError, OSError):
            self.failures += 1
        except asyncio.CancelledError:
            spare.abort()
            raise
        spare.abort()

    async def _log_in(self, spare: Spare) -> None:
        try:
            async with asyncio.timeout(self._numbers.server_login):
                await self._login.run(spare.exchange)
        except TimeoutError:
            raise SpareLostError from None
        except WardgateError:
            self.refuse_login()
            raise
        spare.logged_in = True

    # --- letting them go ------------------------------------------------------------------------------------------

    def _sweep_later(self) -> None:
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(self._numbers.spare_idle / 2, self._sweep)

    def _sweep(self) -> None:
        """Forget the members that nobody has used for a while: firewalls forget idle connections without a word."""
        self._sweeper = None
        before = monotonic() - self._numbers.spare_idle
        for place in [each for each in self._places.values() if each.used_at < before]:
            place.drop()
            del self._places[place.address]
        if self._places:
            self._sweep_later()
