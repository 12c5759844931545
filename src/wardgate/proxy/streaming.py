"""The connection's conduct while a request is passed on in parts: see `upload` for what becomes of its bytes.

The request is opened in the record before its first byte goes anywhere and closed there, with all that it turned out to
be, before its last one does. A refusal before that leaves the server with a message that never ends: its connection is
aborted, the client may send the rest, which is recorded and goes nowhere, and then gets its error document.

Law: what cost it may be to find out, a refused request never has its last byte at the server, and nobody waits for a
reply that can't come.
"""

from __future__ import annotations

from typing import Final

from ..audit.parts import KEY_BYTES
from ..command.facts import Command, unread
from ..wire.compression import HEAD_BYTES, Compressor, read_head
from ..wire.errors import MongoCode, RemoteProtocolError, error_reply
from ..wire.header import HEADER_BYTES, Opcode, header_of
from .actions import AbortServer, Action, AwaitDurable, Proceed, Record, ResumeClient, ToServer
from .conduct import AHEAD_BYTES, RULE_LOCAL_AUTH, RULE_SERVER_UNREACHABLE, Conduct
from .states import State
from .turn import Turn
from .upload import Refusal, Route, Upload

# Taken of a request in one go: what a few kilobytes of a compressed one can become must not be all at hand at once.
_POUR_BYTES: Final = 1024 * 1024


