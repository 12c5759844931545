"""Problem documents (RFC 9457) and their stable codes.

A code is a promise: programs branch on it, so it is never renamed or reused. The HTTP status and the CLI's exit code
both follow from the code, here and nowhere else, so that the three can't disagree.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

from pydantic import BaseModel, Field

from ..errors import WardgateError


class ProblemCode(StrEnum):
    """Every code a problem document may bear; alphabetical, append-only."""

    ACCESS_DENIED = "access_denied"
    ACCOUNT_NEEDS_PASSWORD = "account_needs_password"  # noqa: S105
    APPROVAL_REQUIRED = "approval_required"
    AUTHORIZATION_PENDING = "authorization_pending"
    CONFLICT = "conflict"
    CONNECTION_TEST_FAILED = "connection_test_failed"
    DATABASE_UNAVAILABLE = "database_unavailable"
    ENROLMENT_REFUSED = "enrolment_refused"
    EXPIRED_TOKEN = "expired_token"  # noqa: S105
    FORBIDDEN = "forbidden"
    FRESH_SIGN_IN_REQUIRED = "fresh_sign_in_required"
    GATEWAY_OFFLINE = "gateway_offline"
    INTERNAL = "internal"
    INVALID_CONNECTION_STRING = "invalid_connection_string"
    INVALID_CREDENTIALS = "invalid_credentials"
    INVALID_DURATION = "invalid_duration"
    INVALID_REQUEST = "invalid_request"
    LEASE_REFUSED = "lease_refused"
    LINK_OVER = "link_over"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    MFA_CHALLENGE_OVER = "mfa_challenge_over"
    MFA_CODE_WRONG = "mfa_code_wrong"
    MFA_REQUIRED = "mfa_required"
    MFA_UNAVAILABLE = "mfa_unavailable"
    NETWORK_REFUSED = "network_refused"
    NOT_FOUND = "not_found"
    NOT_LOGGED_IN = "not_logged_in"
    RATE_LIMITED = "rate_limited"
    REASON_REQUIRED = "reason_required"
    RECORDS_REFUSED = "records_refused"
    RELAY_UNAVAILABLE = "relay_unavailable"
    SESSION_ENDED = "session_ended"
    SLOW_DOWN = "slow_down"
    SSO_REFUSED = "sso_refused"
    SSO_REQUIRED = "sso_required"
    SSO_UNAVAILABLE = "sso_unavailable"
    STORE_UNAVAILABLE = "store_unavailable"
    TOO_LARGE = "too_large"
    TOO_MANY_SESSIONS = "too_many_sessions"
    UNKNOWN_HOST = "unknown_host"


# code: (HTTP status, exit code of the CLI, title)
_FACTS: Final[dict[ProblemCode, tuple[int, int, str]]] = {
    ProblemCode.ACCESS_DENIED: (400, 4, "The device was not let in"),
    ProblemCode.ACCOUNT_NEEDS_PASSWORD: (409, 4, "The account's password must be entered again"),
    ProblemCode.APPROVAL_REQUIRED: (403, 4, "Approval is required"),
    ProblemCode.AUTHORIZATION_PENDING: (400, 3, "Nobody has decided yet"),
    ProblemCode.CONFLICT: (409, 1, "Conflict"),
    ProblemCode.CONNECTION_TEST_FAILED: (422, 1, "The connection test failed"),
    ProblemCode.DATABASE_UNAVAILABLE: (503, 6, "The database is not available"),
    ProblemCode.ENROLMENT_REFUSED: (403, 4, "Enrolment refused"),
    ProblemCode.EXPIRED_TOKEN: (400, 3, "The code has expired"),
    ProblemCode.FORBIDDEN: (403, 4, "Not allowed"),
    ProblemCode.FRESH_SIGN_IN_REQUIRED: (403, 4, "A fresh sign-in is required"),
    ProblemCode.GATEWAY_OFFLINE: (503, 5, "The gateway is offline"),
    ProblemCode.INTERNAL: (500, 1, "Internal error"),
    ProblemCode.INVALID_CONNECTION_STRING: (422, 2, "Invalid connection string"),
    ProblemCode.INVALID_CREDENTIALS: (401, 3, "Wrong e-mail or password"),
    ProblemCode.INVALID_DURATION: (422, 2, "Invalid duration"),
    ProblemCode.INVALID_REQUEST: (422, 2, "Invalid request"),
    ProblemCode.LEASE_REFUSED: (403, 4, "Lease refused"),
    ProblemCode.LINK_OVER: (403, 4, "The link is over"),
    ProblemCode.METHOD_NOT_ALLOWED: (405, 2, "Method not allowed"),
    ProblemCode.MFA_CHALLENGE_OVER: (403, 4, "The challenge is over"),
    ProblemCode.MFA_CODE_WRONG: (403, 4, "The code is wrong"),
    ProblemCode.MFA_REQUIRED: (403, 4, "Multi-factor authentication is required"),
    ProblemCode.MFA_UNAVAILABLE: (403, 4, "Multi-factor authentication is not available"),
    ProblemCode.NETWORK_REFUSED: (403, 4, "Not from this network"),
    ProblemCode.NOT_FOUND: (404, 4, "Not found"),
    ProblemCode.NOT_LOGGED_IN: (401, 3, "Not logged in"),
    ProblemCode.RATE_LIMITED: (429, 1, "Too many attempts"),
    ProblemCode.REASON_REQUIRED: (403, 4, "A reason is required"),
    ProblemCode.RECORDS_REFUSED: (409, 1, "Records refused"),
    ProblemCode.RELAY_UNAVAILABLE: (503, 5, "No relay is available"),
    ProblemCode.SESSION_ENDED: (409, 4, "The session has ended"),
    ProblemCode.SLOW_DOWN: (400, 1, "Asked too soon"),
    ProblemCode.SSO_REFUSED: (403, 4, "Single sign-on was refused"),
    ProblemCode.SSO_REQUIRED: (403, 4, "Single sign-on is required"),
    ProblemCode.SSO_UNAVAILABLE: (503, 1, "Single sign-on is not available"),
    ProblemCode.STORE_UNAVAILABLE: (503, 6, "The store of records is not available"),
    ProblemCode.TOO_LARGE: (413, 2, "Request too large"),
    ProblemCode.TOO_MANY_SESSIONS: (409, 4, "Too many sessions"),
    ProblemCode.UNKNOWN_HOST: (421, 6, "Unknown host name"),
}


class FieldError(BaseModel):
    """What is wrong with one field of a form; never what was typed into it."""

    field: str
    message: str


class Problem(BaseModel):
    """A problem document, `application/problem+json`."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: ProblemCode
    errors: list[FieldError] = Field(default_factory=list)
    context: dict[str, Any] = Field(default_factory=dict, description="Facts that a program may use, by code.")


class ProblemError(WardgateError):
    """Raised by services and by the API client alike: a `Problem` at the HTTP door, an exit code in the CLI."""

    def __init__(
        self,
        code: ProblemCode,
        detail: str,
        *,
        errors: list[FieldError] | None = None,
        context: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(code.value, detail)
        self.problem = Problem(
            title=_FACTS[code][2],
            status=_FACTS[code][0],
            detail=detail,
            code=code,
            errors=errors or [],
            context=context or {},
        )

    @property
    def exit_code(self) -> int:
        """The CLI's exit code for this problem (docs/cli.md)."""
        return exit_code(self.problem.code)


def exit_code(code: ProblemCode) -> int:
    """The CLI's exit code for `code`."""
    return _FACTS[code][1]
