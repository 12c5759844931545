"""One client connection and its one server connection, as a pure state machine.

Bytes and facts go in; each input gives one ordered list of actions. It holds no socket, clock or randomness: times are
arguments (monotonic seconds), randomness a callable among the rules. It is not the pump: that a reply's tail waits for
the disk is said here (`ToClient.held`) and done there.

Law: a command's intent is recorded in an action before the one that forwards it, an outcome before the end of its
reply. What is not understood is refused. States, ways and invariants: `proxy.states`.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from typing import Final

from ..command.facts import Command, parse
from ..policy.decide import Deny, decide, foreign_session, unknown_transaction
from ..rawbson.scan import ReplyFacts
from ..wire import failpoint, faults
from ..wire.compression import NEVER, Compressor, common, compress, decompress, never_compressed, read_head
from ..wire.errors import MongoCode, RemoteProtocolError, error_reply, ok_reply
from ..wire.header import Opcode, header_of
from ..wire.hello import (
    HELLO_COMMANDS,
    ClientMetadata,
    HelloView,
    build_request,
    compression_of,
    read_request,
    rewrite_reply,
    rewrite_request,
)
from ..wire.login import LOGIN_COMMANDS
from ..wire.message import Reply, parse_reply, parse_request
from ..wire.reader import FramingError, Piece
from ..wire.replies import ReplyOpener, scan_message
from .actions import (
    AbortServer,
    Action,
    AwaitDurable,
    CloseClient,
    ConnectServer,
    Login,
    PauseClient,
    Record,
    ResumeClient,
    ToServer,
)
from .conduct import AHEAD_BYTES, MOVED, RULE_LOCAL_AUTH, RULE_SERVER_LOGIN
from .facts import Topology
from .states import State
from .streaming import Streaming
from .turn import HELLO_REPLY_BYTES, Turn
from .upload import Refusal
from .work import own_operations

REAUTHENTICATION_REQUIRED: Final = 391


class ProxyConnection(Streaming):
    """The machine. Every input returns the actions to carry out, in order."""

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
            if self._state is State.UPLOAD and not self._proceeding:
                self._pour(now, out)
                self._go_on(now, out)
            elif self._requests.buffered > AHEAD_BYTES and not self._client_paused:
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
        elif self._requests.large:
            self._go_on(now, out)
        return out

    def client_gone(self, now: float, *, abrupt: bool = False) -> list[Action]:
        """The client's socket ended. Unless `abrupt`, writes that it sent without waiting are still carried out."""
        if self.closed or (self._client_gone and not abrupt):
            return []
        self._client_gone = True
        turn = self._turn
        waiting = self._state not in (State.REQUEST, State.REPLY)
        if waiting and not abrupt and turn is not None and turn.request.more_to_come and self._came(turn):
            return []
        out: list[Action] = []
        self._end("aborted" if abrupt else "client_closed", now, out, finish=self._wrote and not abrupt)
        return out

    def _came(self, turn: Turn) -> bool:
        """Whether all of the request in hand is here."""
        return turn.upload is None or turn.upload.missing <= self._requests.buffered

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
        if piece is not None and self._state is State.REPLY and self._opener is None:
            self._reply(piece, now, out)
            self._go_on(now, out)
            return out
        if self._server_dropped:
            return out
        try:
            self._reply_pieces(self._replies.feed(data) if piece is None else [piece], now, out)
        except (FramingError, RemoteProtocolError) as error:
            self._broken_server(str(error), data, now, out)
            return out
        self._go_on(now, out)
        return out

    def _reply_pieces(self, pieces: Iterable[Piece], now: float, out: list[Action]) -> None:
        """Pieces of replies, compressed or not, in any state."""
        if self._opener is not None:
            pieces = chain.from_iterable(map(self._opener.feed, pieces))
        for piece in pieces:
            if self._state is State.REPLY:
                self._reply(piece, now, out)
            elif self._state is State.GREETING:
                self._greeting(piece, now, out)
            elif not self.closed:
                self._broken_server("a message came that nothing asked for", piece.data, now, out)

    def server_gone(self, reason: str, now: float) -> list[Action]:
        """The server connection is lost. The client's is closed too: only that makes drivers retry rightly."""
        if self.closed or self._server_dropped:
            return []
        turn = self._turn
        if self._state is State.REPLY and turn is not None and turn.command.starts_transaction:
            # It may have begun. MongoDB says of the next statement whether it did, and has to hear of its abort.
            self._rules.work.began(turn.command)
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
        if self._turn.upload is not None:
            self._strand(self._turn.upload, Refusal(RULE_SERVER_LOGIN, code, message, "login_failed"), now, out)
        else:
            self._deny(self._turn.command, RULE_SERVER_LOGIN, code, message, out)
            self._end("login_failed", now, out)
        return out

    # --- inputs: the recorder, the session, the deployment ----------------------------------------------------------

    def recorded(self, seq: int) -> None:
        """The intent or the upload that was just recorded has this sequence number."""
        turn = self._turn
        assert turn is not None
        if self._state is State.UPLOAD and turn.upload is not None:
            turn.upload.opened = seq
        else:
            turn.intent_seq = seq

    def durable(self, now: float) -> list[Action]:
        """All that was recorded before the last `AwaitDurable` is on disk."""
        if self._state is not State.DURABLE or self._turn is None:
            return []
        turn = self._turn
        out: list[Action] = [
            ToServer(turn.rest or self._packed(turn)),
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
            if message is not None:
                self._take(message, now, out)
            elif self._client_gone and requests.missing:
                break  # the rest of it will never come
            elif not (requests.large and self._begin_upload(now, out)):
                break
        if self._state is not State.REQUEST:
            return
        if self._client_gone:
            self._end("client_closed", now, out, finish=self._wrote)
        elif self._leaving is not None:
            self._end(MOVED, now, out, error=self._leaving, finish=self._wrote)
        elif self._client_paused:
            self._client_paused = False
            out.append(ResumeClient())

    def _take(self, raw: bytes, now: float, out: list[Action], compressor: Compressor | None = None) -> None:
        """One whole request, in REQUEST; `compressor` is what it came in, if it was streamed and is open already."""
        if self._agreed and compressor is None and header_of(raw).opcode == Opcode.COMPRESSED:
            self._take_compressed(raw, now, out)
            return
        try:
            request = parse_request(raw)
            command = parse(request)
            if compressor is not None and command.name in NEVER and command.name not in HELLO_COMMANDS:
                raise never_compressed(command.name)
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
            self._answer_login(command, now, out)
        else:
            self._take_command(command, now, out, compressor)

    def _take_compressed(self, raw: bytes, now: float, out: list[Action]) -> None:
        """One request that came compressed: small as it is, it may be large inside."""
        try:
            wrapped = read_head(raw, self._agreed, self._message_limit)
            if wrapped.header.length > self._whole_bytes:
                self._requests.unread(raw)
                self._begin_upload(now, out)
                return
            plain = decompress(raw, wrapped)
        except RemoteProtocolError as error:
            self._malformed(raw, error, now, out)
            return
        self._ledger.bytes_in += len(plain) - len(raw)
        self._take(plain, now, out, wrapped.compressor)

    def _take_command(self, command: Command, now: float, out: list[Action], compressor: Compressor | None) -> None:
        self._ledger.commands += 1
        self._used(command, now)
        refusal = self._refusal(command)
        if refusal is not None:
            self._deny(command, refusal.rule, refusal.code, refusal.message, out, refusal.labels)
            return
        self._rules.faults.passed(command.name, self._ledger.client_app)
        self._turn = turn = Turn(command.request, command, None, now)
        turn.compressor = compressor
        if command.name == failpoint.COMMAND:
            turn.outgoing = failpoint.attributed(command.request, self._attribution)
        self._advance(now, out)

    def _refusal(self, command: Command) -> Refusal | None:
        """Why it may not run, if it may not."""
        if self._rules.local_auth and not self._emulation.allows(command.name):
            message = "this session needs its password: log in with it (SCRAM or PLAIN) before any other command"
            return Refusal(RULE_LOCAL_AUTH, MongoCode.UNAUTHORIZED, message)
        verdict = decide(command, self._rules.policy, self._rules.work.view)
        if type(verdict) is Deny:
            return Refusal(verdict.rule, verdict.code, verdict.message)
        if command.lsid is not None and not self._rules.work.saw_lsid(command.lsid):
            deny = foreign_session(command)
            return Refusal(deny.rule, deny.code, deny.message)
        if command.in_transaction and not self._rules.work.saw_statement(command):
            deny = unknown_transaction(command, began_here=self._rules.work.tried(command))
            return Refusal(deny.rule, deny.code, deny.message, labels=deny.labels)
        return None

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

    def _answer_login(self, command: Command, now: float, out: list[Action]) -> None:
        """The client's own login, answered here and never forwarded."""
        self._ledger.sasl += 1
        fault = self._rules.faults.strike(command.name, self._ledger.client_app)
        if fault is not None and fault.closes:
            self._end("fail_point", now, out)
            return
        if fault is not None:
            if not command.request.more_to_come:
                failed = error_reply(command.request, self._next_id(), fault.code, faults.REASON, labels=fault.labels)
                self._give(failed, out)
            return
        answer = self._emulation.answer(command.name, command.request.body)
        self._ledger.logins += answer.finished
        if not command.request.more_to_come:
            self._give(ok_reply(command.request, self._next_id(), answer.document), out)

    def _resume(self, waited: State, now: float) -> list[Action]:
        """What the request in hand waited for may be there."""
        out: list[Action] = []
        if self._state is waited:
            self._advance(now, out)
            self._go_on(now, out)
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
            asked = [each.word for each in self._offered]
            balanced = self._topology.balanced
            greeting = build_request(self._attribution, self._next_id(), compression=asked, balanced=balanced)
            out.append(ToServer(greeting))
            self._move(State.GREETING)
        elif not self._logged_in and turn.command.name != "ping":
            out.append(Login())
            self._move(State.LOGIN)
        elif turn.upload is not None:
            self._connected(turn.upload, now, out)
        else:
            out.append(Record(self._intent(turn)))
            if turn.request.more_to_come:
                out.append(AwaitDurable())
                self._move(State.DURABLE)
            else:
                out.append(ToServer(turn.outgoing if self._wrap is None else self._packed(turn)))
                self._wrote = False
                self._move(State.REPLY)

    def _packed(self, turn: Turn) -> bytes:
        """The request in hand as it goes to the server."""
        if self._wrap is None or turn.command.name in NEVER:
            return turn.outgoing
        return compress(turn.outgoing, self._wrap, self._zlib_level)

    def _forward_hello(self, turn: Turn, out: list[Action]) -> None:
        client = ClientMetadata.STRIP if self._greeted else ClientMetadata.ATTRIBUTE
        limit, balanced = self._topology.client_bytes, self._topology.balanced
        asked = [] if self._greeted else [each.word for each in self._offered]  # once: an answer holds until then
        raw = rewrite_request(
            turn.request, self._attribution, client, client_bytes=limit, compression=asked, balanced=balanced
        )
        out.append(ToServer(raw))
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
        data = piece.data if turn.compressor is None else self._repacked(turn, piece)
        if facts is not None:
            self._finish_reply(turn, facts, data, now, out)
        elif data:
            self._give(data, out, held=False)

    def _repacked(self, turn: Turn, piece: Piece) -> bytes:
        """What goes to the client for this piece of the reply to a request that came compressed."""
        data = turn.deflate(piece)
        if data is None:
            return piece.data
        if data:
            self._ledger.bytes_out += turn.size - len(data)
        return data

    def _finish_reply(self, turn: Turn, facts: ReplyFacts, tail: bytes, now: float, out: list[Action]) -> None:
        """The last bytes of a command's reply are here: they wait for the outcome."""
        if facts.malformed is not None:
            self._broken_server(facts.malformed, tail, now, out)
            return
        out.append(Record(turn.outcome(facts, now)))
        if facts.code == REAUTHENTICATION_REQUIRED and not facts.ok and not turn.begun:
            # Our own login (an OIDC token) ran out, and the command did not run. The client has nothing to log in with;
            # on a lost connection it comes again, and the gateway logs in anew.
            self._move(State.REQUEST)
            self._end("login_expired", now, out)
            return
        self._give(tail, out)
        self._note_work(turn, facts)
        self._used(turn.command, now)
        if not turn.end_reply():
            self._move(State.REQUEST)

    def _note_work(self, turn: Turn, facts: ReplyFacts) -> None:
        """What the reply says of cursors and operations of this access session, before the client can know it."""
        work, command = self._rules.work, turn.command
        if command.name == failpoint.COMMAND and facts.ok:
            self._rules.faults.configured(turn.request.body)
        if command.starts_transaction and facts.ok:
            work.began(command)
        if facts.cursor_id:
            opened_by = turn.continues or turn.intent_seq
            work.saw_cursor(
                facts.cursor_id, self._member or "", command.database, command.collection or "$cmd", opened_by
            )
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
        agreed = self._agreed if hello.compression is None else common(hello.compression)
        words = [each.word for each in agreed]
        view = HelloView(self._topology.listeners, hello.asks_mechanisms, service_id, self._topology.single, words)
        try:
            reply = parse_reply(raw)
            rewritten = rewrite_reply(reply, view)
        except RemoteProtocolError as error:
            self._broken_server(error.message, raw, now, out)
            return
        welcome = scan_message(raw).ok
        if welcome and self._is_astray(reply):
            # A driver that is pinned to the main port would take this member for the one to retry at.
            if self._greeted:
                self._end(MOVED, now, out, error="the member is not primary any more")
            else:
                self._redial(now, out)
            return
        self._give(rewritten, out, held=False)
        if welcome:
            self._agreed = agreed
        if not self._greeted:
            if not welcome:
                # Nobody can tell whether the server kept our attribution: a connection without it must not go on.
                self.hello_refused = True
                self._end("hello_refused", now, out)
                return
            self._greeted = True
            self._agree(reply)
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
        try:
            reply = parse_reply(raw)
        except RemoteProtocolError as error:
            self._broken_server(error.message, raw, now, out)
            return
        if scan_message(raw).ok and self._is_astray(reply):
            self._redial(now, out)
        elif scan_message(raw).ok:
            self._greeted = True
            self._agree(reply)
            self._advance(now, out)
        else:
            self._unreachable("MongoDB refused the hello of the gateway; let the client begin with one.", now, out)

    def _agree(self, reply: Reply) -> None:
        """With the server, by its answer to the first hello, on a compressor: the first of ours that it takes too."""
        if not self._offered:
            return
        taken = common(compression_of(reply))
        self._wrap = next((each for each in self._offered if each in taken), None)
        self._opener = None if self._wrap is None else ReplyOpener(self._wrap, self._message_limit)