class Streaming(Conduct):
    """Conduct of a connection in UPLOAD, and on the ways to it and from it."""

    # --- from elsewhere ---------------------------------------------------------------------------------------------

    def _advance(self, now: float, out: list[Action]) -> None:
        raise NotImplementedError

    def _take(self, raw: bytes, now: float, out: list[Action], compressor: Compressor | None = None) -> None:
        raise NotImplementedError

    def _go_on(self, now: float, out: list[Action]) -> None:
        raise NotImplementedError

    def _refusal(self, command: Command) -> Refusal | None:
        raise NotImplementedError

    # --- an upload and its bytes ------------------------------------------------------------------------------------

    def _begin_upload(self, now: float, out: list[Action]) -> bool:
        """In REQUEST: a message that is not held stands at the head of the stream. False: too little of it is here."""
        head = self._requests.begin(HEAD_BYTES)
        wire, wrapped = header_of(head), None
        if wire.opcode == Opcode.COMPRESSED:
            if len(head) < HEAD_BYTES:
                return False
            try:
                wrapped = read_head(head, self._agreed, self._message_limit)
            except RemoteProtocolError as error:
                self._malformed(head, error, now, out)
                return True
        upload = Upload(wire, wrapped, self._rules.random(KEY_BYTES), self._whole_bytes // 2, self._redactor.rules)
        self._turn = turn = Turn(upload.request, unread(upload.request), None, now)
        turn.upload = upload
        self._owed = upload.request
        self.last_command_at = now
        self._move(State.UPLOAD)
        self._pour(now, out)
        return True

    def proceed(self, now: float) -> list[Action]:
        """What was asked for is done, and the server takes more."""
        self._proceeding = False
        out: list[Action] = []
        if self._state is State.UPLOAD:
            self._pour(now, out)
            self._go_on(now, out)
        return out

    def _pour(self, now: float, out: list[Action]) -> None:
        """In UPLOAD: take what is here of the request, a step at a time, as far as it goes now."""
        turn = self._turn
        assert turn is not None
        assert turn.upload is not None
        upload, left = turn.upload, _POUR_BYTES
        while self._state is State.UPLOAD and not self._proceeding:
            if left <= 0:
                self._pause_here(out)
                return
            step = upload.step(self._requests)
            left -= step
            self._look(turn, upload, now, out)
            if not step:
                break
        if self._state is State.UPLOAD and self._client_paused and self._requests.buffered <= AHEAD_BYTES:
            self._client_paused = False
            out.append(ResumeClient())

    def _pause_here(self, out: list[Action]) -> None:
        self._proceeding = True
        out.append(Proceed())

    def _look(self, turn: Turn, upload: Upload, now: float, out: list[Action]) -> None:
        """Do what can be done with what is here of the request."""
        turn.request = self._owed = upload.request  # its flags are known by now
        if upload.error is not None and not upload.spoiled:
            self._spoil(upload, now, out)
        elif upload.route is Route.WHOLE:
            if upload.whole:
                self._move(State.REQUEST)
                self._take(upload.raw(), now, out, upload.compressor)
        elif upload.route is Route.PASS and upload.error is None:
            self._pass_on(turn, upload, now, out)
        if self._state is State.UPLOAD and upload.whole and upload.error is not None:
            self._answer_refusal(turn, upload, upload.error.mongo_code or 0, upload.error.message, now, out)

    def _pass_on(self, turn: Turn, upload: Upload, now: float, out: list[Action]) -> None:
        if upload.opened < 0:
            if self._client_gone and not upload.request.more_to_come:
                self._end("client_closed", now, out, finish=self._wrote)
                return
            out.append(Record(upload.record(self.facts.connection)))
            self._pause_here(out)  # its parts bear the number that this record gets
            return
        if upload.refusal is None:
            self._judge_early(upload, out)
        if upload.refusal is None and not upload.connected:
            self._advance(now, out)
            if self._state is not State.UPLOAD:
                return
        for part in upload.parts():
            out.extend(map(Record, upload.seal(part)))
            if upload.refusal is None:
                out.append(ToServer(part))
                upload.forwarded = True
        if upload.whole:
            self._conclude(turn, upload, now, out)

    def _judge_early(self, upload: Upload, out: list[Action]) -> None:
        """Refuse as soon as it is known that nothing which comes could change it."""
        if self._rules.local_auth and not self._emulation.open:
            message = "this session needs its password: log in with it (SCRAM or PLAIN) before any other command"
            self._refuse_upload(upload, Refusal(RULE_LOCAL_AUTH, MongoCode.UNAUTHORIZED, message), out)
        elif upload.command is not None and not upload.judged:
            upload.judged = True
            refusal = self._refusal(upload.command)
            if refusal is not None:
                self._refuse_upload(upload, refusal, out)

    def _connected(self, upload: Upload, now: float, out: list[Action]) -> None:
        """The server connection is ready for it."""
        upload.connected = True
        self._back_to(upload, now, out)

    def _strand(self, upload: Upload, refusal: Refusal, now: float, out: list[Action]) -> None:
        """There is no server connection for it."""
        self._refuse_upload(upload, refusal, out)
        self._back_to(upload, now, out)

    def _unreachable(self, message: str, now: float, out: list[Action]) -> None:
        turn = self._turn
        if turn is not None and turn.upload is not None:
            refusal = Refusal(RULE_SERVER_UNREACHABLE, MongoCode.HOST_UNREACHABLE, message, "server_unreachable")
            self._strand(turn.upload, refusal, now, out)
        else:
            super()._unreachable(message, now, out)

    def _back_to(self, upload: Upload, now: float, out: list[Action]) -> None:
        if self._state is not State.UPLOAD:
            self._move(State.UPLOAD)
            self._pour(now, out)

    # --- its end ----------------------------------------------------------------------------------------------------

    def _conclude(self, turn: Turn, upload: Upload, now: float, out: list[Action]) -> None:
        """All of it is here, and its last part is not at the server."""
        try:
            command = upload.finish()
        except RemoteProtocolError as error:
            upload.error = error
            self._spoil(upload, now, out)
            return
        turn.command, turn.request = command, command.request
        self._owed = command.request
        turn.compressor = upload.compressor
        self._ledger.commands += 1
        if upload.refusal is None:
            refusal = self._refusal(command)
            if refusal is not None:
                self._refuse_upload(upload, refusal, out)
        rest = upload.rest()
        out.extend(map(Record, upload.seal(rest)))
        if upload.refusal is not None:
            rule, code, message, _, _ = upload.refusal
            out.append(Record(self._ledger.denied(command, rule, code, message, upload)))
            self._answer_refusal(turn, upload, code, message, now, out)
            return
        out.append(Record(self._intent(turn)))
        if command.more_to_come:
            turn.rest = rest
            out.append(AwaitDurable())
            self._move(State.DURABLE)
        else:
            out.append(ToServer(rest))
            self._wrote = False
            self._move(State.REPLY)

    def _refuse_upload(self, upload: Upload, refusal: Refusal, out: list[Action]) -> None:
        """It will not be carried out, whatever is still to come of it."""
        upload.refusal = refusal
        if upload.forwarded and not self._server_dropped:
            self._server_dropped = True
            out.append(AbortServer())

    def _spoil(self, upload: Upload, now: float, out: list[Action]) -> None:
        """Its bytes are wrong. Where the rule leaves room for an answer, that comes behind the rest of them."""
        error = upload.error
        assert error is not None
        upload.spoiled = True
        upload.drop()
        out.append(Record(self._ledger.malformed(error.message, upload.request.raw[:HEADER_BYTES])))
        if error.mongo_code is None:
            self._end("protocol_error", now, out)
            return
        self._refuse_upload(upload, Refusal("", error.mongo_code, error.message), out)

    def _answer_refusal(
        self, turn: Turn, upload: Upload, code: int, message: str, now: float, out: list[Action]
    ) -> None:
        turn.upload = None
        if not turn.request.more_to_come and not self._client_gone:
            labels = () if upload.refusal is None else upload.refusal.labels
            self._give(error_reply(turn.request, self._next_id(), code, message, labels=labels), out)
        end = upload.refusal.end if upload.refusal is not None else None
        if end is not None or self._server_dropped:
            self._end(end or "request_refused", now, out)
        else:
            self._move(State.REQUEST)
