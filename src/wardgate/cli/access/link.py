"""The way to the gateway of one session, for as long as the session lives: lost, found again, maybe elsewhere.

It owns the control stream. One that is lost (or silent) is dialled again: at the same instance by any way, then at any
instance by any way, then by ways that the control plane names anew. Until the gateway says `ready` on it the link is
down, and client connections that come meanwhile are held, because a driver that waits is better off than one that was
refused. What a frame means for listeners and clients is the local proxy's business.

Law: only the control plane, a gateway that says so, the clock or the user end a session; a broken way never does. A
data stream belongs to the instance that has the control stream: when that changes, or when the way that carried it fell
silent, the stream is dropped, and the gateway is told which ones are left.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Final, Protocol

from ... import __version__
from ...errors import WardgateError
from ...net.stream import TunnelError
from ...numbers import Numbers
from ...tunnel import frames
from ..exits import Exit, ExitError
from .control import ControlStream
from .dialler import SessionOverError, Way

_RETRY_SECONDS: Final = 1.0
_RETRY_DATA_SECONDS: Final = 0.25
_EXPIRY_GRACE: Final = 5.0  # the gateway's timer is the authority; ours only catches its silence
# What the gateway refuses for reasons of its own; every other code is MongoDB's word, told by the gateway.
_GATEWAY_CODES: Final = frozenset(
    {"failed_to_start", "lease_refused", "session_refused", "audit_failed", "gateway_stopping", "internal"}
)
# What is final for a session that has run; after any other refusal it may run on in a moment.
_FINAL_CODES: Final = frozenset({"lease_refused", "session_refused", "audit_failed"})
# Why a data stream was not opened: what no second try changes.
_HOPELESS: Final = frozenset({"certificate_refused", "gateway_mismatch", "relay_busy"})


class DataStream(Protocol):
    """A stream that nobody has taken yet."""

    @property
    def way(self) -> Way: ...

    @property
    def usable(self) -> bool: ...

    def switch(self, protocol: asyncio.BaseProtocol) -> asyncio.Transport: ...

    def abort(self) -> None: ...


class Dialler(Protocol):
    """How streams to the gateway are opened; both raise WardgateError with one sentence."""

    async def open_control(self, protocol: asyncio.Protocol) -> Way: ...

    async def open_data(self) -> DataStream: ...

    async def why_over(self) -> None: ...

    def lost(self, way: Way, *, silent: bool) -> None: ...

    def warm_up(self) -> None: ...

    async def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class End:
    """Why the session is over."""

    reason: str
    message: str | None = None
    confirmed: bool = True  # whether the gateway or the control plane said so


@dataclass(slots=True)
class _Carried:
    way: Way
    drop: Callable[[], None]


class Link:
    """Made by the local proxy. `say` gets sentences for the user."""

    def __init__(
        self,
        dialler: Dialler,
        numbers: Numbers,
        *,
        gateway: str,
        expires_at: datetime,
        say: Callable[[str, str], None],
    ) -> None:
        self._dialler = dialler
        self._numbers = numbers
        self._gateway = gateway
        self._expires_at = expires_at
        self._say = say
        self._control = ControlStream(numbers.control_lost)
        self._way: Way | None = None
        self._was_up = False
        self._lost_at: float | None = None
        self._dialled_at = -_RETRY_SECONDS
        self._up = asyncio.Event()
        self._turn = 0  # counts the losses: what began before one is not trusted after it
        self._carried: dict[int, _Carried] = {}
        self._numbered = 0

    # --- control ------------------------------------------------------------------------------------------------------

    async def next(self) -> frames.Frame | End:
        """The next frame that is not about the link itself, or the end. WardgateError if it never got ready."""
        if self._way is None:
            await self._dial()
        while True:
            frame = await self._receive()
            match frame:
                case End():
                    return frame
                case None:
                    end = await self._again()
                    if end is not None:
                        return end
                case frames.Suspended():
                    self._up.clear()
                case frames.Ended():
                    return self._ended(frame)
                case frames.Refused():
                    end = await self._refused(frame)
                    if end is not None:
                        return end
                case frames.Ready():
                    self._found()
                    return frame
                case _:
                    return frame

    def send(self, frame: frames.Frame) -> None:
        """Say it, unless the stream is lost."""
        self._control.send(frame)

    @property
    def way(self) -> str:
        """The name of the route that carries the control stream."""
        return "" if self._way is None else self._way.name

    async def close(self) -> None:
        """Drop everything."""
        self._control.close()
        await self._dialler.close()

    async def _receive(self) -> frames.Frame | End | None:
        left = (self._expires_at - datetime.now(UTC)).total_seconds() + _EXPIRY_GRACE
        try:
            async with asyncio.timeout(max(left, 0.0)):
                return await self._control.receive()
        except TimeoutError:
            return End("expired")

    async def _dial(self) -> None:
        self._dialled_at = monotonic()
        control = ControlStream(self._numbers.control_lost)
        way = await self._dialler.open_control(control)
        self._control = control
        moved = self._way is not None and way.instance != self._way.instance
        self._way = way
        if moved:
            self._drop(lambda carried: carried.way.instance != way.instance)
        control.send(frames.Hello(version=__version__))
        control.send(frames.Alive(streams=sorted(self._carried)))

    async def _again(self) -> End | None:
        """The control stream is lost: dial until there is one. An end if there is nothing to dial for any more."""
        if not self._was_up:
            raise ExitError(
                "gateway_unreachable",
                f"The gateway {self._gateway} closed the connection before the session was ready.",
                Exit.GATEWAY_UNREACHABLE,
            )
        self._note_loss()
        assert self._lost_at is not None
        while datetime.now(UTC) < self._expires_at:
            # As long as a lease may live without renewal the control plane calls the session alive, and so do we.
            if monotonic() - self._lost_at > self._numbers.lease_renew:
                return End("gateway_lost", f"The gateway {self._gateway} could not be reached again.", confirmed=False)
            await asyncio.sleep(max(0.0, self._dialled_at + _RETRY_SECONDS - monotonic()))
            try:
                await self._dial()
            except SessionOverError as over:
                return End(over.reason, over.message)
            except WardgateError:
                continue
            return None
        return End("expired")

    def _note_loss(self) -> None:
        self._up.clear()
        assert self._way is not None
        if self._lost_at is None:
            self._lost_at = monotonic()
            self._turn += 1
            self._say("warning", "The connection to the gateway is lost; trying again.")
        silent, way = self._control.silent, self._way
        self._dialler.lost(way, silent=silent)
        if silent:
            self._drop(lambda carried: carried.way.place == way.place)

    def _found(self) -> None:
        self._was_up = True
        self._lost_at = None
        self._up.set()
        self._dialler.warm_up()

    def _ended(self, frame: frames.Ended) -> End:
        if not self._was_up:
            raise ExitError(
                "failed_to_start", frame.message or "The session could not start.", Exit.GATEWAY_UNREACHABLE
            )
        return End(frame.reason, frame.message)

    async def _refused(self, frame: frames.Refused) -> End | None:
        if not self._was_up:
            code = Exit.GATEWAY_UNREACHABLE if frame.code in _GATEWAY_CODES else Exit.FAILED
            raise ExitError(frame.code, frame.message, code)
        if frame.code not in _FINAL_CODES:
            return None  # the gateway hangs up, and we dial again
        try:
            await self._dialler.why_over()
        except SessionOverError as over:
            return End(over.reason, over.message)
        return End("gateway_lost", frame.message)

    # --- data -----------------------------------------------------------------------------------------------------

    async def open_data(self, protocol: asyncio.Protocol, drop: Callable[[], None]) -> tuple[asyncio.Transport, int]:
        """A data stream for `protocol`, as soon as there is a way, and its number. WardgateError after a bounded time.

        `drop` is called if what it leads to is given up; `closed` takes the number back.
        """
        until = monotonic() + self._numbers.client_hold
        while True:
            await self._wait_up(until)
            turn = self._turn
            try:
                stream = await self._dialler.open_data()
            except WardgateError as error:
                if error.code in _HOPELESS or monotonic() + _RETRY_DATA_SECONDS >= until:
                    raise
                await asyncio.sleep(_RETRY_DATA_SECONDS)
                continue
            if turn == self._turn and self._up.is_set() and stream.usable:
                self._numbered += 1
                self._carried[self._numbered] = _Carried(stream.way, drop)
                return stream.switch(protocol), self._numbered
            stream.abort()  # cut at once, or the link was lost meanwhile: the session may be elsewhere now

    def closed(self, number: int) -> None:
        """A data stream is over."""
        self._carried.pop(number, None)

    async def _wait_up(self, until: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, until - monotonic())):
                await self._up.wait()
                if monotonic() < until:
                    return
        raise TunnelError(
            "gateway_unreachable", f"The gateway {self._gateway} is away: a client connection was closed."
        )

    def _drop(self, which: Callable[[_Carried], bool]) -> None:
        for number, carried in tuple(self._carried.items()):
            if which(carried):
                del self._carried[number]
                carried.drop()
