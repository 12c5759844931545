"""A data stream: one client connection, from the preface on its tunnel stream to the abort of its server connection.

It joins what other rooms made: the connected transport from the tunnel, the pure machine of `proxy`, the pump of `net`,
the dialler and the login of `gateway.mongo`, the recorder of the session's epoch. It owns the life of the pair: which
member it leads to, when a change of primary ends it, and that its end is told exactly once.

Law: whatever happens, `on_end` is called once, and by then both sockets are given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from time import monotonic
from typing import Any

from ..audit.recorder import Recorder
from ..errors import WardgateError
from ..net.pump import Exchange, Pump, Reached
from ..proxy.connection import ProxyConnection
from ..proxy.facts import ConnectionFacts, SessionRules, Topology
from ..tunnel.frames import PREFACE, FrameError, FrameReader, Open
from ..wire.compression import common
from . import following
from .mongo import connection as mongo
from .mongo.discovery import Kind
from .mongo.login import Login
from .mongo.target import Target
from .mongo.topology import TopologyMonitor
from .spares import Spares

# A driver sends the first command right behind its hello, or never: monitors say hello again after half a second.
_JUDGED_AFTER = 0.4


@dataclass(slots=True, kw_only=True)
class SessionLinks:
    """What every data stream of one access session shares: made once by the session, never changed by a stream.

    `listeners` maps members to their loopback addresses; the session replaces it when the local proxy opens new ones
    and then calls `topology_changed` of every stream. `login` is the lease's login, started once per server connection
    that is not one of the `spares`.
    """

    session: str
    user: str
    recorder: Recorder
    rules: SessionRules
    target: Target
    monitor: TopologyMonitor
    login: Login
    spares: Spares
    on_recording_failed: Callable[[str], None]
    listeners: Mapping[str, str] = field(default_factory=dict)
    single: str | None = None  # the only listener's address, where there is no other
    preface_timeout: float = 600.0  # a warm spare of the local proxy, its peer being known, is silent until it is used
    hold_timeout: float = 30.0  # how long a connection waits for a primary; drivers wait as long by default
    close_timeout: float = 1.0
    leave_timeout: float = 1.0  # a primary of old that answers nobody may keep a command so long without a byte
    stay_timeout: float = 10.0  # how long a connection may stay unused where the main port led before

    def topology(self) -> Topology:
        """The newest one, with the newest listeners."""
        kind = self.monitor.topology.kind
        follows = kind is Kind.REPLICA_SET and not self.target.direct
        return Topology(kind, self.listeners, self.single, follows)

    def known(self, member: str) -> str:
        """The address of a member to dial. Raises WardgateError where it is none."""
        known = member.lower()
        if all(each.address != known for each in self.monitor.topology.members):
            raise WardgateError("member_unknown", f"{member} is no member of this deployment (any more).")
        return known


class Phase(Enum):
    """How far a stream has come."""

    PREFACE = "preface"
    OPEN = "open"
    ENDED = "ended"


class _Preface(asyncio.Protocol):
    """Reads the one frame that says where the stream leads."""

    def __init__(self, stream: DataStream) -> None:
        self._stream = stream
        self._reader = FrameReader(PREFACE)

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            frame = self._reader.next_frame()
        except FrameError:
            self._stream.abort()
            return
        if isinstance(frame, Open):
            self._stream.opened(frame, self._reader.leftover())

    def connection_lost(self, exc: Exception | None) -> None:
        self._stream.abort()


class DataStream:
    """One client connection of an access session. Belongs to the event loop; every method returns at once."""

    def __init__(
        self,
        connection: int,
        transport: asyncio.Transport,
        leftover: bytes,
        links: SessionLinks,
        *,
        peer: str = "",
        on_end: Callable[[DataStream], None],
    ) -> None:
        """`connection` is its number in the session; `leftover` was read from `transport` after the handshake."""
        self.connection = connection
        self.number: int | None = None  # what the local proxy calls it
        self.member: str | None = None  # where it leads, once that is known
        self._transport = transport
        self._links = links
        self._peer = peer
        self._on_end = on_end
        self._phase = Phase.PREFACE
        self._wanted: str | None = None  # None: the main port
        self._pump: Pump | None = None
        self._judging: asyncio.TimerHandle | None = None
        self._leaving: asyncio.TimerHandle | None = None  # while the main port leads elsewhere
        self._stays_until = 0.0
        self._traffic = -1
        self._timer = asyncio.get_running_loop().call_later(links.preface_timeout, self.abort)
        preface = _Preface(self)
        transport.set_protocol(preface)
        if leftover:
            preface.data_received(leftover)

    def opened(self, frame: Open, leftover: bytes) -> None:
        """The preface is here: the proxied connection begins."""
        self._timer.cancel()
        if self._phase is not Phase.PREFACE:
            return
        self._phase = Phase.OPEN
        self._wanted = frame.member
        self.number = frame.stream
        links = self._links
        facts = ConnectionFacts(
            connection=self.connection,
            session=links.session,
            user=links.user,
            peer=self._peer or frame.local,
            local=frame.local,
            member=frame.member,
        )
        target = links.target
        machine = ProxyConnection(
            facts,
            links.rules,
            links.topology(),
            message_limit=target.numbers.message_bytes,
            compressors=common(target.compressors),
            zlib_level=target.zlib_level,
        )
        self._pump = Pump(
            machine,
            links.recorder,
            connector=self._connect,
            login=self._log_in,
            login_timeout=links.target.numbers.server_login,
            close_timeout=links.close_timeout,
            on_recording_failed=links.on_recording_failed,
            on_end=self._ended,
        )
        self._pump.start(self._transport, leftover)

    async def _connect(self, factory: Callable[[], asyncio.BaseProtocol]) -> Reached:
        links = self._links

        async def dial(address: str) -> bool:
            """Whether the connection is logged in already."""
            spare = links.spares.take(address)
            if spare is not None:
                spare.give(factory())
                return spare.logged_in
            await mongo.dial(links.target, address, factory)
            return False

        before, self.member = self.member, None
        if before is not None:  # it is not the primary any more, which the monitor may not know yet
            links.monitor.hurry(before)
            await following.has_moved(links.monitor, before)
        if self._wanted is None:
            address, logged_in = await following.reach(links.monitor, dial, links.hold_timeout)
        else:
            address = links.known(self._wanted)
            try:
                logged_in = await dial(address)
            except WardgateError:
                links.monitor.hurry(address)
                raise
        self.member = address
        loop = asyncio.get_running_loop()
        loop.call_soon(self.topology_changed)  # it may have changed meanwhile
        if self._judging is not None:
            self._judging.cancel()
        self._judging = loop.call_later(_JUDGED_AFTER, self._judge)
        return Reached(address, logged_in)

    async def _log_in(self, exchange: Exchange) -> None:
        self._judge(commands=True)
        await self._links.login.run(exchange)

    def _judge(self, *, commands: bool = False) -> None:
        """Tell the spares, once, whether this connection is one that runs commands."""
        if self._judging is None or self._pump is None or self.member is None:
            return
        self._judging.cancel()
        self._judging = None
        machine = self._pump.machine
        self._links.spares.judge(self.member, commands=commands or machine.last_command_at > 0.0)

    def topology_changed(self) -> None:
        """Tell the machine what the deployment and its listeners are now; a pinned stream may end by it."""
        if self._pump is None or self._phase is not Phase.OPEN:
            return
        machine, topology = self._pump.machine, self._links.topology()
        self._pump.feed(lambda: machine.topology_changed(topology, monotonic()))
        if self._wanted is not None or self.member is None:
            return
        elsewhere = following.leads_elsewhere(self._links.monitor.topology, self.member)
        if elsewhere and self._leaving is None:
            self._stays_until = monotonic() + self._links.stay_timeout
            self._traffic = machine.traffic
            self._pump.feed(lambda: machine.member_moved(monotonic()))
            self._look_back_later()
        elif not elsewhere and self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    def _look_back_later(self) -> None:
        assert self._pump is not None
        self._leaving = None
        if self._phase is Phase.OPEN and not self._pump.machine.closed:
            self._leaving = asyncio.get_running_loop().call_later(self._links.leave_timeout, self._look_back)

    def _look_back(self) -> None:
        """The main port leads elsewhere. What moves stays as it is; what hangs is cut, what is done with is closed."""
        assert self._pump is not None
        machine, topology = self._pump.machine, self._links.monitor.topology
        if self.member is None:  # on the way to another one
            self._look_back_later()
            return
        hangs = machine.busy and machine.traffic == self._traffic and following.is_lost(topology, self.member)
        self._traffic = machine.traffic
        if hangs or monotonic() >= self._stays_until:
            reason = following.moved(topology)
            self._pump.feed(lambda: machine.member_lost(reason, monotonic(), abrupt=hangs))
        self._look_back_later()

    def end(self, reason: str | None) -> None:
        """The session ends: a waiting command is told `reason` (None: nobody is told), and all is closed."""
        if self._phase is Phase.PREFACE:
            self.abort()
        elif self._pump is not None:
            machine = self._pump.machine
            self._pump.feed(lambda: machine.session_ending(reason, monotonic()))

    def abort(self) -> None:
        """Drop everything now."""
        if self._phase is Phase.ENDED:
            return
        if self._pump is not None:
            self._pump.abort()
            return
        self._transport.abort()
        self._ended()

    def _ended(self) -> None:
        if self._phase is Phase.ENDED:
            return
        self._phase = Phase.ENDED
        self._timer.cancel()
        if self._leaving is not None:
            self._leaving.cancel()
        self._judge()
        if self._pump is not None and self._pump.machine.hello_refused:
            self._links.spares.refuse_login()
        asyncio.get_running_loop().call_soon(self._on_end, self)  # never from inside the constructor

    @property
    def last_command_at(self) -> float:
        """Monotonic time of the newest command that was not hello, SASL or ping; 0.0 while there is none."""
        return self._pump.machine.last_command_at if self._pump is not None else 0.0

    @property
    def busy(self) -> bool:
        """Whether a command waits for its reply: a session with a busy stream is not idle."""
        return self._pump is not None and self._pump.machine.busy

    def statistics(self) -> Mapping[str, Any]:
        """What the stream is and does, for a look inside a running gateway."""
        known: dict[str, Any] = {"connection": self.connection, "phase": self._phase.value, "member": self.member}
        if self._pump is not None:
            known |= self._pump.machine.statistics() | self._pump.statistics()
        return known
