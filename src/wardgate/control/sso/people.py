"""Whose sign-in it is that a provider vouches for: linking, users who are new, and their groups.

Laws: a person is (issuer, subject), which never changes hands; an e-mail address does. So an address links once, where
the provider says that it is verified and vouches for its domain here, to a user who is nobody else at that issuer; from
then on the subject alone counts. The address of a linked user must still be of the provider's domains: taking a domain
away takes its people's way in. Groups are what the provider says now, at every sign-in.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.problems import ProblemError
from ...ids import Kind
from ..audit_log import AuditLog, Cause, Event
from ..identity import store as identities
from ..identity.groups import GroupService
from ..identity.model import UserRow
from ..identity.service import IdentityService, NewUser, normal_email
from ..oidc import Claims
from ..sources import Sources
from . import store
from .attempts import refused
from .model import SsoIdentityRow, SsoProviderRow

_LONGEST_SUBJECT = 255  # OpenID Connect Core, section 2


class People:
    """Finds or makes the user, inside the caller's `write()` block."""

    def __init__(self, audit_log: AuditLog, sources: Sources, identity: IdentityService, groups: GroupService) -> None:
        self._audit_log = audit_log
        self._sources = sources
        self._identity = identity
        self._groups = groups

    async def user_of(
        self, session: AsyncSession, provider: SsoProviderRow, claims: Claims, cause: Cause
    ) -> tuple[UserRow, bool]:
        """The user, and whether they left a group by it. ProblemError `sso_refused`."""
        subject = claims.subject
        if not subject or len(subject) > _LONGEST_SUBJECT or "\0" in subject:
            raise refused("the provider does not say who you are")
        if claims.values.get("email_verified") is False:
            raise refused("your e-mail address is not verified at the provider")
        now = self._sources.now()
        linked = await session.get(SsoIdentityRow, (provider.issuer, subject), with_for_update=True)
        if linked is None:
            user = await self._link(session, provider, claims, cause, now)
        else:
            linked.used_at = now
            user = await self._linked(session, provider, linked)
        if user.disabled_at is not None:
            raise refused("this user is disabled")
        return user, await self._apply_groups(session, provider, user, claims, cause)

    def rights_lost(self) -> None:
        """Tell those who watch rights that somebody left a group, after the commit."""
        self._groups.rights_lost()

    async def _linked(self, session: AsyncSession, provider: SsoProviderRow, row: SsoIdentityRow) -> UserRow:
        user = await identities.user_by_id(session, row.user_id, lock=True)
        assert user is not None  # a foreign key
        await self._must_vouch(session, provider, user.email)
        return user

    async def _link(
        self, session: AsyncSession, provider: SsoProviderRow, claims: Claims, cause: Cause, now: datetime
    ) -> UserRow:
        email = await self._verified_email(session, provider, claims)
        user = await identities.user_by_email(session, email)
        if user is None:
            user = await self._new_user(session, provider, email, cause)
        elif await store.identities_of(session, user.id, provider.issuer):
            # The address was given to somebody else at the provider: they don't get the first one's roles here.
            raise refused("that e-mail address belongs to somebody else of your provider here")
        row = SsoIdentityRow(
            issuer=provider.issuer, subject=claims.subject, user_id=user.id, created_at=now, used_at=now
        )
        session.add(row)
        await session.flush()
        details = {"provider": provider.name, "issuer": provider.issuer, "subject": claims.subject, "email": email}
        await self._audit_log.append(session, cause, Event.SSO_IDENTITY_LINKED, user.id, details=details)
        return user

    async def _verified_email(self, session: AsyncSession, provider: SsoProviderRow, claims: Claims) -> str:
        if claims.values.get("email_verified") is not True:
            raise refused("your e-mail address is not verified at the provider")
        try:
            email = normal_email(claims.text("email") or "")
        except ProblemError:
            raise refused("the provider names no e-mail address of yours") from None
        await self._must_vouch(session, provider, email)
        return email

    async def _must_vouch(self, session: AsyncSession, provider: SsoProviderRow, email: str) -> None:
        if email.rpartition("@")[2] not in await store.domains(session, provider.id):
            raise refused("your e-mail address is of no domain that this provider vouches for here")

    async def _new_user(self, session: AsyncSession, provider: SsoProviderRow, email: str, cause: Cause) -> UserRow:
        if not provider.create_users:
            raise refused("you are no user here yet: ask your administrator")
        new = NewUser(self._sources.new_id(Kind.USER), email, None)
        await self._identity.add_user(session, cause, new)
        user = await identities.user_by_id(session, new.id, lock=True)
        assert user is not None
        return user

    async def _apply_groups(
        self, session: AsyncSession, provider: SsoProviderRow, user: UserRow, claims: Claims, cause: Cause
    ) -> bool:
        said = frozenset(claims.texts(provider.groups_claim))
        groups = {row.group_id for row in await store.mappings(session, provider.id) if row.value in said}
        return await self._groups.set_memberships(session, cause, user, provider.id, groups)
