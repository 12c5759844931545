"""Binding roles to users, groups and services, and taking them back.

Law: nobody gives or takes what they don't administer: the permission is asked at the place of the binding itself; and
nobody gives for longer than they have it (`identity.giving`). A place that the actor does not see answers like one that
does not exist. Whoever watches rights is told after a role is taken, so that
sessions which stood on it end within seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from ... import durations
from ...api.models import Page
from ...api.people import Binding, BindingCreate
from ...api.problems import ProblemCode, ProblemError
from ...errors import WardgateError
from ...ids import Kind, is_id
from ..audit_log import AuditLog, Event
from ..db import Database
from ..identity import store as identities
from ..identity.actor import ORGANISATION, Actor, Scope, not_found
from ..identity.giving import must_be_able_to_give
from ..identity.groups import GroupService
from ..identity.holders import Holder, HolderKind
from ..identity.model import RoleBindingRow
from ..identity.permissions import Permission, Role
from ..identity.service import IdentityService
from ..identity.users import UserService, last_owner
from ..paging import Paging, page_of
from ..projects import ProjectService
from ..resources.places import scope_of as scope_of_place
from ..sources import Sources
from ..workloads import WorkloadService

_LONGEST = timedelta(days=3_650)


class BindingService:
    """Roles at places."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        identity: IdentityService,
        users: UserService,
        groups: GroupService,
        workloads: WorkloadService,
        projects: ProjectService,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._identity = identity
        self._users = users
        self._groups = groups
        self._workloads = workloads
        self._projects = projects
        self.on_rights_lost: list[Callable[[], None]] = []

    async def grant(self, actor: Actor, body: BindingCreate) -> Binding:
        """Bind a role. ProblemError `not_found`, `forbidden`, `conflict` or `invalid_duration`."""
        now = self._sources.now()
        expires_at = _until(body.duration, now)
        async with self._database.write() as session:
            scope = await self._place(session, body.scope)
            must_be_able_to_give(actor, scope, expires_at, what=f"place {body.scope}")
            holder = await self._holder(session, body)
            role = Role(body.role)
            for row, _ in await identities.binding_rows(
                session, [ORGANISATION], now, holder_id=holder.id, at=scope, after=None, limit=100
            ):
                if row.role is role:
                    message = f"{holder.name} is {role.value} there already: revoke {row.id} first to change its end."
                    raise ProblemError(ProblemCode.CONFLICT, message, context={"binding": row.id})
            row = await self._identity.grant_within(session, actor.cause, holder.id, role, scope, expires_at=expires_at)
            return _describe(row, holder)

    async def _holder(self, session: AsyncSession, body: BindingCreate) -> Holder:
        """Whom a role is to be bound to; ProblemError `not_found`."""
        if body.group is not None:
            group = await self._groups.must_exist(session, body.group)
            return Holder(HolderKind.GROUP, group.id, group.name)
        if body.service is not None:
            service = await self._workloads.must_exist(session, body.service)
            return Holder(HolderKind.SERVICE, service.id, service.name)
        user = await self._users.must_exist(session, body.user or "")
        return Holder(HolderKind.USER, user.id, user.email)

    async def page(
        self, actor: Actor, paging: Paging, *, holder: tuple[HolderKind, str] | None, scope: str | None
    ) -> Page[Binding]:
        """The bindings that the actor may read, of one holder (by id or name) or at one place where asked."""
        readable = [b.scope for b in actor.bindings if b.permits(Permission.ACCOUNT_BINDING_READ)]
        async with self._database.read() as session:
            at = None if scope is None else await self._place(session, scope)
            if at is not None:
                actor.require(Permission.ACCOUNT_BINDING_READ, at, what=f"place {scope}")
            holder_id = None if holder is None else await self._id_of(session, *holder)
            found = await identities.binding_rows(
                session,
                readable,
                self._sources.now(),
                holder_id=holder_id,
                at=at,
                after=paging.after,
                limit=paging.limit + 1,
            )
        return page_of(found, paging, lambda pair: _describe(*pair), lambda pair: pair[0].id)

    async def _id_of(self, session: AsyncSession, kind: HolderKind, name: str) -> str:
        """The id of a holder by id or name, or one that nobody has: a list does not tell who exists."""
        try:
            if kind is HolderKind.GROUP:
                return (await self._groups.must_exist(session, name)).id
            if kind is HolderKind.SERVICE:
                return (await self._workloads.must_exist(session, name)).id
            return (await self._users.must_exist(session, name)).id
        except ProblemError:
            return ""

    async def revoke(self, actor: Actor, binding_id: str) -> None:
        """Take a role back; sessions that stood on it end. ProblemError `not_found`, `forbidden` or `conflict`."""
        async with self._database.write() as session:
            row = await session.get(RoleBindingRow, binding_id)
            if row is None:
                raise not_found(f"binding {binding_id[:64]}")
            scope = row.scope
            actor.require(Permission.ACCOUNT_BINDING_DELETE, scope, what=f"binding {binding_id[:64]}")
            owner = row.role is Role.ADMIN and scope == ORGANISATION and row.expires_at is None
            if owner and await identities.other_owners(session, binding_id=row.id) == 0:
                raise last_owner()
            details = {"role": row.role.value, "scope": str(scope), "binding": row.id}
            await self._audit_log.append(
                session, actor.cause, Event.ROLE_REVOKED, row.holder_id, project_id=row.project_id, details=details
            )
            await session.delete(row)
        for told in self.on_rights_lost:
            told()

    async def _place(self, session: AsyncSession, place: str) -> Scope:
        """Where `place` is; the same problem as `require` raises for what the actor does not see."""
        if place == str(ORGANISATION):
            return ORGANISATION
        if is_id(place, Kind.PROJECT):
            scope = Scope(place) if await self._projects.exists(session, place) else None
        else:
            scope = await scope_of_place(session, place)
        if scope is None:
            raise not_found(f"place {place}")
        return scope


def _until(duration: str | None, now: datetime) -> datetime | None:
    if duration is None:
        return None
    try:
        return now + durations.parse(duration, longest=_LONGEST, what="a role")
    except WardgateError as error:
        raise ProblemError(ProblemCode.INVALID_DURATION, error.message) from None


def _describe(row: RoleBindingRow, holder: Holder) -> Binding:
    is_user = holder.kind is HolderKind.USER
    return Binding(
        id=row.id,
        kind=holder.kind.value,
        holder_id=holder.id,
        holder=holder.name,
        user_id=holder.id if is_user else None,
        user=holder.name if is_user else None,
        role=row.role.value,
        scope=str(row.scope),
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
    )
