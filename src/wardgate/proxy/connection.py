"""One client connection and its one server connection, as a pure state machine.

Bytes and facts go in; each input gives one ordered list of actions. It holds no socket, clock or randomness: times are
arguments (monotonic seconds), randomness a callable among the rules. It is not the pump: that a reply's tail waits for
the disk is said here (`ToClient.held`) and done there.

Law: a command's intent is recorded in an action before the one that forwards it, an outcome before the end of its
reply. What is not understood is refused. States, ways and invariants: `proxy.states`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..command.facts import Command, parse
from ..policy.decide import Deny, decide, foreign_session
from ..rawbson.scan import ReplyFacts
from ..wire.errors import MongoCode, RemoteProtocolError, error_document, error_reply, ok_reply
from ..wire.header import MESSAGE_BYTES_MAX
from ..wire.hello import (
    HELLO_COMMANDS,
    ClientMetadata,
    HelloView,
    attribution,
    build_request,
    is_writable,
    read_request,
    rewrite_reply,
    rewrite_request,
)
from ..wire.login import LOGIN_COMMANDS, LoginEmulation
from ..wire.message import Request, build_msg, parse_reply, parse_request, refusal
from ..wire.reader import FramingError, MessageReader, Piece, PieceReader
from ..wire.replies import scan_message
from .actions import (
    AbortServer,
    Action,
    AwaitDurable,
    CloseClient,
    ConnectServer,
    FinishServer,
    Login,
    PauseClient,
    Record,
    ResumeClient,
    ToClient,
    ToServer,
)
from .facts import ConnectionFacts, SessionRules, Topology
from .ledger import Ledger
from .states import TRANSITIONS, State
from .turn import HELLO_REPLY_BYTES, Turn
from .work import own_operations

# A client may send ahead while a command runs; beyond this it is not read until the command is answered.
_AHEAD_BYTES: Final = 64 * 1024

RULE_LOCAL_AUTH: Final = "local_auth"
RULE_SERVER_LOGIN: Final = "server_login"
RULE_SERVER_UNREACHABLE: Final = "server_unreachable"


class ProxyConnection:
    """The machine. Every input returns the actions to carry out, in order."""

    def __init__(
        self,
        facts: ConnectionFacts,
        rules: SessionRules,
        topology: Topology,
        *,
        message_limit: int = MESSAGE_BYTES_MAX,
    ) -> None:
        """`message_limit` bounds a message in either direction; a client's is buffered whole up to it."""
        self.facts = facts
        self.last_command_at = 0.0
        self.hello_refused = False  # by the server, the first one
        self._rules = rules
        self._topology = topology
        self._attribution = attribution(facts.user, facts.session)
        self._emulation = LoginEmulation(rules.login_keys, rules.random, required=rules.local_auth)
        self._requests = MessageReader(message_limit)
        self._replies = PieceReader(message_limit)
        self._state = State.REQUEST
        self._turn: Turn | None = None  # in hand; in REQUEST the newest one that is done with
        self._member: str | None = None  # where the server connection leads, once it is there
        self._server_error: str | None = None  # why there is none
        self._greeted = False  # the server connection had a hello with our attribution in it
        self._logged_in = False
        self._client_gone = False
        self._leaving: str | None = None  # why this connection ends with the reply that is on its way
        self._client_paused = False
        self._wrote = False  # the newest thing that went to the server is a write that nobody waits for
        self._owed: Request | None = None  # the newest request; its answer may not have left yet
        self._ledger = Ledger(facts.connection)
        self._request_id = 0

    # --- looking in -----------------------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        """What the connection waits for."""
        return self._state

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self._state is State.CLOSED

    @property
    def busy(self) -> bool:
        """Whether a command (no hello) is under way."""
        waits = self._state not in (State.REQUEST, State.CLOSED)
        return waits and self._turn is not None and self._turn.hello is None

    def statistics(self) -> dict[str, Any]:
        """Counts, and the command under way."""
        return {
            "state": self._state.name,
            "command": self._turn.command.name if self.busy and self._turn is not None else None,
            "buffered_bytes": self._requests.buffered,
            **self._ledger.statistics(),
        }

    # --- inputs: the client ---------------------------------------------------------------------------------------

    def start(self) -> list[Action]:
        """First input: the stream is open. The server is dialled at once, so that the client's hello need not wait."""
        return [Record(self._ledger.opened(self.facts.peer, self.facts.member)), ConnectServer()]

    def client_data(self, data: bytes, now: float) -> list[Action]:
        """Bytes from the client."""
        if self.closed:
            return []
        self._ledger.bytes_in += len(data)
        out: list[Action] = []
        if self._state is not State.REQUEST:
            self._requests.feed(data)
            if self._requests.buffered > _AHEAD_BYTES and not self._client_paused:
                self._client_paused = True
                out.append(PauseClient())
            return out
        try:
            message = self._requests.take(data)
        except FramingError as error:
            self._broken_framing(error, data, now, out)
            return out
        if message is not None:
            self._take(message, now, out)
            self._go_on(now, out)
        return out

    def client_gone(self, now: float, *, abrupt: bool = False) -> list[Action]:
        """The client's socket ended. Unless `abrupt`, writes that it sent without waiting are still carried out."""
        if self.closed or (self._client_gone and not abrupt):
            return []
        self._client_gone = True
        turn = self._turn
        waiting = self._state not in (State.REQUEST, State.REPLY)
        if waiting and not abrupt and turn is not None and turn.request.more_to_come:
            return []
        out: list[Action] = []
        self._end("aborted" if abrupt else "client_closed", now, out, finish=self._wrote and not abrupt)
        return out

    # --- inputs: the server ---------------------------------------------------------------------------------------

    def server_ready(self, member: str, now: float, *, logged_in: bool = False) -> list[Action]:
        """The server connection is open and leads to `member`; a warm spare is `logged_in` already."""
        if self.closed:
            return []
        self._member = member
        self._logged_in = logged_in
        return self._resume(State.SERVER, now)

    def server_failed(self, message: str, now: float) -> list[Action]:
        """There will be no server connection: `message` says what and where."""
        if self.closed:
            return []
        self._server_error = message
        return self._resume(State.SERVER, now)

    def server_data(self, data: bytes, now: float) -> list[Action]:
        """Bytes from the server."""
        if self.closed:
            return []
        out: list[Action] = []
        piece = self._replies.whole(data)
        if piece is not None and self._state is State.REPLY:
            self._reply(piece, now, out)
            self._go_on(now, out)
            return out
        try:
            pieces = self._replies.feed(data)
        except FramingError as error:
            self._broken_server(str(error), data, now, out)
            return out
        for piece in pieces:
            if self._state is State.REPLY:
                self._reply(piece, now, out)
            elif self._state is State.GREETING:
                self._greeting(piece, now, out)
            elif not self.closed:
                self._broken_server("a message came that nothing asked for", piece.data, now, out)
        self._go_on(now, out)
        return out

    def server_gone(self, reason: str, now: float) -> list[Action]:
        """The server connection is lost. The client's is closed too: only that makes drivers retry rightly."""
        if self.closed:
            return []
        out: list[Action] = []
        self._end("server_lost", now, out, error=reason)
        return out

    def logged_in(self, now: float) -> list[Action]:
        """The login on the server connection succeeded."""
        if self._state is not State.LOGIN:
            return []
        self._logged_in = True
        return self._resume(State.LOGIN, now)

    def login_failed(self, message: str, now: float) -> list[Action]:
        """It failed: the command that waited for it is told why, and the connection ends with that."""
        if self._state is not State.LOGIN or self._turn is None:
            return []
        out: list[Action] = []
        code = MongoCode.AUTHENTICATION_FAILED
        self._deny(self._turn.command, RULE_SERVER_LOGIN, code, message, out)
        self._end("login_failed", now, out)
        return out

    # --- inputs: the recorder, the session, the deployment ----------------------------------------------------------

    def recorded(self, seq: int) -> None:
        """The intent that was just recorded has this sequence number."""
        assert self._turn is not None
        self._turn.intent_seq = seq

    def durable(self, now: float) -> list[Action]:
        """All that was recorded before the last `AwaitDurable` is on disk."""
        if self._state is not State.DURABLE or self._turn is None:
            return []
        turn = self._turn
        out: list[Action] = [
            ToServer(turn.request.raw),
            Record(turn.cut_off(None, now, unacknowledged=True)),
        ]
        self._wrote = True
        self._move(State.REQUEST)
        self._go_on(now, out)
        return out

    def recording_failed(self, message: str, now: float) -> list[Action]:
        """A record was not taken: whatever was to follow it did not happen, and nothing more will."""
        if self.closed:
            return []
        out: list[Action] = [AbortServer()]
        owed, turn = self._owed, self._turn
        begun = turn is not None and turn.request is owed and (turn.begun or turn.chained)
        if owed is not None and not owed.more_to_come and not begun and not self._client_gone:
            self._give(error_reply(owed, self._next_id(), MongoCode.UNAUTHORIZED, message), out, held=False)
        out.append(CloseClient())
        self._move(State.CLOSED)
        return out

    def session_ending(self, reason: str | None, now: float) -> list[Action]:
        """The access session ends. A command that waits is told `reason`; with None it is the user's own doing."""
        if self.closed:
            return []
        out: list[Action] = []
        self._end("session_ended", now, out, error=reason or "the session ended", told=reason)
        return out

    def member_lost(self, reason: str, now: float, *, abrupt: bool = True) -> list[Action]:
        """The main port leads elsewhere now: sockets pinned to the old member close, so that drivers look again.

        Unless `abrupt`, a command that the member has already keeps its connection until its reply: the member's own
        error (with its labels) tells a driver more than a lost connection does. A member that hangs gives none, so a
        write that can be repeated is told what it would have been told.
        """
        if self.closed:
            return []
        running = self._state is State.REPLY and self.busy
        if running and not abrupt:
            self._leaving = reason
            return []
        out: list[Action] = []
        labels = self._turn.interruption() if running and self._turn is not None else ()
        told = f"wardgate: {reason}" if labels else None
        self._end("primary_changed", now, out, error=reason, told=told, labels=labels)
        return out

    def topology_changed(self, topology: Topology, now: float) -> list[Action]:
        """The deployment or its listeners are these now."""
        self._topology = topology
        return self._resume(State.LISTENER, now)

    # --- requests -------------------------------------------------------------------------------------------------

    def _go_on(self, now: float, out: list[Action]) -> None:
        """In REQUEST: take what the client sent ahead, then read on."""
        requests = self._requests
        while self._state is State.REQUEST and requests.buffered and self._leaving is None:
            try:
                message = requests.next()
            except FramingError as error:
                self._broken_framing(error, requests.rest(), now, out)
                return
            if message is None:
                break
            self._take(message, now, out)
        if self._state is not State.REQUEST:
            return
        if self._client_gone:
            self._end("client_closed", now, out, finish=self._wrote)
        elif self._leaving is not None:
            self._end("primary_changed", now, out, error=self._leaving)
        elif self._client_paused:
            self._client_paused = False
            out.append(ResumeClient())

    def _take(self, raw: bytes, now: float, out: list[Action]) -> None:
        """One whole request, in REQUEST."""
        try:
            request = parse_request(raw)
            command = parse(request)
        except RemoteProtocolError as error:
            self._malformed(raw, error, now, out)
            return
        self._owed = request
        if self._client_gone and not request.more_to_come:
            self._end("client_closed", now, out, finish=self._wrote)
            return
        name = command.name
        if name in HELLO_COMMANDS:
            self._take_hello(command, now, out)
        elif name in LOGIN_COMMANDS:
            self._answer_login(command, out)
        else:
            self._take_command(command, now, out)

    def _take_command(self, command: Command, now: float, out: list[Action]) -> None:
        self._ledger.commands += 1
        self.last_command_at = now
        if self._rules.local_auth and not self._emulation.allows(command.name):
            message = "this session needs its password: log in with it (SCRAM or PLAIN) before any other command"
            self._deny(command, RULE_LOCAL_AUTH, MongoCode.UNAUTHORIZED, message, out)
            return
        verdict = decide(command, self._rules.policy, self._rules.work.view)
        if type(verdict) is Deny:
            self._deny(command, verdict.rule, verdict.code, verdict.message, out)
            return
        if command.lsid is not None and not self._rules.work.saw_lsid(command.lsid):
            deny = foreign_session(command)
            self._deny(command, deny.rule, deny.code, deny.message, out)
            return
        self._turn = Turn(command.request, command, None, now)
        self._advance(now, out)

    def _take_hello(self, command: Command, now: float, out: list[Action]) -> None:
        self._ledger.hellos += 1
        request = command.request
        if request.more_to_come:
            return  # it changes nothing that we would pass on, and nobody waits for an answer
        try:
            hello = read_request(request)
        except RemoteProtocolError as error:
            self._malformed(request.raw, error, now, out)
            return
        first = self._ledger.first_hello(hello)
        if first is not None:
            out.append(Record(first))
        self._turn = Turn(request, command, hello, now)
        self._advance(now, out)

    def _answer_login(self, command: Command, out: list[Action]) -> None:
        """The client's own login, answered here and never forwarded."""
        self._ledger.sasl += 1
        answer = self._emulation.answer(command.name, command.request.body)
        self._ledger.logins += answer.finished
        if not command.request.more_to_come:
            self._give(ok_reply(command.request, self._next_id(), answer.document), out)

    def _resume(self, waited: State, now: float) -> list[Action]:
        """What the request in hand waited for may be there."""
        out: list[Action] = []
        if self._state is waited:
            self._advance(now, out)
        return out

    def _advance(self, now: float, out: list[Action]) -> None:
        """Bring the request in hand to the server, or to the next thing that it must wait for."""
        turn = self._turn
        assert turn is not None
        if self._server_error is not None:
            self._unreachable(self._server_error, now, out)
        elif self._member is None:
            self._wait(State.SERVER)
        elif turn.hello is not None:
            if self._topology.shows(self._member):
                self._forward_hello(turn, out)
            else:
                self._wait(State.LISTENER)
        elif not self._greeted:
            out.append(ToServer(build_request(self._attribution, self._next_id())))
            self._move(State.GREETING)
        elif not self._logged_in and turn.command.name != "ping":
            out.append(Login())
            self._move(State.LOGIN)
        else:
            out.append(Record(turn.intent(self.facts.connection, self._ledger.client_app)))
            if turn.request.more_to_come:
                out.append(AwaitDurable())
                self._move(State.DURABLE)
            else:
                out.append(ToServer(turn.request.raw))
                self._wrote = False
                self._move(State.REPLY)

    def _forward_hello(self, turn: Turn, out: list[Action]) -> None:
        client = ClientMetadata.STRIP if self._greeted else ClientMetadata.ATTRIBUTE
        limit = self._topology.client_bytes
        out.append(ToServer(rewrite_request(turn.request, self._attribution, client, client_bytes=limit)))
        self._move(State.REPLY)

    def _wait(self, state: State) -> None:
        if self._state is not state:
            self._move(state)

    # --- replies --------------------------------------------------------------------------------------------------

    def _reply(self, piece: Piece, now: float, out: list[Action]) -> None:
        """A piece of the reply that the request in hand waits for."""
        turn = self._turn
        assert turn is not None
        if piece.header is not None:
            wrong = turn.begin_reply(piece)
            if wrong is not None:
                self._broken_server(wrong, piece.data, now, out)
                return
        if turn.hello is not None:
            self._hello_piece(turn, piece, now, out)
            return
        facts = turn.read(piece)
        if facts is not None:
            self._finish_reply(turn, facts, piece.data, now, out)
        else:
            self._give(piece.data, out, held=False)

    def _finish_reply(self, turn: Turn, facts: ReplyFacts, tail: bytes, now: float, out: list[Action]) -> None:
        """The last bytes of a command's reply are here: they wait for the outcome."""
        if facts.malformed is not None:
            self._broken_server(facts.malformed, tail, now, out)
            return
        out.append(Record(turn.outcome(facts, now)))
        self._give(tail, out)
        self._note_work(turn, facts)
        self.last_command_at = now
        if not turn.end_reply():
            self._move(State.REQUEST)

    def _note_work(self, turn: Turn, facts: ReplyFacts) -> None:
        """What the reply says of cursors and operations of this access session, before the client can know it."""
        work, command = self._rules.work, turn.command
        if facts.cursor_id:
            work.saw_cursor(facts.cursor_id, self._member or "", command.database, command.collection or "$cmd")
        elif command.cursor_ids and facts.ok:
            work.lost_cursors(command.cursor_ids)
        if turn.lists_operations:
            for each in own_operations(turn.collected(), self._attribution):
                work.saw_operation(each)

    def _hello_piece(self, turn: Turn, piece: Piece, now: float, out: list[Action]) -> None:
        raw = turn.collect(piece)
        if raw is None:
            return
        hello = turn.hello
        assert hello is not None
        # A balanced client pins its work to a service; here that is the member behind this connection.
        service_id = (self._member or "").encode().rjust(12, b"\0")[-12:] if hello.load_balanced else None
        view = HelloView(self._topology.listeners, hello.asks_mechanisms, service_id, self._topology.single)
        try:
            reply = parse_reply(raw)
            rewritten = rewrite_reply(reply, view)
        except RemoteProtocolError as error:
            self._broken_server(error.message, raw, now, out)
            return
        welcome = scan_message(raw).ok
        if welcome and self._topology.follows_primary and self.facts.member is None and not is_writable(reply):
            # A driver that is pinned to the main port would take this member for the one to retry at.
            self._end("primary_changed", now, out, error="the member is not primary any more")
            return
        self._give(rewritten, out, held=False)
        if not self._greeted:
            if not welcome:
                # Nobody can tell whether the server kept our attribution: a connection without it must not go on.
                self.hello_refused = True
                self._end("hello_refused", now, out)
                return
            self._greeted = True
        if not turn.end_reply():
            self._move(State.REQUEST)

    def _greeting(self, piece: Piece, now: float, out: list[Action]) -> None:
        """The answer to our own hello."""
        turn = self._turn
        assert turn is not None
        if piece.header is not None and piece.header.response_to != self._request_id:
            self._broken_server("a reply answers another request than the one that waits", piece.data, now, out)
            return
        if piece.header is not None and piece.header.length > HELLO_REPLY_BYTES:
            self._broken_server("a hello reply is far too long", piece.data, now, out)
            return
        raw = turn.collect(piece)
        if raw is None:
            return
        if scan_message(raw).ok:
            self._greeted = True
            self._advance(now, out)
        else:
            self._unreachable("MongoDB refused the hello of the gateway; let the client begin with one.", now, out)

    # --- saying no ------------------------------------------------------------------------------------------------

    def _deny(self, command: Command, rule: str, code: int, message: str, out: list[Action]) -> None:
        """Refuse one command; the connection goes on."""
        out.append(Record(self._ledger.denied(command, rule, int(code), message)))
        if not command.request.more_to_come:
            self._give(error_reply(command.request, self._next_id(), code, message), out)

    def _unreachable(self, message: str, now: float, out: list[Action]) -> None:
        """There is no server: the request in hand is told so, and that is the end."""
        turn = self._turn
        assert turn is not None
        if turn.hello is None:
            self._deny(turn.command, RULE_SERVER_UNREACHABLE, MongoCode.HOST_UNREACHABLE, message, out)
        else:
            self._tell(MongoCode.HOST_UNREACHABLE, message, out)
        self._end("server_unreachable", now, out)

    def _malformed(self, raw: bytes, error: RemoteProtocolError, now: float, out: list[Action]) -> None:
        """A request that breaks a rule: an error document where the rule leaves room for one, else the end."""
        out.append(Record(self._ledger.malformed(error.message, raw)))
        if error.mongo_code is None:
            self._end("protocol_error", now, out)
            return
        reply = refusal(raw, error.mongo_code, error.message, self._next_id())
        if reply is not None:
            self._give(reply, out)

    def _broken_framing(self, error: FramingError, head: bytes, now: float, out: list[Action]) -> None:
        out.append(Record(self._ledger.malformed(str(error), head)))
        self._end("protocol_error", now, out)

    def _broken_server(self, reason: str, head: bytes, now: float, out: list[Action]) -> None:
        """The server broke the protocol."""
        out.append(Record(self._ledger.malformed(reason, head, from_server=True)))
        self._end("server_protocol_error", now, out, error=reason)

    # --- ending ---------------------------------------------------------------------------------------------------

    def _end(
        self,
        reason: str,
        now: float,
        out: list[Action],
        *,
        error: str | None = None,
        told: str | None = None,
        labels: Sequence[str] = (),
        finish: bool = False,
    ) -> None:
        """Give both sockets up. A command in flight gets its last outcome; `told` is said to who waits for a reply.

        With `labels` it is told as an interruption after which a driver goes on by itself.
        """
        out.append(FinishServer() if finish else AbortServer())
        turn = self._turn
        if turn is not None and turn.hello is None and self._state in (State.DURABLE, State.REPLY):
            out.append(Record(turn.cut_off(error or reason, now)))
        if told is not None and self._state is not State.REQUEST:
            hello = turn is not None and turn.hello is not None
            code = MongoCode.HOST_UNREACHABLE if hello else MongoCode.UNAUTHORIZED
            self._tell(MongoCode.INTERRUPTED_BY_STEP_DOWN if labels else code, told, out, labels)
        out.append(Record(self._ledger.closed(reason)))
        out.append(CloseClient())
        self._move(State.CLOSED)

    def _tell(self, code: MongoCode, message: str, out: list[Action], labels: Sequence[str] = ()) -> None:
        """Answer the request in hand with an error, if it still can be answered."""
        turn = self._turn
        if turn is None or turn.begun or turn.request.more_to_come or self._client_gone:
            return
        if not turn.chained:
            self._give(error_reply(turn.request, self._next_id(), code, message, labels=labels), out)
        elif turn.more:
            document = error_document(code, code.code_name, message)
            self._give(build_msg(document, self._next_id(), turn.expects), out)

    # --- small things ---------------------------------------------------------------------------------------------

    def _give(self, data: bytes, out: list[Action], *, held: bool = True) -> None:
        self._ledger.bytes_out += len(data)
        out.append(ToClient(data, held))

    def _next_id(self) -> int:
        self._request_id += 1
        return self._request_id

    def _move(self, to: State) -> None:
        assert to in TRANSITIONS[self._state], f"{self._state.name} to {to.name}"
        self._state = to
