"""The states of a proxied connection and the one table of ways between them.

A state names what the connection waits for. Invariants (R = the request in hand, there is at most one):

1. In REQUEST there is no R, and nothing of an earlier one is owed to the client by the server.
2. In SERVER, LISTENER, GREETING and LOGIN not one byte of R has gone to the server; in DURABLE not its last part, and
   if R was not streamed none at all; in UPLOAD not its last part.
3. In DURABLE and REPLY the intent of R is recorded, unless R is a hello (counted, not recorded); before, it is not.
   What is streamed of R is recorded before it goes to the server.
4. In DURABLE R is unacknowledged (moreToCome); in REPLY it is not.
5. The server connection had a hello that says whose it is before it gets its first command: R's own or one of ours.
6. R leaves REPLY only with an outcome for every reply that came and, if it was cut off, one that says so.
7. One list of actions holds at most one intent, and never the outcome that belongs to it.
8. R goes back to SERVER only before the client saw anything of the server connection: it is exchanged for another.
9. CLOSED is final: every later input gives no action.
"""

from __future__ import annotations

from enum import Enum
from types import MappingProxyType
from typing import Final


class State(Enum):
    """What the connection waits for."""

    REQUEST = "the client's next request"
    SERVER = "the server connection"
    LISTENER = "a listener for the member that a hello goes to"
    GREETING = "the answer to a hello of our own, where the client sent none"
    LOGIN = "the login on the server connection"
    UPLOAD = "the rest of a request that is passed on while it comes"
    DURABLE = "the disk, before an unacknowledged request is forwarded"
    REPLY = "the server's reply, its rest, or the next of a chain"
    CLOSED = "nothing"


_FORWARD: Final = frozenset({State.GREETING, State.LOGIN, State.UPLOAD, State.DURABLE, State.REPLY})

TRANSITIONS: Final = MappingProxyType(
    {
        State.REQUEST: _FORWARD | {State.SERVER, State.LISTENER, State.CLOSED},
        State.SERVER: _FORWARD | {State.LISTENER, State.CLOSED},
        State.LISTENER: frozenset({State.SERVER, State.REPLY, State.CLOSED}),
        State.GREETING: _FORWARD - {State.GREETING} | {State.SERVER, State.CLOSED},
        State.LOGIN: frozenset({State.UPLOAD, State.DURABLE, State.REPLY, State.CLOSED}),
        State.UPLOAD: _FORWARD - {State.UPLOAD} | {State.REQUEST, State.SERVER, State.CLOSED},
        State.DURABLE: frozenset({State.REQUEST, State.CLOSED}),
        State.REPLY: frozenset({State.REQUEST, State.SERVER, State.CLOSED}),
        State.CLOSED: frozenset[State](),
    }
)


def diagram() -> str:
    """The table as a Mermaid state diagram, for the architecture page."""
    lines = ["stateDiagram-v2", "    [*] --> REQUEST"]
    for state, targets in TRANSITIONS.items():
        lines += [f"    {state.name} --> {target.name}" for target in State if target in targets]
    lines.append("    CLOSED --> [*]")
    return "\n".join(lines)
