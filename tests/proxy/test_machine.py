"""The machine against a model: any order of inputs, and what must hold after each of them.

The model is a server and a client that follow the protocol, a recorder that is durable sooner or later, and a world
that ends sessions, loses servers and changes primaries whenever it likes.
"""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from wardgate.audit import records as audit
from wardgate.proxy import actions as do
from wardgate.proxy.facts import Topology
from wardgate.testing.playbook import (
    EXHAUST_ALLOWED,
    LISTENER,
    MEMBER,
    MORE_TO_COME,
    Playbook,
    command,
    hello_document,
    hello_request,
    op_msg,
    reply,
)
from wardgate.wire.header import HEADER


class ConnectionModel(RuleBasedStateMachine):
    """Inputs are rules; what the machine asked for is checked as it comes."""

    def __init__(self) -> None:
        super().__init__()
        self.play = Playbook(topology=Topology("replica_set", {}))
        self.next_id = 1
        self.waiting: list[int] = []  # ids of what the client sent and wants answered, in order
        self.at_server: list[tuple[int, bool, bool]] = []  # forwarded, unanswered: id, hello, exhaust allowed
        self.open_intents = 0
        self.dialled = self.connected = self.logging_in = self.syncing = False
        self.greeting: int | None = None
        self.reply_id = 100_000
        self.take(self.play.machine.start())

    # --- the pump ---------------------------------------------------------------------------------------------------

    def take(self, actions: list[do.Action]) -> None:
        """Carry out and check."""
        self.play.run(actions)
        held_must_follow = False
        for action in actions:
            match action:
                case do.ConnectServer():
                    self.dialled = True
                case do.Login():
                    assert self.connected
                    self.logging_in = True
                case do.AwaitDurable():
                    assert self.open_intents == 1
                    self.syncing = True
                case do.Record(record):
                    self.recorded(record)
                    held_must_follow = True
                case do.ToServer(data):
                    self.forwarded(data)
                case do.ToClient(data, held):
                    assert held or not (held_must_follow and self.is_command_end(data))
                    self.answered(data)

    def recorded(self, record: audit.Record) -> None:
        if isinstance(record, audit.CommandIntent):
            assert not self.at_server
            assert self.open_intents == 0
            self.open_intents = 1
        elif isinstance(record, audit.CommandOutcome):
            assert self.open_intents == 1
            if not record.more:
                self.open_intents = 0

    def forwarded(self, data: bytes) -> None:
        assert self.connected
        _, request_id, _, _ = HEADER.unpack_from(data)
        flags = int.from_bytes(data[16:20], "little")
        hello = b"hello\x00" in data[:64]
        if hello and request_id not in self.waiting:
            self.greeting = request_id
            return
        assert hello or self.open_intents == 1
        if flags & MORE_TO_COME:
            assert not self.syncing
            return
        self.at_server.append((request_id, hello, bool(flags & EXHAUST_ALLOWED)))

    def answered(self, data: bytes) -> None:
        length, _, response_to, _ = HEADER.unpack_from(data)
        assert length == len(data)  # this model's server sends whole messages
        if response_to >= 100_000:
            return  # a further reply of a chain
        assert self.waiting.pop(0) == response_to

    def is_command_end(self, data: bytes) -> bool:
        return b"isWritablePrimary" not in data

    # --- the client -------------------------------------------------------------------------------------------------

    def send(self, message: bytes, *, wants_reply: bool) -> None:
        if self.play.machine.closed:
            return
        if wants_reply:
            self.waiting.append(HEADER.unpack_from(message)[1])
        self.take(self.play.machine.client_data(message, self.play.now))

    def new_id(self) -> int:
        self.next_id += 1
        return self.next_id

    @rule(exhaust=st.booleans())
    def client_hello(self, exhaust: bool) -> None:
        self.send(hello_request(self.new_id(), EXHAUST_ALLOWED if exhaust else 0), wants_reply=True)

    @rule(name=st.sampled_from(["find", "ping", "insert", "shutdown", "nonsense", "saslStart", "logout"]))
    def client_command(self, name: str) -> None:
        self.send(command({name: "orders"}, self.new_id()), wants_reply=True)

    @rule(name=st.sampled_from(["insert", "ping", "shutdown"]))
    def client_write_without_reply(self, name: str) -> None:
        self.send(command({name: "orders"}, self.new_id(), MORE_TO_COME), wants_reply=False)

    @rule()
    def client_exhaust(self) -> None:
        self.send(command({"getMore": 5, "collection": "orders"}, self.new_id(), EXHAUST_ALLOWED), wants_reply=True)

    @rule()
    def client_without_database(self) -> None:
        self.send(op_msg({"find": "orders"}, self.new_id()), wants_reply=True)

    @rule(abrupt=st.booleans())
    def client_goes(self, abrupt: bool) -> None:
        self.waiting.clear()
        self.take(self.play.machine.client_gone(self.play.now, abrupt=abrupt))

    # --- the server -------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.dialled and not self.connected)
    @rule(logged_in=st.booleans())
    def server_connects(self, logged_in: bool) -> None:
        self.connected = True
        self.take(self.play.machine.server_ready(MEMBER, self.play.now, logged_in=logged_in))

    @precondition(lambda self: self.dialled and not self.connected)
    @rule()
    def server_fails(self) -> None:
        self.dialled = False
        self.take(self.play.machine.server_failed("no route", self.play.now))

    @precondition(lambda self: self.logging_in)
    @rule(well=st.booleans())
    def login_ends(self, well: bool) -> None:
        self.logging_in = False
        machine, now = self.play.machine, self.play.now
        self.take(machine.logged_in(now) if well else machine.login_failed("refused", now))

    @precondition(lambda self: self.greeting is not None)
    @rule()
    def server_greets(self) -> None:
        request, self.greeting = self.greeting, None
        assert request is not None
        self.take(self.play.machine.server_data(op_msg(hello_document(), 99, request), self.play.now))

    @precondition(lambda self: self.at_server)
    @rule(more=st.booleans())
    def server_answers(self, more: bool) -> None:
        request_id, hello, exhaust = self.at_server.pop(0)
        self.reply_id += 1
        more = more and exhaust
        flags = MORE_TO_COME if more else 0
        if more:
            self.at_server.append((self.reply_id, hello, True))
        if hello:
            message = op_msg(hello_document(), self.reply_id, request_id, flags)
        else:
            message = reply(request_id, self.reply_id, flags, n=1)
        self.take(self.play.machine.server_data(message, self.play.now))

    @precondition(lambda self: self.connected)
    @rule()
    def server_goes(self) -> None:
        self.take(self.play.machine.server_gone("reset", self.play.now))

    # --- the world --------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.syncing)
    @rule()
    def disk_syncs(self) -> None:
        self.syncing = False
        self.take(self.play.machine.durable(self.play.now))

    @rule(known=st.booleans())
    def topology_changes(self, known: bool) -> None:
        topology = Topology("replica_set", {MEMBER: LISTENER} if known else {})
        self.take(self.play.machine.topology_changed(topology, self.play.now))

    @rule(told=st.booleans())
    def session_ends(self, told: bool) -> None:
        self.waiting = self.waiting[:1] if told else []
        self.take(self.play.machine.session_ending("over" if told else None, self.play.now))

    @invariant()
    def a_state_keeps_its_promises(self) -> None:
        machine = self.play.machine
        state = self.play.state()
        if state == "REQUEST":
            assert self.open_intents == 0
            assert not self.at_server
        if state == "DURABLE":
            assert self.open_intents == 1
        if state in ("SERVER", "LISTENER", "GREETING", "LOGIN"):
            assert self.open_intents == 0
        if machine.closed:
            assert self.open_intents == 0
            last = self.play.actions[-1]
            assert isinstance(last, do.CloseClient)
            self.at_server.clear()


ConnectionModel.TestCase.settings = settings(max_examples=200, stateful_step_count=40)
TestConnectionModel = ConnectionModel.TestCase
