"""What every part of the machine shares: its state, and how it speaks, refuses and ends.

Here is nothing of requests and replies; see `connection`. Law: every record is in an action before the bytes that it is
about, and `_end` is the one way out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from ..audit.records import CommandIntent
from ..command.facts import Command
from ..wire.compression import Compressor
from ..wire.errors import MongoCode, RemoteProtocolError, error_document, error_reply
from ..wire.header import MESSAGE_BYTES_MAX
from ..wire.hello import attribution, is_writable
from ..wire.login import LoginEmulation
from ..wire.message import Reply, Request, build_msg, refusal
from ..wire.reader import FramingError, MessageReader, PieceReader
from ..wire.replies import ReplyOpener
from .actions import AbortServer, Action, CloseClient, ConnectServer, FinishServer, Record, ToClient
from .facts import ConnectionFacts, SessionRules, Topology
from .ledger import Ledger
from .states import TRANSITIONS, State
from .turn import Turn
from .upload import WHOLE_BYTES, Upload

# A client may send ahead while a command runs; beyond this it is not read until the command is answered.
AHEAD_BYTES: Final = 64 * 1024

RULE_LOCAL_AUTH: Final = "local_auth"
RULE_SERVER_LOGIN: Final = "server_login"
RULE_SERVER_UNREACHABLE: Final = "server_unreachable"
MOVED: Final = "main_port_moved"  # the end of a connection to where the main port led before


# On the main port: a server connection that bears nothing of the client's yet can be exchanged for another one.
_UNSEEN: Final = frozenset({State.REQUEST, State.LISTENER})
_REDIALS_MAX: Final = 20  # half a second each, at most: about as long as a driver waits

_UPLOADING: Final = frozenset({State.UPLOAD, State.SERVER, State.GREETING, State.LOGIN})


class Conduct:
    """State of a connection, and the deeds that need nothing else."""

    def __init__(
        self,
        facts: ConnectionFacts,
        rules: SessionRules,
        topology: Topology,
        *,
        message_limit: int = MESSAGE_BYTES_MAX,
        whole_bytes: int = WHOLE_BYTES,
        compressors: Sequence[Compressor] = (),
        zlib_level: int | None = None,
    ) -> None:
        """`message_limit` bounds a message in either direction; a request beyond `whole_bytes` is passed on while it
        comes. `compressors` are offered to the server, in this order."""
        self.facts = facts
        self.last_command_at = 0.0
        self.hello_refused = False  # by the server, the first one
        self._rules = rules
        self._topology = topology
        self._attribution = attribution(facts.user, facts.session)
        self._emulation = LoginEmulation(rules.login_keys, rules.random, required=rules.local_auth)
        self._message_limit = message_limit
        self._whole_bytes = whole_bytes
        self._requests = MessageReader(message_limit, whole_bytes)
        self._replies = PieceReader(message_limit)
        self._state = State.REQUEST
        self._turn: Turn | None = None  # in hand; in REQUEST the newest one that is done with
        self._member: str | None = None  # where the server connection leads, once it is there
        self._server_error: str | None = None  # why there is none
        self._server_dropped = False  # we aborted it, and go on for the client's sake
        self._greeted = False  # the server connection had a hello with our attribution in it
        self._logged_in = False
        self._client_gone = False
        self._redials = 0
        self._leaving: str | None = None  # why this connection ends with the reply that is on its way
        self._client_paused = False
        self._proceeding = False  # an upload waits for what it asked for to be done
        self._agreed: tuple[Compressor, ...] = ()  # with the client
        self._offered = tuple(compressors)  # to the server
        self._wrap: Compressor | None = None  # what requests to the server are compressed with
        self._zlib_level = zlib_level
        self._opener: ReplyOpener | None = None  # of its replies, once a compressor is agreed with it
        self._wrote = False  # the newest thing that went to the server is a write that nobody waits for
        self._owed: Request | None = None  # the newest request; its answer may not have left yet
        self._redactor = rules.redactor
        self._ledger = Ledger(facts.connection, rules.redactor)
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

    @property
    def traffic(self) -> int:
        """Bytes that came from the client and went to it: what stands still may hang."""
        return self._ledger.bytes_in + self._ledger.bytes_out

    def statistics(self) -> dict[str, Any]:
        """Counts, and the command under way."""
        return {
            "state": self._state.name,
            "command": self._turn.command.name if self.busy and self._turn is not None else None,
            "buffered_bytes": self._requests.buffered,
            **self._ledger.statistics(),
        }

    # --- saying no ------------------------------------------------------------------------------------------------

    def _deny(
        self, command: Command, rule: str, code: int, message: str, out: list[Action], labels: Sequence[str] = ()
    ) -> None:
        """Refuse one command; the connection goes on."""
        out.append(Record(self._ledger.denied(command, rule, int(code), message)))
        if not command.request.more_to_come:
            self._give(error_reply(command.request, self._next_id(), code, message, labels=labels), out)

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
        if turn is not None and turn.upload is not None and self._state in _UPLOADING:
            self._cut_upload(turn.upload, error or reason, out)
        if told is not None and self._state is not State.REQUEST:
            hello = turn is not None and turn.hello is not None
            code = MongoCode.HOST_UNREACHABLE if hello else MongoCode.UNAUTHORIZED
            self._tell(MongoCode.INTERRUPTED_BY_STEP_DOWN if labels else code, told, out, labels)
        out.append(Record(self._ledger.closed(reason)))
        out.append(CloseClient())
        self._move(State.CLOSED)

    def _cut_upload(self, upload: Upload, reason: str, out: list[Action]) -> None:
        """The connection ends within an upload: what is recorded of it never ran, and the record says so."""
        if upload.opened >= 0 and not upload.spoiled:
            text = f"a request of {upload.header.length} bytes came in part and was not carried out: {reason}"
            out.append(Record(self._ledger.malformed(text, upload.request.raw)))

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

    # --- where the main port leads ---------------------------------------------------------------------------------

    def member_moved(self, now: float) -> list[Action]:
        """The main port leads elsewhere now: who watches the old member loses it, so that drivers look again.

        Everything else stays where it is. A driver gives up by itself what is left of a server that it lost sight of,
        and what it sent before it did, the old member answers as it does directly: it goes on with reads and refuses
        writes, with the labels by which drivers repeat them. Closing such a connection would tell them less.
        """
        out: list[Action] = []
        asks = self._state is State.REPLY and self._turn is not None and self._turn.hello is not None
        if asks and self._greeted:
            self._end(MOVED, now, out)
        elif asks or (not self._greeted and self._member is not None and self._state in _UNSEEN):
            self._redial(now, out)
        return out

    def _redial(self, now: float, out: list[Action]) -> None:
        """The client has seen nothing of the member behind this connection, which is not the primary: to the next."""
        self._redials += 1
        if self._redials > _REDIALS_MAX:
            self._end(MOVED, now, out, error="the member is not primary any more")
            return
        self._member, self._logged_in = None, False
        self._replies = PieceReader(self._message_limit)
        out += (AbortServer(), ConnectServer())
        if self._state is not State.REQUEST:
            self._move(State.SERVER)

    def member_lost(self, reason: str, now: float, *, abrupt: bool = True) -> list[Action]:
        """A connection to where the main port led before ends.

        Unless `abrupt`, a command that is under way keeps its connection until its reply. A member that hangs gives
        none, so a write that can be repeated is told what it would have been told.
        """
        if self.closed:
            return []
        if self.busy and not abrupt:
            self._leaving = reason
            return []
        out: list[Action] = []
        running = self._state is State.REPLY and self.busy
        labels = self._turn.interruption() if running and self._turn is not None else ()
        told = f"wardgate: {reason}" if labels else None
        self._end(MOVED, now, out, error=reason, told=told, labels=labels, finish=self._wrote and not abrupt)
        return out

    def _is_astray(self, reply: Reply) -> bool:
        """Whether the main port leads to the primary, and who says this is none."""
        return self._topology.follows_primary and self.facts.member is None and not is_writable(reply)

    # --- small things ---------------------------------------------------------------------------------------------

    def _intent(self, turn: Turn) -> CommandIntent:
        """The record of a command that is about to be forwarded."""
        command = turn.command
        continues = self._rules.work.origin(command.cursor_ids) if command.name == "getMore" else None
        return turn.intent(self.facts.connection, self._ledger.client_app, self._redactor, continues)

    def _give(self, data: bytes, out: list[Action], *, held: bool = True) -> None:
        self._ledger.bytes_out += len(data)
        out.append(ToClient(data, held))

    def _used(self, command: Command, now: float) -> None:
        """The session was used: by a command, but not by the ping with which tools keep a connection open."""
        if command.name != "ping":
            self.last_command_at = now

    def _next_id(self) -> int:
        self._request_id += 1
        return self._request_id

    def _move(self, to: State) -> None:
        assert to in TRANSITIONS[self._state], f"{self._state.name} to {to.name}"
        self._state = to
