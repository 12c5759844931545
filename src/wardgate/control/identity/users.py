"""Users as administrators keep them: made, shown, disabled, removed, and their passwords.

Law: whoever loses the login loses the access too: disabling, removing and a new password end the sign-ins in the same
transaction, and whoever watches rights (`on_rights_lost`) is told after it. The organisation keeps at least one lasting
administrator, for nobody could make another.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.models import Page
from ...api.people import UserDetails
from ...api.problems import ProblemCode, ProblemError
from ...secret import Secret
from ..audit_log import AuditLog, Cause, Event
from ..db import Database
from ..paging import Paging, page_of
from ..sources import Sources
from . import store
from .actor import Actor, not_found
from .model import UserRow
from .service import IdentityService
from .sign_ins import describe


class UserService:
    """Every method's permission was the route's question; users have one place, the organisation."""

    def __init__(self, database: Database, audit_log: AuditLog, sources: Sources, identity: IdentityService) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._identity = identity
        self.on_rights_lost: list[Callable[[], None]] = []

    async def create(self, actor: Actor, email: str, password: Secret) -> UserDetails:
        """A new user with no role. ProblemError `invalid_request` or `conflict`."""
        user_id = await self._identity.create_user(actor.cause, email, password)
        return await self.get(user_id)

    async def page(self, paging: Paging) -> Page[UserDetails]:
        """All users."""
        async with self._database.read() as session:
            rows = await store.users(session, after=paging.after, limit=paging.limit + 1)
            shown = {row.id: await self._describe(session, row) for row in rows}
        return page_of(rows, paging, lambda row: shown[row.id], lambda row: row.id)

    async def get(self, user: str) -> UserDetails:
        """One user by id or e-mail address; ProblemError `not_found`."""
        async with self._database.read() as session:
            return await self._describe(session, await self.must_exist(session, user))

    async def must_exist(self, session: AsyncSession, user: str) -> UserRow:
        """The row of a user by id or e-mail address; ProblemError `not_found`."""
        row = await self._find(session, user)
        if row is None:
            raise not_found(f"user {user[:80]}")
        return row

    async def id_of(self, session: AsyncSession, user: str) -> str:
        """The id of a user by id or e-mail address, or one that nobody has."""
        row = await self._find(session, user)
        return "" if row is None else row.id

    async def _find(self, session: AsyncSession, user: str) -> UserRow | None:
        return await store.user_by_id(session, user) or await store.user_by_email(session, user.strip().lower())

    async def disable(self, actor: Actor, user: str) -> UserDetails:
        """Keep a user out until they are enabled again. Sign-ins and sessions end."""
        async with self._database.write() as session:
            row = await self.must_exist(session, user)
            if row.disabled_at is None:
                await self._keep_an_owner(session, row)
                row.disabled_at = self._sources.now()
                await store.revoke_sign_ins(session, row.id, row.disabled_at)
                await self._note(session, actor.cause, Event.USER_DISABLED, row)
            described = await self._describe(session, row)
        self.rights_lost()
        return described

    async def enable(self, actor: Actor, user: str) -> UserDetails:
        """Let a disabled user in again, with the roles that they had."""
        async with self._database.write() as session:
            row = await self.must_exist(session, user)
            if row.disabled_at is not None:
                row.disabled_at = None
                await session.flush()
                await self._note(session, actor.cause, Event.USER_ENABLED, row)
            return await self._describe(session, row)

    async def delete(self, actor: Actor, user: str) -> None:
        """Remove a user, their roles and sign-ins. What they did stays written under their name."""
        async with self._database.write() as session:
            row = await self.must_exist(session, user)
            await self._keep_an_owner(session, row)
            await self._note(session, actor.cause, Event.USER_DELETED, row)
            await session.delete(row)
        self.rights_lost()

    async def reset_password(self, actor: Actor, user: str, password: Secret) -> None:
        """Give somebody a new password; their sign-ins end."""
        async with self._database.read() as session:
            email = (await self.must_exist(session, user)).email
        hashed = await self._identity.hash_password(password, email)
        async with self._database.write() as session:
            row = await self.must_exist(session, user)
            await self._set_password(session, actor.cause, row, hashed, keep=None)

    async def change_password(self, actor: Actor, current: Secret, new: Secret) -> None:
        """A new password for oneself; the other sign-ins end. ProblemError `invalid_credentials` or `rate_limited`."""
        checked = await self._identity.check_password(actor.email, current, actor.cause)
        hashed = await self._identity.hash_password(new, actor.email)
        async with self._database.write() as session:
            row = await self._identity.must_stand(session, checked)
            await self._set_password(session, actor.cause, row, hashed, keep=actor.sign_in_id)

    async def _set_password(
        self, session: AsyncSession, cause: Cause, row: UserRow, hashed: str, *, keep: str | None
    ) -> None:
        row.password_hash = hashed
        await store.revoke_sign_ins(session, row.id, self._sources.now(), keep=keep)
        await self._note(session, cause, Event.USER_PASSWORD_CHANGED, row)

    async def _keep_an_owner(self, session: AsyncSession, row: UserRow) -> None:
        if await store.other_owners(session, user_id=row.id) == 0:
            raise last_owner()

    async def _note(self, session: AsyncSession, cause: Cause, event: Event, row: UserRow) -> None:
        await self._audit_log.append(session, cause, event, row.id, details={"email": row.email})

    async def _describe(self, session: AsyncSession, row: UserRow) -> UserDetails:
        held = await store.bindings(session, row.id, self._sources.now())
        shown = describe(row.id, row.email, held)
        return UserDetails(
            **shown.model_dump(),
            status="active" if row.disabled_at is None else "disabled",
            created_at=row.created_at,
            disabled_at=row.disabled_at,
        )

    def rights_lost(self) -> None:
        """Tell those who watch rights, after the commit."""
        for told in self.on_rights_lost:
            told()


def last_owner() -> ProblemError:
    """Nobody may be the last to leave."""
    return ProblemError(
        ProblemCode.CONFLICT,
        "That would leave the organisation without a lasting administrator: make somebody else one first.",
    )
