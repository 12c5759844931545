"""Who is joined with whom: the relay's whole state, decided without a socket.

Inputs are facts (a gateway came, a route is asked for, a dial-back arrived, time passed); each answers with the actions
that follow, in order, and whoever holds the sockets carries them out. A leg is one connection's raw socket; here it is
an opaque value.

Law:
1. A leg is in exactly one place: waiting for a route, waiting for a dial-back, or joined.
2. A ticket is known to one gateway's control connection, works once, and dies with that connection.
3. A route is accepted only with a token of this relay's key for the gateway it names, unexpired and not withdrawn.
4. An instance's dial-backs that wait or have tickets out are as many as it asked to keep ready, and one more for every
   route that waits. Any dial-back of it serves the oldest route that waits for it.
5. A route that names an instance of its gateway goes there or nowhere. One that names none goes where the session's id
   and the instances' tags say: to the same one on every relay, as long as the same instances are connected.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from ..tunnel import frames
from ..tunnel.route import Route, RouteRule, ServerName, check_token

Leg = Hashable
_MOST_WITHDRAWN = 65_536  # per instance; beyond it the oldest is forgotten, and the gateway still refuses it


class Control(Protocol):
    """A gateway's control connection; compared by identity."""


class Rule(StrEnum):
    """Why the switchboard says no, beside the rules of `RouteRule`."""

    DIAL_BACK_LATE = "dial_back_late"
    GATEWAY_ABSENT = "gateway_absent"
    GATEWAY_REVOKED = "gateway_revoked"
    SURPLUS = "surplus_dial_back"
    TICKET_UNKNOWN = "ticket_unknown"
    TOO_MANY_STREAMS = "too_many_streams"
    WITHDRAWN = "session_withdrawn"


@dataclass(frozen=True, slots=True)
class Send:
    """Send `frame` on a control connection."""

    control: Control
    frame: frames.Frame


@dataclass(frozen=True, slots=True)
class Join:
    """Splice the two; call `ended` with the route when it is over. `instance` is the gateway's, by its tag."""

    client: Leg
    gateway: Leg
    route: Route
    instance: str


@dataclass(frozen=True, slots=True)
class Watch:
    """Tell us (`leg_lost`) if this waiting dial-back ends or speaks."""

    leg: Leg


@dataclass(frozen=True, slots=True)
class Refuse:
    """Tell a client why not, as far as TLS has a word for it, and close."""

    leg: Leg
    rule: Rule | RouteRule


@dataclass(frozen=True, slots=True)
class Drop:
    """Close a dial-back."""

    leg: Leg
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Hang:
    """Close a control connection."""

    control: Control
    rule: Rule | None = None


Action = Send | Join | Watch | Refuse | Drop | Hang


@dataclass(frozen=True, slots=True)
class _Pending:
    leg: Leg
    route: Route
    deadline: float


@dataclass(slots=True)
class _Gateway:
    """One instance of a gateway."""

    id: str
    instance: str
    control: Control
    idle: int = 0
    waiting: deque[Leg] = field(default_factory=deque)
    pending: deque[_Pending] = field(default_factory=deque)
    tickets: int = 0


@dataclass(frozen=True, slots=True)
class _Ticket:
    gateway: _Gateway
    deadline: float


