"""The states of an access request, and the one table of its transitions.

    PENDING ──► APPROVED ──► REVOKED
       └──────► DENIED, CANCELLED, EXPIRED

Law: what was decided is not decided again; only a grant can be taken back. That a pending request has expired is a
matter of the clock, so nothing needs to write it: `effective` says it.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from ...api.approvals import RequestStatus

_S = RequestStatus
TRANSITIONS: Final[dict[RequestStatus, frozenset[RequestStatus]]] = {
    _S.PENDING: frozenset({_S.APPROVED, _S.DENIED, _S.CANCELLED, _S.EXPIRED}),
    _S.APPROVED: frozenset({_S.REVOKED}),
    _S.DENIED: frozenset(),
    _S.CANCELLED: frozenset(),
    _S.EXPIRED: frozenset(),
    _S.REVOKED: frozenset(),
}


def allowed(before: RequestStatus, after: RequestStatus) -> bool:
    """Whether a request may go from `before` to `after`."""
    return after in TRANSITIONS[before]


def effective(status: RequestStatus, expires_at: datetime, now: datetime) -> RequestStatus:
    """The status at `now`."""
    return _S.EXPIRED if status is _S.PENDING and expires_at <= now else status
