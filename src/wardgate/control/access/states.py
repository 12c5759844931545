"""The states of a session, and the one table of its transitions.

    STARTING ──► ACTIVE ──► ENDED
        └───────────────────►┘

Law: a session ends once, with one reason; nothing leaves ENDED.
"""

from __future__ import annotations

from typing import Final

from ...api.models import EndReason, SessionStatus

LIVE: Final = frozenset({SessionStatus.STARTING, SessionStatus.ACTIVE})

_ANY_END: Final = frozenset(EndReason)
# From which state to which, and for which reasons it may end there.
TRANSITIONS: Final[dict[tuple[SessionStatus, SessionStatus], frozenset[EndReason | None]]] = {
    (SessionStatus.STARTING, SessionStatus.ACTIVE): frozenset({None}),
    (SessionStatus.STARTING, SessionStatus.ENDED): _ANY_END - {EndReason.IDLE},
    (SessionStatus.ACTIVE, SessionStatus.ENDED): _ANY_END - {EndReason.FAILED_TO_START},
}


def allowed(before: SessionStatus, after: SessionStatus, reason: EndReason | None) -> bool:
    """Whether a session may go from `before` to `after` for `reason` (None unless it ends)."""
    return reason in TRANSITIONS.get((before, after), frozenset())
