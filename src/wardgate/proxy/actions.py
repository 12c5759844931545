"""What the connection machine asks its pump to do. Values only; a list of them reads as a script.

Law: the pump carries a list out in order. `ToClient(held=True)` is the one action that may be late: its bytes (and all
that come after them for the client) wait until everything recorded before it is on disk, while the list goes on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from ..audit.records import Record as AuditRecord


@dataclass(frozen=True, slots=True)
class ConnectServer:
    """Open the server connection; answer with `server_ready` or `server_failed`. After `AbortServer`: another one."""


@dataclass(frozen=True, slots=True)
class Login:
    """Log in on the server connection, which is silent now; answer with `logged_in` or `login_failed`."""


@dataclass(frozen=True, slots=True)
class ToServer:
    """Send these bytes to the server."""

    data: bytes


@dataclass(frozen=True, slots=True)
class ToClient:
    """Send these bytes to the client; where `held`, not before all that has been recorded is on disk."""

    data: bytes
    held: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """Append this record. The sequence number of a `CommandIntent` or `Upload` goes back through `recorded`."""

    record: AuditRecord


@dataclass(frozen=True, slots=True)
class AwaitDurable:
    """Sync now, and answer with `durable` once all that has been recorded is on disk."""


@dataclass(frozen=True, slots=True)
class Proceed:
    """Answer with `proceed` once all before this is done and the server connection can take more."""


@dataclass(frozen=True, slots=True)
class PauseClient:
    """Read no more from the client for now."""


@dataclass(frozen=True, slots=True)
class ResumeClient:
    """Read from the client again."""


@dataclass(frozen=True, slots=True)
class AbortServer:
    """Drop the server connection without ceremony, so that what runs there dies at once."""


@dataclass(frozen=True, slots=True)
class FinishServer:
    """Let the server have what was sent, then close: the client left behind writes that nobody waits for."""


@dataclass(frozen=True, slots=True)
class CloseClient:
    """Close the client's socket once it has all that was sent before, held bytes included."""


Action: TypeAlias = (
    ConnectServer
    | Login
    | ToServer
    | ToClient
    | Record
    | AwaitDurable
    | Proceed
    | PauseClient
    | ResumeClient
    | AbortServer
    | FinishServer
    | CloseClient
)
