"""The exit codes, in one table; scripts rely on them (docs/cli.md).

| code | meaning |
|---|---|
| 0 | ended as asked; Ctrl+C or SIGTERM after `ready` too |
| 1 | failed: a test or verification, a port in use, MongoDB refused, an internal error |
| 2 | wrong usage |
| 3 | not logged in |
| 4 | refused: role, MFA, approval, policy, unknown or invisible resource or account |
| 5 | gateway or relay unreachable, `gateway_lost`, `failed_to_start` |
| 6 | control plane unreachable |
| 7 | the session ended in any other way than by the user |
| 8 | a verification is still open |
| 130 | interrupted before the session was ready |
"""

from __future__ import annotations

from enum import IntEnum

from ..errors import WardgateError


class Exit(IntEnum):
    """What the process ends with."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_LOGGED_IN = 3
    REFUSED = 4
    GATEWAY_UNREACHABLE = 5
    CONTROL_PLANE_UNREACHABLE = 6
    ENDED = 7
    STILL_OPEN = 8
    INTERRUPTED = 130


class ExitError(WardgateError):
    """A failure of the CLI's own, with the exit code that it means."""

    def __init__(self, code: str, message: str, exit_code: Exit) -> None:
        super().__init__(code, message)
        self.exit_code = exit_code


# Codes of plain WardgateErrors, which rooms below raise without knowing of exit codes.
_BY_CODE = {
    "insecure_domain": Exit.USAGE,
    "invalid_address": Exit.USAGE,
    "invalid_ca_file": Exit.USAGE,
    "invalid_domain": Exit.USAGE,
    "invalid_duration": Exit.USAGE,
    "invalid_token": Exit.USAGE,
    "machine_revoked": Exit.REFUSED,
    "token_missing": Exit.USAGE,
    "unreachable": Exit.CONTROL_PLANE_UNREACHABLE,
    **dict.fromkeys(
        (
            "certificate_refused",
            "gateway_mismatch",
            "gateway_not_answering",
            "gateway_not_connected",
            "gateway_unreachable",
            "relay_busy",
            "relay_unreachable",
            "route_refused",
            "stream_refused",
        ),
        Exit.GATEWAY_UNREACHABLE,
    ),
}

# Why a session ended, as an exit code; a reason that is not here means ENDED.
_BY_END_REASON = {
    "client_closed": Exit.OK,
    "gateway_lost": Exit.GATEWAY_UNREACHABLE,
    "failed_to_start": Exit.GATEWAY_UNREACHABLE,
}


def exit_code_of(error: WardgateError) -> int:
    """The exit code that `error` means."""
    own = getattr(error, "exit_code", None)
    if isinstance(own, int):
        return int(own)
    return int(_BY_CODE.get(error.code, Exit.FAILED))


def exit_code_of_end(reason: str) -> int:
    """The exit code for a session that was ready and then ended for `reason`."""
    return int(_BY_END_REASON.get(reason, Exit.ENDED))
