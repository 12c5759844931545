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
from ..net.pump import Pump
from ..proxy.connection import ProxyConnection
from ..proxy.facts import ConnectionFacts, SessionRules, Topology
from ..tunnel.frames import PREFACE, FrameError, FrameReader, Open
from .mongo import connection as mongo
from .mongo.discovery import Role
from .mongo.login import Login
from .mongo.target import Target
from .mongo.topology import TopologyMonitor


@dataclass(slots=True, kw_only=True)
class SessionLinks:
    """What every data stream of one access session shares: made once by the session, never changed by a stream.

    `listeners` maps members to their loopback addresses; the session replaces it when the local proxy opens new ones
    and then calls `topology_changed` of every stream. `login` is the lease's login, started once per server connection.
    """

    session: str
    user: str
    recorder: Recorder
    rules: SessionRules
    target: Target
    monitor: TopologyMonitor
    login: Login
    on_recording_failed: Callable[[str], None]
    listeners: Mapping[str, str] = field(default_factory=dict)
    single: str | None = None  # the only listener's address, where there is no other
    preface_timeout: float = 600.0  # a warm spare of the local proxy, its peer being known, is silent until it is used
    hold_timeout: float = 30.0  # how long a connection waits for a primary; drivers wait as long by default
    close_timeout: float = 1.0

    def topology(self) -> Topology:
        """The newest one, with the newest listeners."""
        return Topology(self.monitor.topology.kind, self.listeners, self.single)

    async def resolve(self, member: str | None) -> str:
        """The address to dial: the member itself, or where the main port leads. Raises WardgateError."""
        if member is None:
            return await self.monitor.wait_primary(self.hold_timeout)
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
        self.member: str | None = None  # where it leads, once that is known
        self._transport = transport
        self._links = links
        self._peer = peer
        self._on_end = on_end
        self._phase = Phase.PREFACE
        self._wanted: str | None = None  # None: the main port
        self._pump: Pump | None = None
        self._opened_at = monotonic()
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
        links = self._links
        facts = ConnectionFacts(
            connection=self.connection,
            session=links.session,
            user=links.user,
            peer=self._peer or frame.local,
            local=frame.local,
            member=frame.member,
        )
        limit = links.target.numbers.message_bytes
        machine = ProxyConnection(facts, links.rules, links.topology(), message_limit=limit)
        self._pump = Pump(
            machine,
            links.recorder,
            connector=self._connect,
            login=links.login.run,
            login_timeout=links.target.numbers.server_login,
            close_timeout=links.close_timeout,
            on_recording_failed=links.on_recording_failed,
            on_end=self._ended,
        )
        self._pump.start(self._transport, leftover)

    async def _connect(self, factory: Callable[[], asyncio.BaseProtocol]) -> str:
        links, wanted = self._links, self._wanted
        while True:
            address = await links.resolve(wanted)
            try:
                await mongo.dial(links.target, address, factory)
            except WardgateError:
                links.monitor.hurry(address)
                if wanted is not None or not self._superseded(address):
                    raise
                continue  # the primary changed while it was dialled
            self.member = address
            asyncio.get_running_loop().call_soon(self.topology_changed)  # it may have changed meanwhile
            return address

    def topology_changed(self) -> None:
        """Tell the machine what the deployment and its listeners are now; a pinned stream may end by it."""
        if self._pump is None or self._phase is not Phase.OPEN:
            return
        machine, topology = self._pump.machine, self._links.topology()
        self._pump.feed(lambda: machine.topology_changed(topology, monotonic()))
        if self._wanted is None and self.member is not None and self._superseded(self.member):
            self._pump.feed(lambda: machine.member_lost("the primary changed", monotonic()))

    def _superseded(self, address: str) -> bool:
        """Whether the main port leads elsewhere now: a member that merely fell silent is no reason, its socket is."""
        primary = self._links.monitor.primary
        if primary is not None:
            return primary != address
        return self._links.monitor.topology.role(address) in (Role.SECONDARY, Role.ARBITER, Role.OTHER)

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
        asyncio.get_running_loop().call_soon(self._on_end, self)  # never from inside the constructor

    @property
    def last_command_at(self) -> float:
        """Monotonic time of the newest command that was not hello or SASL; of the opening while there is none."""
        return max(self._opened_at, self._pump.machine.last_command_at) if self._pump is not None else self._opened_at

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
