"""The switchboard as a script, and its laws under any order of events."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from wardgate import ids
from wardgate.ids import Kind
from wardgate.relay import switchboard as do
from wardgate.relay.switchboard import Rule, Switchboard
from wardgate.tunnel import frames
from wardgate.tunnel.route import Route, RouteRule, ServerName, make_token

KEY = bytes(32)
GATEWAY = ids.from_bytes(Kind.GATEWAY, b"g" * 16)
SESSIONS = [ids.from_bytes(Kind.SESSION, bytes([n]) * 16) for n in range(3)]
UNTIL = 1000
ONE, TWO = "1" * 32, "2" * 32  # instances


def name_of(session: str, gateway: str = GATEWAY, until: int = UNTIL) -> ServerName:
    return ServerName(make_token(KEY, session, gateway, until), gateway)


def board(streams: int = 10, dead: Any = ()) -> Switchboard:
    numbers = itertools.count(1)
    return Switchboard(
        KEY,
        streams_per_token=streams,
        dial_back=5.0,
        new_ticket=lambda: next(numbers).to_bytes(16, "big"),
        alive=lambda leg: leg not in dead,
    )


def ticket(number: int) -> bytes:
    return number.to_bytes(16, "big")


def test_a_stream_takes_a_waiting_dial_back_and_another_is_asked_for() -> None:
    switch = board()
    assert switch.attach(GATEWAY, ONE, "control") == []
    asked = switch.register(GATEWAY, "control", 1, 0.0)
    assert asked == [do.Send("control", frames.Idle(tickets=[ticket(1).hex()]))]
    assert switch.dial_back(ticket(1), "leg", 1.0) == [do.Watch("leg")]
    route = Route(SESSIONS[0], GATEWAY, UNTIL)
    assert switch.route(name_of(SESSIONS[0]), "client", 0.0, 2.0) == [
        do.Join("client", "leg", route, ONE),
        do.Send("control", frames.Idle(tickets=[ticket(2).hex()])),
    ]
    assert switch.statistics()["joined"] == 1
    switch.ended(route)
    assert switch.statistics()["sessions"] == 0


def test_without_one_the_gateway_is_asked_and_the_oldest_route_is_served_first() -> None:
    switch = board()
    switch.attach(GATEWAY, ONE, "control")
    assert switch.register(GATEWAY, "control", 0, 0.0) == [do.Send("control", frames.Ping())]
    for number, client in enumerate(("first", "second"), 1):
        sent = switch.route(name_of(SESSIONS[0]), client, 0.0, 0.0)
        assert sent == [do.Send("control", frames.Dial(ticket=ticket(number).hex()))]
    route = Route(SESSIONS[0], GATEWAY, UNTIL)
    assert switch.dial_back(ticket(2), "leg", 1.0) == [do.Join("first", "leg", route, ONE)]
    assert switch.expire(5.0) == [do.Refuse("second", Rule.DIAL_BACK_LATE)]
    assert switch.dial_back(ticket(1), "late", 6.0) == [do.Watch("late")]


def test_dead_dial_backs_are_not_given_out() -> None:
    switch = board(dead={"dead"})
    switch.attach(GATEWAY, ONE, "control")
    switch.register(GATEWAY, "control", 2, 0.0)
    switch.dial_back(ticket(1), "dead", 0.0)
    switch.dial_back(ticket(2), "good", 0.0)
    actions = switch.route(name_of(SESSIONS[0]), "client", 0.0, 0.0)
    assert actions[:2] == [do.Drop("dead"), do.Join("client", "good", Route(SESSIONS[0], GATEWAY, UNTIL), ONE)]


def test_a_ticket_is_single_use_bound_and_short_lived() -> None:
    switch = board()
    switch.attach(GATEWAY, ONE, "control")
    switch.register(GATEWAY, "control", 2, 0.0)
    switch.dial_back(ticket(1), "one", 0.0)
    assert switch.dial_back(ticket(1), "again", 0.0) == [do.Drop("again", Rule.TICKET_UNKNOWN)]
    assert switch.dial_back(ticket(2), "late", 10.0) == [do.Drop("late", Rule.TICKET_UNKNOWN)]
    again = [ticket(3).hex(), ticket(4).hex()]
    assert switch.register(GATEWAY, "control", 3, 10.0) == [do.Send("control", frames.Idle(tickets=again))]
    assert switch.detach(GATEWAY, "control") == [do.Drop("one")]
    assert switch.dial_back(ticket(3), "orphan", 10.0) == [do.Drop("orphan", Rule.TICKET_UNKNOWN)]


def test_expired_tickets_are_replaced() -> None:
    switch = board()
    switch.attach(GATEWAY, ONE, "control")
    switch.register(GATEWAY, "control", 1, 0.0)
    assert switch.expire(9.0) == []
    assert switch.expire(10.0) == [do.Send("control", frames.Idle(tickets=[ticket(2).hex()]))]


def test_refusals() -> None:
    switch = board(streams=1)
    client = "client"
    assert switch.route(name_of(SESSIONS[0]), client, 0.0, 0.0) == [do.Refuse(client, Rule.GATEWAY_ABSENT)]
    switch.attach(GATEWAY, ONE, "control")
    assert switch.route(name_of(SESSIONS[0]), client, UNTIL, 0.0) == [do.Refuse(client, RouteRule.EXPIRED)]
    switch.withdraw(GATEWAY, "control", SESSIONS[0], UNTIL, 0.0)
    assert switch.route(name_of(SESSIONS[0]), client, 0.0, 0.0) == [do.Refuse(client, Rule.WITHDRAWN)]
    switch.route(name_of(SESSIONS[1]), client, 0.0, 0.0)
    assert switch.route(name_of(SESSIONS[1]), client, 0.0, 0.0) == [do.Refuse(client, Rule.TOO_MANY_STREAMS)]


def test_a_gateway_withdraws_only_its_own() -> None:
    other = ids.from_bytes(Kind.GATEWAY, b"o" * 16)
    switch = board()
    switch.attach(GATEWAY, ONE, "control")
    switch.attach(other, TWO, "theirs")
    switch.withdraw(other, "theirs", SESSIONS[0], UNTIL, 0.0)
    switch.withdraw(GATEWAY, "theirs", SESSIONS[0], UNTIL, 0.0)
    assert not isinstance(switch.route(name_of(SESSIONS[0]), "client", 0.0, 0.0)[0], do.Refuse)


def test_withdrawals_are_forgotten_when_their_tokens_are_worthless() -> None:
    switch = board()
    switch.attach(GATEWAY, ONE, "control")
    switch.withdraw(GATEWAY, "control", SESSIONS[0], 10, 0.0)
    switch.withdraw(GATEWAY, "control", SESSIONS[1], 20, 11.0)
    assert switch.statistics()["withdrawn"] == 1


def test_revocation_cuts_and_keeps_out() -> None:
    switch = board()
    switch.attach(GATEWAY, ONE, "control")
    switch.route(name_of(SESSIONS[0]), "client", 0.0, 0.0)
    assert switch.revoke([GATEWAY]) == [
        do.Refuse("client", Rule.GATEWAY_ABSENT),
        do.Hang("control", Rule.GATEWAY_REVOKED),
    ]
    assert switch.attach(GATEWAY, ONE, "again") == [do.Hang("again", Rule.GATEWAY_REVOKED)]
    switch.revoke([])
    assert switch.attach(GATEWAY, ONE, "again") == []


def test_a_newer_control_connection_replaces_the_older_whose_end_means_nothing() -> None:
    switch = board()
    switch.attach(GATEWAY, ONE, "old")
    assert switch.attach(GATEWAY, ONE, "new") == [do.Hang("old")]
    assert switch.detach(GATEWAY, "old") == []
    assert switch.register(GATEWAY, "old", 4, 0.0) == []
    assert switch.gateways == [GATEWAY]


# --- instances --------------------------------------------------------------------------------------------------------


CONTROL = {ONE: "control one", TWO: "control two"}


def pool(*instances: str) -> Switchboard:
    """A board with these instances connected, each with one dial-back waiting that bears its tag."""
    switch = board()
    for instance in instances:
        switch.attach(GATEWAY, instance, CONTROL[instance])
        [asked] = switch.register(GATEWAY, CONTROL[instance], 1, 0.0)
        assert isinstance(asked, do.Send)
        assert isinstance(asked.frame, frames.Idle)
        assert switch.dial_back(bytes.fromhex(asked.frame.tickets[0]), instance, 0.0) == [do.Watch(instance)]
    return switch


def goes_to(switch: Switchboard, session: str, instance: str | None = None) -> Any:
    """The instance that a stream is joined to, or the rule that refuses it."""
    [action, *_] = switch.route(replace(name_of(session), instance=instance), "client", 0.0, 0.0)
    return action.rule if isinstance(action, do.Refuse) else action.instance if isinstance(action, do.Join) else action


def test_a_stream_that_names_an_instance_goes_there_or_nowhere() -> None:
    for wanted in (ONE, TWO):
        assert goes_to(pool(ONE, TWO), SESSIONS[0], wanted) == wanted
    assert goes_to(pool(ONE), SESSIONS[0], TWO) is Rule.GATEWAY_ABSENT


def test_a_stream_that_names_none_goes_the_same_way_on_every_relay() -> None:
    for session in SESSIONS:
        assert goes_to(pool(ONE, TWO), session) == goes_to(pool(TWO, ONE), session)
    many = [ids.from_bytes(Kind.SESSION, bytes([n]) * 16) for n in range(40)]
    assert {goes_to(pool(ONE, TWO), session) for session in many} == {ONE, TWO}


def test_the_end_of_one_instance_is_not_the_others() -> None:
    switch = pool(ONE, TWO)
    assert switch.detach(GATEWAY, CONTROL[ONE]) == [do.Drop(ONE)]
    assert switch.gateways == [GATEWAY]
    assert goes_to(switch, SESSIONS[0]) == TWO
    switch.detach(GATEWAY, CONTROL[TWO])
    assert switch.gateways == []


def test_a_withdrawal_is_the_word_of_the_instance_that_says_it() -> None:
    """One that was fenced may have ended what goes on elsewhere."""
    switch = pool(ONE, TWO)
    switch.withdraw(GATEWAY, CONTROL[ONE], SESSIONS[0], UNTIL, 0.0)
    assert goes_to(switch, SESSIONS[0], ONE) is Rule.WITHDRAWN
    assert goes_to(switch, SESSIONS[0]) == TWO
    switch.withdraw(GATEWAY, CONTROL[TWO], SESSIONS[0], UNTIL, 0.0)
    assert goes_to(switch, SESSIONS[0]) is Rule.WITHDRAWN


def test_one_instance_is_revoked_and_the_others_stay() -> None:
    switch = pool(ONE, TWO)
    assert switch.revoke([], [ONE]) == [do.Drop(ONE), do.Hang(CONTROL[ONE], Rule.GATEWAY_REVOKED)]
    assert switch.is_revoked(GATEWAY, ONE)
    assert not switch.is_revoked(GATEWAY, TWO)
    assert switch.attach(GATEWAY, ONE, "again") == [do.Hang("again", Rule.GATEWAY_REVOKED)]
    assert goes_to(switch, SESSIONS[0]) == TWO


class AnyOrder(RuleBasedStateMachine):
    """Legs and tickets are tracked from the actions alone, as the relay's sockets are."""

    @initialize()
    def start(self) -> None:
        self.dead: set[str] = set()
        self.switch = board(streams=3, dead=self.dead)
        self.clock = 0.0
        self.count = itertools.count()
        self.control: str | None = None
        self.open_tickets: list[bytes] = []
        self.clients: set[str] = set()
        self.waiting: set[str] = set()
        self.joined: dict[str, tuple[str, Route]] = {}

    def run(self, actions: list[do.Action], arriving: str | None = None) -> None:
        placed: set[do.Leg] = set()
        for action in actions:
            match action:
                case do.Send(control, frames.Idle(tickets=tickets)):
                    assert control == self.control
                    self.open_tickets += map(bytes.fromhex, tickets)
                case do.Send(control, frames.Dial(ticket=one)):
                    assert control == self.control
                    self.open_tickets.append(bytes.fromhex(one))
                case do.Join(client, gateway, route, _):
                    assert client in self.clients
                    self.clients.discard(str(client))
                    assert gateway in self.waiting or gateway == arriving
                    assert gateway not in self.dead
                    self.waiting.discard(str(gateway))
                    self.joined[str(gateway)] = (str(client), route)
                    placed.add(gateway)
                case do.Watch(leg):
                    self.waiting.add(str(leg))
                    placed.add(leg)
                case do.Drop(leg):
                    self.waiting.discard(str(leg))
                    placed.add(leg)
                case do.Refuse(leg):
                    assert leg in self.clients
                    self.clients.discard(str(leg))
        assert arriving is None or arriving in placed

    @rule()
    def connect(self) -> None:
        older, self.control = self.control, f"control{next(self.count)}"
        actions = self.switch.attach(GATEWAY, ONE, self.control)
        assert (do.Hang(older) in actions) == (older is not None)
        self.open_tickets.clear()
        self.run(actions)

    @rule(idle=st.integers(0, 3))
    @precondition(lambda self: self.control)
    def register(self, idle: int) -> None:
        self.run(self.switch.register(GATEWAY, self.control, idle, self.clock))

    @rule()
    @precondition(lambda self: self.control)
    def disconnect(self) -> None:
        actions = self.switch.detach(GATEWAY, self.control)
        self.control = None
        self.open_tickets.clear()
        self.run(actions)
        assert not self.waiting
        assert not self.clients

    @rule(session=st.sampled_from(SESSIONS))
    def stream(self, session: str) -> None:
        client = f"client{next(self.count)}"
        self.clients.add(client)
        self.run(self.switch.route(name_of(session), client, 0.0, self.clock))

    @rule(data=st.data())
    @precondition(lambda self: self.open_tickets)
    def dial(self, data: st.DataObject) -> None:
        one = data.draw(st.sampled_from(self.open_tickets))
        self.open_tickets.remove(one)
        leg = f"leg{next(self.count)}"
        self.run(self.switch.dial_back(one, leg, self.clock), leg)

    @rule(data=st.data())
    @precondition(lambda self: self.waiting)
    def die(self, data: st.DataObject) -> None:
        leg = data.draw(st.sampled_from(sorted(self.waiting)))
        self.dead.add(leg)
        if data.draw(st.booleans()):
            self.run(self.switch.leg_lost(leg, self.clock))

    @rule(data=st.data())
    @precondition(lambda self: self.joined)
    def end(self, data: st.DataObject) -> None:
        _, route = self.joined.pop(data.draw(st.sampled_from(sorted(self.joined))))
        self.switch.ended(route)

    @rule(seconds=st.sampled_from([0.5, 3.0, 6.0, 11.0]))
    def wait(self, seconds: float) -> None:
        self.clock += seconds
        self.run(self.switch.expire(self.clock))

    @invariant()
    def counts_agree(self) -> None:
        facts = self.switch.statistics()
        assert facts["joined"] == len(self.joined)
        assert facts["pending"] == len(self.clients)
        assert facts["waiting"] == len(self.waiting)

    @invariant()
    def whoever_waits_has_a_dial_back_coming(self) -> None:
        facts = self.switch.statistics()
        assert facts["tickets"] >= facts["pending"]  # type: ignore[operator]


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=60, stateful_step_count=40)
