"""What a request is: name, namespaces, effect, and whose cursors and logical sessions it touches.

All of it is read from the raw bytes, because a dict forgets repeated keys. `parse` judges content, not names: an
aggregate with `$out` writes, a find with `$where` runs code.

Law: repeated top-level keys, and a missing or repeated `$db`, are refused; what is not understood has effect admin.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from ..wire.message import Request


class Effect(StrEnum):
    """What a command can do; the strongest one counts, in the order read < write < code < admin; auth stands apart."""

    ADMIN = "admin"
    AUTH = "auth"
    CODE = "code"
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Command:
    """One request, understood. Namespaces are ``database.collection``; ``database`` alone for commands on no collection.

    `lsid` is the raw BSON value of that field. `cursor_ids` are getMore's or killCursors' ones. `logical_sessions` are the
    UUIDs (16 bytes) that killSessions and endSessions name. `inner` is the explained command's name. `stages` are the names of all pipeline
    stages, nested ones too.
    """

    name: str
    database: str
    collection: str | None
    effect: Effect
    request: Request
    namespaces: tuple[str, ...] = ()
    inner: str | None = None
    stages: tuple[str, ...] = ()
    lsid: bytes | None = None
    txn_number: int | None = None
    cursor_ids: tuple[int, ...] = ()
    logical_sessions: tuple[bytes, ...] = ()
    op: int | str | None = None  # killOp's operation
    has_comment: bool = False
    known: bool = True  # whether the name is one that mongod or mongos of some release has

    @property
    def request_id(self) -> int:
        """Of the request."""
        return self.request.request_id

    @property
    def more_to_come(self) -> bool:
        """No reply will come: an unacknowledged command."""
        return self.request.more_to_come

    @property
    def exhaust(self) -> bool:
        """A chain of replies may come."""
        return self.request.exhaust_allowed


def parse(request: Request) -> Command:
    """Raises RemoteProtocolError (answerable) for a request that breaks the law above."""
    raise NotImplementedError