class Switchboard:
    """Times are seconds: `wall` Unix time for tokens, `clock` monotonic for deadlines."""

    def __init__(
        self,
        key: bytes,
        *,
        streams_per_token: int,
        dial_back: float,
        new_ticket: Callable[[], bytes],
        alive: Callable[[Leg], bool],
    ) -> None:
        """`alive` says whether a waiting dial-back is still open and silent."""
        self.key = key
        self._streams_per_token = streams_per_token
        self._dial_back_seconds = dial_back
        self._new_ticket = new_ticket
        self._alive = alive
        self._gateways: dict[str, dict[str, _Gateway]] = {}  # by gateway, then by instance
        self._tickets: dict[bytes, _Ticket] = {}
        self._streams: Counter[str] = Counter()
        self._withdrawn: dict[tuple[str, str], dict[str, int]] = {}
        self._revoked: frozenset[str] = frozenset()
        self._revoked_instances: frozenset[str] = frozenset()
        self.joined = 0

    # --- gateways -------------------------------------------------------------------------------------------------

    @property
    def gateways(self) -> list[str]:
        """Ids of the gateways that are connected."""
        return list(self._gateways)

    def attach(self, gateway_id: str, instance: str, control: Control) -> list[Action]:
        """An instance's control connection is up. A newer one replaces the older: the older is a dead one unnoticed."""
        if self.is_revoked(gateway_id, instance):
            return [Hang(control, Rule.GATEWAY_REVOKED)]
        actions: list[Action] = []
        older = self._gateways.get(gateway_id, {}).get(instance)
        if older is not None:
            actions = [*self._remove(older), Hang(older.control)]
        self._gateways.setdefault(gateway_id, {})[instance] = _Gateway(gateway_id, instance, control)
        return actions

    def register(self, gateway_id: str, control: Control, idle: int, clock: float) -> list[Action]:
        """The gateway's first frame: how many dial-backs it keeps waiting. Our answer shows that it is taken."""
        gateway = self._of(gateway_id, control)
        if gateway is None:
            return []
        gateway.idle = idle
        return self._refill(gateway, clock) or [Send(control, frames.Ping())]

    def detach(self, gateway_id: str, control: Control) -> list[Action]:
        """The control connection is gone; joined streams stay."""
        gateway = self._of(gateway_id, control)
        return [] if gateway is None else self._remove(gateway)

    def _of(self, gateway_id: str, control: Control) -> _Gateway | None:
        for gateway in self._gateways.get(gateway_id, {}).values():
            if gateway.control is control:
                return gateway
        return None

    def _all(self) -> list[_Gateway]:
        return [gateway for instances in self._gateways.values() for gateway in instances.values()]

    def _remove(self, gateway: _Gateway) -> list[Action]:
        instances = self._gateways[gateway.id]
        del instances[gateway.instance]
        if not instances:
            del self._gateways[gateway.id]
        self._tickets = {ticket: known for ticket, known in self._tickets.items() if known.gateway is not gateway}
        actions: list[Action] = [Drop(leg) for leg in gateway.waiting]
        for pending in gateway.pending:
            self._count_down(pending.route.session_id)
            actions.append(Refuse(pending.leg, Rule.GATEWAY_ABSENT))
        return actions

    def withdraw(self, gateway_id: str, control: Control, session_id: str, until: int, wall: float) -> None:
        """The instance wants no more streams for a session; what others say of it is their own word."""
        gateway = self._of(gateway_id, control)
        if gateway is None:
            return
        withdrawn = self._withdrawn.setdefault((gateway_id, gateway.instance), {})
        for known in [known for known, end in withdrawn.items() if end <= wall]:
            del withdrawn[known]
        while len(withdrawn) >= _MOST_WITHDRAWN:
            del withdrawn[next(iter(withdrawn))]
        withdrawn[session_id] = until

    def revoke(self, gateway_ids: Iterable[str], instances: Iterable[str] = ()) -> list[Action]:
        """Exactly these gateways, and these instances, may not connect."""
        self._revoked = frozenset(gateway_ids)
        self._revoked_instances = frozenset(instances)
        actions: list[Action] = []
        for gateway in self._all():
            if self.is_revoked(gateway.id, gateway.instance):
                actions += [*self._remove(gateway), Hang(gateway.control, Rule.GATEWAY_REVOKED)]
        return actions

    def is_revoked(self, gateway_id: str, instance: str) -> bool:
        """Whether the control plane has revoked it."""
        return gateway_id in self._revoked or instance in self._revoked_instances

    # --- streams --------------------------------------------------------------------------------------------------

    def route(self, name: ServerName, leg: Leg, wall: float, clock: float) -> list[Action]:
        """A client asks for a gateway."""
        route = check_token(self.key, name, wall)
        if isinstance(route, RouteRule):
            return [Refuse(leg, route)]
        session = route.session_id
        gateway = self._choose(route, name.instance)
        if isinstance(gateway, Rule):
            return [Refuse(leg, gateway)]
        if self._streams.get(session, 0) >= self._streams_per_token:
            return [Refuse(leg, Rule.TOO_MANY_STREAMS)]
        self._streams[session] += 1
        dropped: list[Action] = []
        while gateway.waiting:
            waiting = gateway.waiting.popleft()
            if self._alive(waiting):
                return [*dropped, self._join(leg, waiting, route, gateway), *self._refill(gateway, clock)]
            dropped.append(Drop(waiting))
        gateway.pending.append(_Pending(leg, route, clock + self._dial_back_seconds))
        dial = frames.Dial(ticket=self._ticket(gateway, clock).hex())
        return [*dropped, Send(gateway.control, dial), *self._refill(gateway, clock)]

    def _choose(self, route: Route, instance: str | None) -> _Gateway | Rule:
        """Where a route goes (law 5), or why nowhere."""
        instances = self._gateways.get(route.gateway_id, {})
        if instance is not None:
            instances = {instance: instances[instance]} if instance in instances else {}
        if not instances:
            return Rule.GATEWAY_ABSENT
        open_ = [each for each in instances.values() if not self._is_withdrawn(each, route.session_id)]
        if not open_:
            return Rule.WITHDRAWN
        return max(open_, key=lambda each: hashlib.sha256(f"{route.session_id} {each.instance}".encode()).digest())

    def _is_withdrawn(self, gateway: _Gateway, session_id: str) -> bool:
        return session_id in self._withdrawn.get((gateway.id, gateway.instance), ())

    def dial_back(self, ticket: bytes, leg: Leg, clock: float) -> list[Action]:
        """A connection came with `ticket`."""
        known = self._tickets.pop(ticket, None)
        if known is None:
            return [Drop(leg, Rule.TICKET_UNKNOWN)]
        gateway = known.gateway
        gateway.tickets -= 1
        if known.deadline <= clock:
            return [Drop(leg, Rule.TICKET_UNKNOWN)]
        if gateway.pending:
            pending = gateway.pending.popleft()
            return [self._join(pending.leg, leg, pending.route, gateway), *self._refill(gateway, clock)]
        if len(gateway.waiting) >= 2 * max(gateway.idle, 1):
            return [Drop(leg, Rule.SURPLUS)]
        gateway.waiting.append(leg)
        return [Watch(leg)]

    def leg_lost(self, leg: Leg, clock: float) -> list[Action]:
        """A waiting dial-back ended or spoke, or a client gave up waiting."""
        for gateway in self._all():
            if leg in gateway.waiting:
                gateway.waiting.remove(leg)
                return [Drop(leg), *self._refill(gateway, clock)]
        return []

    def ended(self, route: Route) -> None:
        """A joined stream is over."""
        self.joined -= 1
        self._count_down(route.session_id)

    def expire(self, clock: float) -> list[Action]:
        """Time has passed: give up what waited too long, and ask again for dial-backs that never came."""
        actions: list[Action] = []
        for ticket, known in tuple(self._tickets.items()):
            if known.deadline <= clock:
                del self._tickets[ticket]
                known.gateway.tickets -= 1
        for gateway in self._all():
            while gateway.pending and gateway.pending[0].deadline <= clock:
                pending = gateway.pending.popleft()
                self._count_down(pending.route.session_id)
                actions.append(Refuse(pending.leg, Rule.DIAL_BACK_LATE))
            actions += self._refill(gateway, clock)
        return actions

    def statistics(self) -> dict[str, object]:
        """What is up."""
        return {
            "gateways": len(self._gateways),
            "instances": len(self._all()),
            "waiting": sum(len(gateway.waiting) for gateway in self._all()),
            "pending": sum(len(gateway.pending) for gateway in self._all()),
            "tickets": len(self._tickets),
            "joined": self.joined,
            "sessions": len(self._streams),
            "withdrawn": sum(map(len, self._withdrawn.values())),
        }

    def _join(self, client: Leg, leg: Leg, route: Route, gateway: _Gateway) -> Join:
        self.joined += 1
        return Join(client, leg, route, gateway.instance)

    def _count_down(self, session_id: str) -> None:
        self._streams[session_id] -= 1
        if self._streams[session_id] <= 0:
            del self._streams[session_id]

    def _ticket(self, gateway: _Gateway, clock: float) -> bytes:
        ticket = self._new_ticket()
        # Twice the time: the ticket travels to the gateway before the gateway dials.
        self._tickets[ticket] = _Ticket(gateway, clock + 2 * self._dial_back_seconds)
        gateway.tickets += 1
        return ticket

    def _refill(self, gateway: _Gateway, clock: float) -> list[Action]:
        """Tickets for the dial-backs that are missing (law 4)."""
        missing = gateway.idle + len(gateway.pending) - len(gateway.waiting) - gateway.tickets
        if missing <= 0:
            return []
        tickets = [self._ticket(gateway, clock).hex() for _ in range(missing)]
        return [Send(gateway.control, frames.Idle(tickets=tickets))]
