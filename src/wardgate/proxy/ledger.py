"""What one connection tells the audit log of itself: its counts, and the records that are not a command's own."""

from __future__ import annotations

from typing import Any

from ..audit.records import ConnectionClosed, ConnectionHello, ConnectionOpened, Denied, Malformed
from ..command.facts import Command
from ..command.masking import Redactor
from ..wire.header import HEADER_BYTES
from ..wire.hello import HelloRequest
from .upload import Upload, recorded_of


class Ledger:
    """Counts of a connection and the client's name for itself."""

    __slots__ = (
        "_greeted",
        "_redactor",
        "bytes_in",
        "bytes_out",
        "client_app",
        "commands",
        "connection",
        "hellos",
        "logins",
        "sasl",
    )

    def __init__(self, connection: int, redactor: Redactor) -> None:
        self.connection = connection
        self._redactor = redactor
        self.client_app: str | None = None
        self._greeted = False
        self.hellos = self.sasl = self.logins = self.commands = 0
        self.bytes_in = self.bytes_out = 0

    def statistics(self) -> dict[str, Any]:
        """The counts."""
        return {
            "client_app": self.client_app,
            "hellos": self.hellos,
            "sasl": self.sasl,
            "commands": self.commands,
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
        }

    def opened(self, peer: str, member: str | None) -> ConnectionOpened:
        """The first record."""
        return ConnectionOpened(self.connection, peer, member)

    def first_hello(self, hello: HelloRequest) -> ConnectionHello | None:
        """What the client says of itself, for its first hello only."""
        if self._greeted:
            return None
        self._greeted = True
        self.client_app = hello.client_app
        return ConnectionHello(self.connection, hello.client_app, hello.driver, hello.platform)

    def denied(self, command: Command, rule: str, code: int, error: str, upload: Upload | None = None) -> Denied:
        """A command that is not carried out; `upload` if it was streamed."""
        recorded, streamed = recorded_of(command, upload, self._redactor)
        body, sequences, masked = recorded
        return Denied(
            connection=self.connection,
            request_id=command.request.request_id,
            database=command.database,
            collection=command.collection,
            command=command.name,
            effect=command.effect.value,
            body=body,
            bytes_in=command.request.size,
            rule=rule,
            code=code,
            sequences=sequences,
            client_app=self.client_app,
            masked=masked,
            error=self._redactor.text(error),
            streamed=streamed,
        )

    def malformed(self, reason: str, head: bytes, *, from_server: bool = False) -> Malformed:
        """Bytes that break a rule. What follows the header may be data or a secret, and is not recorded."""
        return Malformed(self.connection, self._redactor.text(reason), head[:HEADER_BYTES], from_server)

    def closed(self, reason: str) -> ConnectionClosed:
        """The last record."""
        return ConnectionClosed(
            self.connection,
            reason,
            self.hellos,
            self.sasl,
            self.logins,
            self.commands,
            self.bytes_in,
            self.bytes_out,
        )
