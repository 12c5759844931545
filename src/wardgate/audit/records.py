"""What is recorded: one frozen value per kind of event.

A record has no time and no sequence number of its own: the recorder gives both when it takes the record, so that a
chain's times follow its order. Masking has happened before a record exists; nothing here knows a secret.

Law: a `CommandIntent` precedes the command's last byte to MongoDB (an `Upload` its first one), and its `CommandOutcome`
(one per reply, exhaust replies too) precedes the last byte of that reply to the client. Bodies are raw BSON, byte for
byte as they came.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

Sequences: TypeAlias = tuple[tuple[str, bytes], ...]


@dataclass(frozen=True, slots=True)
class SessionOpened:
    """First record of every epoch: whose it is and under which lease."""

    user: str
    resource: str
    account: str
    gateway: str
    durability: str = "strict"
    version: str = ""


@dataclass(frozen=True, slots=True)
class SessionClosed:
    """Last record of an epoch that ended in order. `not_killed` names work that could not be stopped in time."""

    reason: str
    message: str = ""
    killed: int = 0
    not_killed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SessionNotice:
    """Something that happened to the session as a whole: reconnected, work killed, a member lost."""

    event: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class ConnectionOpened:
    """A client's socket was accepted. `peer` is its address at the local proxy, `member` null on the main port."""

    connection: int
    peer: str
    member: str | None = None


@dataclass(frozen=True, slots=True)
class ConnectionHello:
    """The client's first hello: what it says of itself, shown and never trusted."""

    connection: int
    client_app: str | None = None
    driver: str | None = None
    platform: str | None = None


@dataclass(frozen=True, slots=True)
class ConnectionClosed:
    """A client connection is gone. `logins` counts the client's own, locally answered, login attempts."""

    connection: int
    reason: str
    hellos: int = 0
    sasl: int = 0
    logins: int = 0
    commands: int = 0
    bytes_in: int = 0
    bytes_out: int = 0


@dataclass(frozen=True, slots=True)
class Upload:
    """A request that is too large to be held has begun: its bytes follow as `UploadPart`, then what it was.

    What it was is the `CommandIntent` or `Denied` that names this record in `streamed`. Without one the request never
    came to its end, and nothing of it ran. `bytes_in` is the length that it declared.
    """

    connection: int
    request_id: int
    bytes_in: int


@dataclass(frozen=True, slots=True)
class UploadPart:
    """A run of the bytes of the request that the `Upload` with the sequence number `opened` began; see `parts`."""

    opened: int
    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Streamed:
    """Where the message of a streamed command is: in `parts` parts, whose plain bytes have this SHA-256.

    `key` opens them. Without it, and without the digest, they are withheld: they may hold credentials. With `masked`
    they are not the message but its documents after masking (`parts.MaskedSections`), and the rest of the command is
    the record's own body.
    """

    opened: int
    parts: int
    sha256: bytes = b""
    key: bytes = b""
    masked: bool = False


@dataclass(frozen=True, slots=True)
class CommandIntent:
    """A command that is about to be forwarded; if it is `streamed`, whose last byte is about to be.

    `body` is the kind-0 document, whole; `sequences` are the kind-1 sections as (identifier, concatenated documents),
    both exactly as on the wire (after masking; `masked` lists the paths). Of a streamed command both are empty, or
    `body` is what is left of a withheld one, or what a masked one has beside its documents. `rule` names the policy
    rule that allowed it where that is worth knowing. `continues` is the sequence number of the intent that opened the
    cursor which is read further.
    """

    connection: int
    request_id: int
    database: str
    collection: str | None
    command: str
    effect: str
    body: bytes
    bytes_in: int
    sequences: Sequences = ()
    rule: str | None = None
    client_app: str | None = None
    masked: tuple[str, ...] = ()
    streamed: Streamed | None = None
    continues: int | None = None


@dataclass(frozen=True, slots=True)
class CommandOutcome:
    """One reply to the command whose intent has the sequence number `intent_seq`, or that there will be none.

    `ok` is null where no reply told (unacknowledged, connection lost: then `error` says so). `documents` is what this
    reply returned or matched (with those that were `upserted`), `modified` what it changed. `more` says that further
    replies follow (exhaust).
    """

    intent_seq: int
    ok: float | None
    code: int | None = None
    documents: int | None = None
    bytes_out: int = 0
    duration_us: int = 0
    unacknowledged: bool = False
    error: str | None = None
    more: bool = False
    modified: int | None = None
    upserted: int | None = None
    write_errors: int = 0


@dataclass(frozen=True, slots=True)
class Denied:
    """A command that was not forwarded: `rule` refused it and the client got `code`."""

    connection: int
    request_id: int
    database: str
    collection: str | None
    command: str
    effect: str
    body: bytes
    bytes_in: int
    rule: str
    code: int
    sequences: Sequences = ()
    client_app: str | None = None
    masked: tuple[str, ...] = ()
    error: str | None = None
    streamed: Streamed | None = None


@dataclass(frozen=True, slots=True)
class Malformed:
    """Bytes from the client (or, with `from_server`, from MongoDB) that are no proper message; `head` begins them."""

    connection: int
    reason: str
    head: bytes = b""
    from_server: bool = False


@dataclass(frozen=True, slots=True)
class BodyChunk:
    """A piece of a body too large for its record; made by the encoder, never by the proxy."""

    intent_seq: int
    index: int
    data: bytes


Record: TypeAlias = (
    SessionOpened
    | SessionClosed
    | SessionNotice
    | ConnectionOpened
    | ConnectionHello
    | ConnectionClosed
    | Upload
    | UploadPart
    | CommandIntent
    | CommandOutcome
    | Denied
    | Malformed
    | BodyChunk
)
