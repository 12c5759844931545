"""A project's masking rules: what its records do not show.

They travel in leases and, when they change, in the answer to a gateway's next heartbeat; what is recorded already is
never changed. Law: a rule that a gateway could not use is refused here, so a rule that is listed is in force.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.machine import MaskRule
from ...api.masking import MaskingRule, MaskingRuleCreate
from ...api.models import Page
from ...api.problems import ProblemCode, ProblemError
from ...command.masking import Masking, Rule, RuleError
from ..audit_log import AuditLog, Event
from ..db import Database
from ..identity.actor import Actor, Scope, not_found
from ..identity.permissions import Permission
from ..sources import Sources
from . import store
from .model import MaskingRuleRow
from .service import ProjectService


class MaskingRules:
    """The rules of all projects."""

    def __init__(self, database: Database, audit_log: AuditLog, sources: Sources, projects: ProjectService) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._projects = projects

    async def list_all(self, project_id: str) -> Page[MaskingRule]:
        """A project's rules; they are few. ProblemError `not_found`."""
        async with self._database.read() as session:
            await self._projects.must_exist(session, project_id)
            rows = await store.masking_rules(session, project_id)
        return Page[MaskingRule](items=[_describe(row) for row in rows])

    async def add(self, actor: Actor, project_id: str, body: MaskingRuleCreate) -> MaskingRule:
        """A new rule; ProblemError `invalid_request` for one that can't be used, `conflict` for a name in use."""
        actor.require(Permission.PROJECT_MASKING_UPDATE, Scope(project_id), what=f"project {project_id[:64]}")
        rule = rule_of(body.path, body.pattern)
        async with self._database.write() as session:
            await self._projects.must_exist(session, project_id, lock=True)
            rows = await store.masking_rules(session, project_id)
            if any(row.name == body.name for row in rows):
                raise ProblemError(ProblemCode.CONFLICT, f"There is already a masking rule {body.name}.")
            compiled([*map(_rule, rows), rule])
            row = MaskingRuleRow(
                project_id=project_id,
                name=body.name,
                kind=rule.kind,
                expression=rule.expression,
                description=body.description,
                created_at=self._sources.now(),
            )
            session.add(row)
            await session.flush()
            await self._tell(session, actor, project_id, body.name, None, _describe(row))
        return _describe(row)

    async def remove(self, actor: Actor, project_id: str, name: str) -> None:
        """Take a rule away; ProblemError `not_found`."""
        actor.require(Permission.PROJECT_MASKING_UPDATE, Scope(project_id), what=f"project {project_id[:64]}")
        async with self._database.write() as session:
            await self._projects.must_exist(session, project_id, lock=True)
            row = await session.get(MaskingRuleRow, (project_id, name))
            if row is None:
                raise not_found(f"masking rule {name[:64]}")
            before = _describe(row)
            await session.delete(row)
            await self._tell(session, actor, project_id, name, before, None)

    async def _tell(
        self,
        session: AsyncSession,
        actor: Actor,
        project_id: str,
        name: str,
        before: MaskingRule | None,
        after: MaskingRule | None,
    ) -> None:
        await self._audit_log.append(
            session,
            actor.cause,
            Event.PROJECT_MASKING_UPDATED,
            project_id,
            project_id=project_id,
            details={"rule": name, "from": _told(before), "to": _told(after)},
        )

    async def rules(self, session: AsyncSession, project_id: str) -> list[MaskRule]:
        """For a gateway."""
        rows = await store.masking_rules(session, project_id)
        return [MaskRule(kind=rule.kind, expression=rule.expression) for rule in map(_rule, rows)]


def rule_of(path: str | None, pattern: str | None) -> Rule:
    """The one that is given, checked; ProblemError `invalid_request`."""
    rule = Rule("path", path) if path is not None else Rule("pattern", pattern or "")
    compiled([rule])
    return rule


def compiled(rules: list[Rule]) -> Masking:
    """The rules together; ProblemError `invalid_request`."""
    try:
        return Masking(rules)
    except RuleError as error:
        raise ProblemError(ProblemCode.INVALID_REQUEST, error.message) from error


def _rule(row: MaskingRuleRow) -> Rule:
    return Rule("path" if row.kind == "path" else "pattern", row.expression)


def _told(rule: MaskingRule | None) -> dict[str, str] | None:
    return None if rule is None else rule.model_dump(include={"path", "pattern", "description"}, exclude_none=True)


def _describe(row: MaskingRuleRow) -> MaskingRule:
    return MaskingRule(
        name=row.name,
        path=row.expression if row.kind == "path" else None,
        pattern=row.expression if row.kind != "path" else None,
        description=row.description,
        created_at=row.created_at,
    )
