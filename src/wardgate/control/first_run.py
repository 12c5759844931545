"""The first administrator, made on the first-run page: only while nobody exists, and with the data folder's code.

`server init` without an administrator leaves the code in `<data-dir>/setup-code` (0600): whoever can read that file
could have made the administrator there. Law: the door is open while there is no user and never again; a guess costs,
and the code is 128 random bits, so that who reaches the page first, but not the folder, becomes nothing.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from pathlib import Path

from ..api.problems import FieldError, ProblemCode, ProblemError
from ..net import folder
from ..secret import Secret
from .audit_log import AuditLog, Cause, Event
from .db import Database
from .identity import Role
from .identity import store as identity_store
from .identity.actor import ORGANISATION
from .identity.limits import LoginLimiter
from .identity.service import IdentityService
from .sources import Sources

SETUP_CODE = "setup-code"
CODE_BYTES = 16
_GROUP = 4


@dataclass(frozen=True, slots=True)
class FirstAdministrator:
    """What the page asks for."""

    code: str
    organisation: str
    email: str
    password: Secret


def write_code(data_dir: Path, randomness: bytes) -> Path:
    """Leave a new code in the folder; its file."""
    digits = randomness.hex()
    code = "-".join(digits[at : at + _GROUP] for at in range(0, len(digits), _GROUP))
    path = data_dir / SETUP_CODE
    folder.write_private(path, f"{code}\n".encode())
    return path


class FirstRun:
    """The door that closes for ever."""

    def __init__(
        self, database: Database, audit_log: AuditLog, sources: Sources, identity: IdentityService, data_dir: Path
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._identity = identity
        self._path = data_dir / SETUP_CODE
        self._limiter = LoginLimiter()
        self._over = False  # once somebody exists, somebody always does: the last administrator can't be removed

    async def is_open(self) -> bool:
        """Whether nobody exists yet."""
        if self._over:
            return False
        async with self._database.read() as session:
            self._over = bool(await identity_store.users(session, after=None, limit=1))
        return not self._over

    async def complete(self, wish: FirstAdministrator, cause: Cause) -> None:
        """Make them. ProblemError `not_found` once it is over, `invalid_credentials` for a wrong code, and what a new
        user's address and password are refused for."""
        if not await self.is_open():
            raise _over()
        self._check_code(wish.code, cause)
        new = await self._identity.prepare_user(wish.email, wish.password)
        async with self._database.write() as session:
            if await identity_store.users(session, after=None, limit=1):
                raise _over()
            details = {"name": wish.organisation.strip() or "wardgate"}
            await self._audit_log.append(session, cause, Event.ORGANISATION_CREATED, details=details)
            await self._identity.add_user(session, cause, new)
            await self._identity.grant_within(session, cause, new.id, Role.ADMIN, ORGANISATION)
        self._over = True
        self._path.unlink(missing_ok=True)

    def _check_code(self, typed: str, cause: Cause) -> None:
        wait = self._limiter.take(cause.address or "unknown", SETUP_CODE, self._sources.now().timestamp())
        if wait > 0:
            seconds = max(1, round(wait))
            raise ProblemError(
                ProblemCode.RATE_LIMITED,
                f"Too many wrong codes from here: wait {seconds} s and try again.",
                context={"retry_after_s": seconds},
            )
        kept = _bare((folder.read_private(self._path) or b"").decode(errors="replace"))
        if not kept or not hmac.compare_digest(kept.encode(), _bare(typed).encode()):
            detail = f"That is not the code in the file {SETUP_CODE} of the server's data folder."
            error = FieldError(field="code", message=detail)
            raise ProblemError(ProblemCode.INVALID_CREDENTIALS, detail, errors=[error])


def _bare(code: str) -> str:
    return "".join(char for char in code.lower() if char.isalnum())


def _over() -> ProblemError:
    return ProblemError(ProblemCode.NOT_FOUND, "This wardgate is set up already: sign in.")
