"""Groups: users who hold roles together.

Laws: being in a group is holding its roles, so whoever puts somebody in must be able to give each of them; leaving,
however it comes about, is losing them, and whoever watches rights (`on_rights_lost`) is told after the commit. A
membership that a provider of single sign-on told of is that provider's to end, one that was made by hand is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ...api.models import Page
from ...api.people import Group, GroupCreate, GroupDetails, GroupMember, GroupUpdate
from ...api.problems import ProblemCode, ProblemError
from ...ids import Kind
from ..audit_log import AuditLog, Cause, Event
from ..db import Database
from ..paging import Paging, page_of
from ..sources import Sources
from . import store
from .actor import Actor, not_found
from .giving import must_be_able_to_give_all
from .holders import GroupMemberRow, GroupRow
from .model import UserRow
from .sign_ins import roles_of
from .users import UserService

BY_HAND = ""


class GroupService:
    """Every method's permission was the route's question; groups have one place, the organisation."""

    def __init__(self, database: Database, audit_log: AuditLog, sources: Sources, users: UserService) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._users = users
        self.on_rights_lost: list[Callable[[], None]] = []

    # --- groups ---------------------------------------------------------------------------------------------------

    async def create(self, actor: Actor, body: GroupCreate) -> GroupDetails:
        """A new group, without members and roles. ProblemError `conflict`."""
        async with self._database.write() as session:
            await self._name_is_free(session, body.name)
            row = GroupRow(
                id=self._sources.new_id(Kind.GROUP),
                name=body.name,
                description=body.description,
                created_at=self._sources.now(),
            )
            session.add(row)
            await session.flush()
            await self._note(session, actor.cause, Event.GROUP_CREATED, row, {"description": row.description})
            return await self._describe(session, row)

    async def page(self, paging: Paging) -> Page[Group]:
        """All groups."""
        query = select(GroupRow).order_by(GroupRow.id).limit(paging.limit + 1)
        if paging.after is not None:
            query = query.where(GroupRow.id > paging.after)
        async with self._database.read() as session:
            rows = (await session.scalars(query)).all()
            shown = {row.id: await self._summary(session, row) for row in rows}
        return page_of(rows, paging, lambda row: shown[row.id], lambda row: row.id)

    async def get(self, group: str) -> GroupDetails:
        """One group by id or name; ProblemError `not_found`."""
        async with self._database.read() as session:
            return await self._describe(session, await self.must_exist(session, group))

    async def update(self, actor: Actor, group: str, body: GroupUpdate) -> GroupDetails:
        """Change the fields that were set. ProblemError `not_found` or `conflict`."""
        changes = body.model_dump(exclude_unset=True)
        async with self._database.write() as session:
            row = await self.must_exist(session, group)
            before = {name: getattr(row, name) for name in changes}
            if changes.get("name", row.name) != row.name:
                await self._name_is_free(session, changes["name"])
            for name, value in changes.items():
                setattr(row, name, value)
            await session.flush()
            await self._note(session, actor.cause, Event.GROUP_UPDATED, row, {"before": before, "after": changes})
            return await self._describe(session, row)

    async def delete(self, actor: Actor, group: str) -> None:
        """Remove a group; its members lose its roles. ProblemError `not_found`."""
        async with self._database.write() as session:
            row = await self.must_exist(session, group)
            members = [user.email for user, _ in await self._members(session, row.id)]
            await self._note(session, actor.cause, Event.GROUP_DELETED, row, {"members": members})
            await session.delete(row)
        self.rights_lost()

    async def must_exist(self, session: AsyncSession, group: str) -> GroupRow:
        """The row of a group by id or name; ProblemError `not_found`."""
        row = await session.get(GroupRow, group)
        row = row or await session.scalar(select(GroupRow).where(GroupRow.name == group))
        if row is None:
            raise not_found(f"group {group[:80]}")
        return row

    # --- members --------------------------------------------------------------------------------------------------

    async def add_member(self, actor: Actor, group: str, user: str) -> GroupDetails:
        """Put a user in. ProblemError `not_found`, or `forbidden` where the actor can't give the group's roles."""
        async with self._database.write() as session:
            row, member = await self.must_exist(session, group), await self._users.must_exist(session, user)
            must_be_able_to_give_all(actor, await store.held_by(session, row.id, self._sources.now()))
            await self._add(session, actor.cause, row, member, BY_HAND)
            return await self._describe(session, row)

    async def remove_member(self, actor: Actor, group: str, user: str) -> GroupDetails:
        """Take a user out, whatever put them in. ProblemError `not_found`."""
        async with self._database.write() as session:
            row, member = await self.must_exist(session, group), await self._users.must_exist(session, user)
            memberships = await self._memberships(session, member.id, group_id=row.id)
            if not memberships:
                raise not_found(f"member {member.email} of the group {row.name}")
            for membership in memberships:
                await self._remove(session, actor.cause, row, member, membership)
            described = await self._describe(session, row)
        self.rights_lost()
        return described

    async def set_memberships(
        self, session: AsyncSession, cause: Cause, user: UserRow, source: str, group_ids: Iterable[str]
    ) -> bool:
        """Make these the groups that `source` says the user is in, inside the caller's `write()` block.

        Groups that are gone are left out. True where the user left one: then call `rights_lost` after the commit.
        """
        wanted = frozenset(group_ids)
        present = {row.group_id: row for row in await self._memberships(session, user.id, source=source)}
        for group_id in sorted(wanted - present.keys()):
            row = await session.get(GroupRow, group_id)
            if row is not None:
                await self._add(session, cause, row, user, source)
        left = sorted(present.keys() - wanted)
        for group_id in left:
            group = await self.must_exist(session, group_id)
            await self._remove(session, cause, group, user, present[group_id])
        return bool(left)

    def rights_lost(self) -> None:
        """Tell those who watch rights, after the commit."""
        for told in self.on_rights_lost:
            told()

    async def _add(self, session: AsyncSession, cause: Cause, row: GroupRow, user: UserRow, source: str) -> None:
        if await session.get(GroupMemberRow, (row.id, user.id, source)) is not None:
            return
        session.add(
            GroupMemberRow(
                group_id=row.id, user_id=user.id, source=source, added_at=self._sources.now(), added_by=cause.actor_id
            )
        )
        await session.flush()
        await self._note(session, cause, Event.GROUP_MEMBER_ADDED, row, {"user": user.email, "source": source})

    async def _remove(
        self, session: AsyncSession, cause: Cause, row: GroupRow, user: UserRow, membership: GroupMemberRow
    ) -> None:
        await session.delete(membership)
        await session.flush()
        details = {"user": user.email, "source": membership.source}
        await self._note(session, cause, Event.GROUP_MEMBER_REMOVED, row, details)

    # --- parts ----------------------------------------------------------------------------------------------------

    @staticmethod
    async def _memberships(
        session: AsyncSession, user_id: str, *, group_id: str | None = None, source: str | None = None
    ) -> list[GroupMemberRow]:
        query = select(GroupMemberRow).where(GroupMemberRow.user_id == user_id)
        if group_id is not None:
            query = query.where(GroupMemberRow.group_id == group_id)
        if source is not None:
            query = query.where(GroupMemberRow.source == source)
        return list(await session.scalars(query.order_by(GroupMemberRow.group_id, GroupMemberRow.source)))

    @staticmethod
    async def _members(session: AsyncSession, group_id: str) -> list[tuple[UserRow, GroupMemberRow]]:
        query = (
            select(UserRow, GroupMemberRow)
            .join(GroupMemberRow, GroupMemberRow.user_id == UserRow.id)
            .where(GroupMemberRow.group_id == group_id)
            .order_by(UserRow.email, GroupMemberRow.source)
        )
        return [(row[0], row[1]) for row in await session.execute(query)]

    async def _name_is_free(self, session: AsyncSession, name: str) -> None:
        if await session.scalar(select(GroupRow.id).where(GroupRow.name == name)) is not None:
            raise ProblemError(ProblemCode.CONFLICT, f"There is already a group {name}.")

    async def _note(
        self, session: AsyncSession, cause: Cause, event: Event, row: GroupRow, details: Mapping[str, object]
    ) -> None:
        await self._audit_log.append(session, cause, event, row.id, details={"group": row.name, **details})

    async def _summary(self, session: AsyncSession, row: GroupRow) -> Group:
        count = select(func.count(GroupMemberRow.user_id.distinct())).where(GroupMemberRow.group_id == row.id)
        held = await store.held_by(session, row.id, self._sources.now())
        return Group(
            id=row.id,
            name=row.name,
            description=row.description,
            created_at=row.created_at,
            members=int(await session.scalar(count) or 0),
            roles=roles_of(held),
        )

    async def _describe(self, session: AsyncSession, row: GroupRow) -> GroupDetails:
        summary = await self._summary(session, row)
        members = [
            GroupMember(
                user_id=user.id, user=user.email, source=membership.source or None, added_at=membership.added_at
            )
            for user, membership in await self._members(session, row.id)
        ]
        return GroupDetails(**summary.model_dump(), users=members)
