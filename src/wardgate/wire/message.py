"""Messages as values over the bytes they came in.

A parsed message holds the original bytes and offsets into them; nothing is copied and no BSON value is decoded.
`parse_request` is the door for attacker bytes.

Law: what `parse_request` gives has exactly one kind-0 document, known section kinds only, section lengths that add up
to the message, a verified checksum if there is one, and documents that are structurally sound. Everything else is a
`RemoteProtocolError`, whatever the bytes are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

CHECKSUM_PRESENT: Final = 1
MORE_TO_COME: Final = 1 << 1
EXHAUST_ALLOWED: Final = 1 << 16


class Sequence(NamedTuple):
    """A kind-1 section: `count` documents under `identifier`, at raw[start:end] one behind the other."""

    identifier: str
    start: int
    end: int
    count: int


@dataclass(frozen=True, slots=True)
class OpMsg:
    """An OP_MSG. `raw` is the whole message as it came; the kind-0 document is raw[body_start:body_end]."""

    raw: bytes
    request_id: int
    response_to: int
    flags: int
    body_start: int
    body_end: int
    sequences: tuple[Sequence, ...] = ()

    @property
    def body(self) -> bytes:
        """The kind-0 document."""
        return self.raw[self.body_start : self.body_end]

    @property
    def more_to_come(self) -> bool:
        """On a request: no reply will ever come. On a reply: another one follows."""
        return bool(self.flags & MORE_TO_COME)

    @property
    def exhaust_allowed(self) -> bool:
        """The client takes a chain of replies."""
        return bool(self.flags & EXHAUST_ALLOWED)

    @property
    def checksum_present(self) -> bool:
        """The last four bytes of `raw` are a crc32c (verified)."""
        return bool(self.flags & CHECKSUM_PRESENT)


@dataclass(frozen=True, slots=True)
class OpQuery:
    """An OP_QUERY command on ``<database>.$cmd``. The command document is raw[body_start:body_end].

    With `wrapped`, that document stood inside ``{$query: …}``, and `outer_start` is where the wrapper begins
    (else it equals `body_start`).
    """

    raw: bytes
    request_id: int
    response_to: int
    flags: int
    namespace: str
    body_start: int
    body_end: int
    outer_start: int
    wrapped: bool = False

    @property
    def body(self) -> bytes:
        """The command document."""
        return self.raw[self.body_start : self.body_end]

    @property
    def database(self) -> str:
        """From the namespace; an OP_QUERY command has no `$db`."""
        return self.namespace.partition(".")[0]

    more_to_come = False
    exhaust_allowed = False
    sequences = ()


@dataclass(frozen=True, slots=True)
class OpReply:
    """An OP_REPLY with exactly one document, at raw[body_start:body_end]."""

    raw: bytes
    request_id: int
    response_to: int
    flags: int
    cursor_id: int
    body_start: int
    body_end: int

    @property
    def body(self) -> bytes:
        """The one document."""
        return self.raw[self.body_start : self.body_end]

    more_to_come = False


Request: TypeAlias = OpMsg | OpQuery
Reply: TypeAlias = OpMsg | OpReply


def parse_request(raw: bytes, *, max_depth: int = 180) -> Request:
    """Read a client's whole message. Raises RemoteProtocolError (see `mongo_code`: None means close the socket).

    Answerable errors carry what a reply needs: use `refusal(raw, error, request_id)`.
    """
    raise NotImplementedError


def parse_reply(raw: bytes) -> Reply:
    """Read a server's whole message; for hello and login replies, which are small. Raises RemoteProtocolError."""
    raise NotImplementedError


def refusal(raw: bytes, error_code: int, message: str, request_id: int) -> bytes | None:
    """The error reply to a message that `parse_request` refused, in its dialect; None if it has no reply slot."""
    raise NotImplementedError


def build_msg(document: bytes, request_id: int, response_to: int = 0, flags: int = 0) -> bytes:
    """A whole OP_MSG around one kind-0 document (raw BSON)."""
    raise NotImplementedError


def build_reply(document: bytes, request_id: int, response_to: int) -> bytes:
    """A whole OP_REPLY as mongod answers a command: flags 8, cursor 0, one document."""
    raise NotImplementedError
