"""Resources: saved when their connection test passed, changed with care for the passwords of their accounts.

Law: passwords must not be lured elsewhere. Whoever may edit a resource need not know its passwords, so a change of
where they would be sent (hosts, CA, gateway) or of how well that is checked (TLS switched off, certificates no longer
verified) drops them all, and each account asks for its own again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.machine import MongoTarget
from ...api.models import Page, Resource, ResourceCreate, ResourceUpdate, TestResult
from ...api.problems import FieldError, ProblemCode, ProblemError
from ...ids import Kind
from ..audit_log import AuditLog, Event
from ..db import Database
from ..identity.actor import Actor, Scope, not_found
from ..identity.permissions import Permission
from ..paging import Paging, page_of
from ..projects import ProjectService
from ..sources import Sources
from . import store
from .connection_string import Form, parse
from .describe import UNTESTED, describe_resource, security_warnings
from .drafts import Draft, ResourceDrafts
from .model import ResourceRow
from .ports import GatewayFacts, Gateways, Tester, must_pass


@dataclass(frozen=True, slots=True)
class Listing:
    """Which of a project's resources: `q` stands in the name, the connection string or the gateway's name; `by_name`
    sorts by name, and the cursor is one then."""

    q: str = ""
    by_name: bool = False


class ResourceService:
    """Resources as actors see them."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        projects: ProjectService,
        gateways: Gateways,
        tester: Tester,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._projects = projects
        self._gateways = gateways
        self._tester = tester
        self.drafts = ResourceDrafts(database, sources, gateways, tester)

    # --- finding --------------------------------------------------------------------------------------------------

    async def find(
        self, session: AsyncSession, actor: Actor, project_id: str, name: str, permission: Permission
    ) -> ResourceRow:
        """The resource, if the actor has `permission` on it or on an account of it; `not_found` or `forbidden`."""
        row = await store.resource_by_name(session, project_id, name)
        if row is None:
            raise not_found(f"resource {name[:63]} in this project")
        scope = scope_of(row)
        if not actor.may_within(permission, scope):
            actor.require(permission, scope, what=f"resource {name[:63]} in this project")
        return row

    async def list_visible(
        self, actor: Actor, project_id: str, paging: Paging, listing: Listing = Listing()
    ) -> Page[Resource]:
        """A project's resources that the actor sees."""
        only = _visible_ids(actor, project_id)
        async with self._database.read() as session:
            await self._projects.must_exist(session, project_id)
            gateways = await self._gateways.gateways_like(session, project_id, listing.q) if listing.q else []
            rows = await store.resources(
                session,
                project_id,
                only,
                after=paging.after,
                limit=paging.limit + 1,
                q=listing.q,
                gateways=gateways,
                by_name=listing.by_name,
            )
            ids = dict.fromkeys(row.gateway_id for row in rows)
            names = {gateway_id: await self._gateways.gateway_name(session, gateway_id) for gateway_id in ids}
        return page_of(
            rows,
            paging,
            lambda row: describe_resource(row, names[row.gateway_id]),
            lambda row: row.name if listing.by_name else row.id,
        )

    async def get(self, actor: Actor, project_id: str, name: str) -> Resource:
        """One resource."""
        async with self._database.read() as session:
            row = await self.find(session, actor, project_id, name, Permission.RESOURCE_DETAILS_READ)
            return describe_resource(row, await self._gateways.gateway_name(session, row.gateway_id))

    # --- changing -------------------------------------------------------------------------------------------------

    async def create(self, actor: Actor, project_id: str, body: ResourceCreate, *, no_test: bool) -> Resource:
        """Save a new one if its test passes (`no_test`: untested)."""
        form = Form(body.database, body.ssl, body.reject_unauthorized, body.ca_certificate)
        async with self._database.read() as session:
            await self._projects.must_exist(session, project_id)
            await self._name_is_free(session, project_id, body.name)
            gateway = await self._gateways.find_gateway(session, project_id, body.gateway)
        draft = self.drafts.understand(gateway, body.connection_string, form)
        result = None if no_test else await self._try(draft)
        now = self._sources.now()
        row = ResourceRow(
            id=self._sources.new_id(Kind.RESOURCE),
            project_id=project_id,
            name=body.name,
            created_at=now,
            updated_at=now,
        )
        _fill(row, draft)
        self._note_test(row, result)
        async with self._database.write() as session:
            await self._name_is_free(session, project_id, body.name)
            session.add(row)
            await session.flush()
            await self._event(session, actor, Event.RESOURCE_CREATED, row, _facts(row, gateway.name))
        return describe_resource(row, gateway.name, _warnings(row, draft, result))

    async def update(
        self, actor: Actor, project_id: str, name: str, body: ResourceUpdate, *, no_test: bool
    ) -> Resource:
        """Change the fields that were set, if the test of the whole passes."""
        async with self._database.read() as session:
            row = await self._editable(session, actor, project_id, name, Permission.RESOURCE_DETAILS_UPDATE)
            _must_be_as_seen(row, body.if_updated_at)
            gateway = await self._gateway_for(session, row, body.gateway)
        draft = self._changed(row, gateway, body)
        result = None if no_test else await self._try(draft)
        async with self._database.write() as session:
            row = await self._editable(session, actor, project_id, name, Permission.RESOURCE_DETAILS_UPDATE)
            _must_be_as_seen(row, body.if_updated_at)
            elsewhere = _leads_elsewhere(row, draft)
            before = _facts(row, await self._gateways.gateway_name(session, row.gateway_id))
            _fill(row, draft)
            row.updated_at = self._sources.now()
            self._note_test(row, result)
            await session.flush()
            dropped = await store.forget_secrets(session, row.id) if elsewhere else []
            details: dict[str, object] = {"before": before, "after": _facts(row, gateway.name)}
            if dropped:
                details["passwords_dropped"] = dropped
            await self._event(session, actor, Event.RESOURCE_UPDATED, row, details)
        return describe_resource(row, gateway.name, _warnings(row, draft, result, dropped))

    async def delete(self, actor: Actor, project_id: str, name: str) -> None:
        """Remove it and its accounts. Live sessions end as their right is gone; their records stay."""
        async with self._database.write() as session:
            row = await self._editable(session, actor, project_id, name, Permission.RESOURCE_DETAILS_DELETE)
            await session.delete(row)
            await session.flush()
            await self._event(session, actor, Event.RESOURCE_DELETED, row, {"name": row.name})

    async def test(self, actor: Actor, project_id: str, name: str) -> TestResult:
        """Try it as it is saved, and remember what came out."""
        async with self._database.read() as session:
            row = await self._editable(session, actor, project_id, name, Permission.RESOURCE_DETAILS_TEST)
            gateway = await self._gateways.gateway_name(session, row.gateway_id)
        result = await self._tester.run(row.gateway_id, gateway, target_of(row), None)
        async with self._database.write() as session:
            again = await session.get(ResourceRow, row.id)
            if again is not None and again.updated_at == row.updated_at:
                self._note_test(again, result)
        return result

    # --- parts ----------------------------------------------------------------------------------------------------

    async def _editable(
        self, session: AsyncSession, actor: Actor, project_id: str, name: str, permission: Permission
    ) -> ResourceRow:
        row = await store.resource_by_name(session, project_id, name)
        if row is None:
            raise not_found(f"resource {name[:63]} in this project")
        actor.require(permission, scope_of(row), what=f"resource {name[:63]} in this project")
        return row

    async def _name_is_free(self, session: AsyncSession, project_id: str, name: str) -> None:
        if await store.resource_by_name(session, project_id, name) is not None:
            raise ProblemError(ProblemCode.CONFLICT, f"There is already a resource {name} in this project.")

    async def _gateway_for(self, session: AsyncSession, row: ResourceRow, wanted: str | None) -> GatewayFacts:
        """The gateway that was asked for, or the one it has; a revoked one has to be replaced."""
        name = wanted or await self._gateways.gateway_name(session, row.gateway_id)
        return await self._gateways.find_gateway(session, row.project_id, name)

    def _changed(self, row: ResourceRow, gateway: GatewayFacts, body: ResourceUpdate) -> Draft:
        """The form as it is after the change."""
        given = {name: getattr(body, name) for name in body.model_fields_set - {"if_updated_at"}}
        for name, value in given.items():
            if value is None and name != "ca_certificate":
                raise ProblemError(
                    ProblemCode.INVALID_REQUEST,
                    f"{name} can't be null: leave it out to keep it.",
                    errors=[FieldError(field=name, message="Can't be null.")],
                )
        text = given.pop("connection_string", row.connection_string)
        given.pop("gateway", None)
        return self.drafts.understand(gateway, text, replace(form_of(row), **given))

    async def _try(self, draft: Draft) -> TestResult:
        result = await self.drafts.run(draft)
        must_pass(result)
        return result

    def _note_test(self, row: ResourceRow, result: TestResult | None) -> None:
        row.tested_at = None if result is None else self._sources.now()
        row.test = None if result is None else result.model_dump(mode="json")

    async def _event(
        self, session: AsyncSession, actor: Actor, event: Event, row: ResourceRow, details: dict[str, object]
    ) -> None:
        await self._audit_log.append(session, actor.cause, event, row.id, project_id=row.project_id, details=details)


def _must_be_as_seen(row: ResourceRow, seen: datetime | None) -> None:
    """Two people at once: the second is told, and overwrites nothing unseen."""
    if seen is not None and row.updated_at != seen:
        raise ProblemError(
            ProblemCode.CONFLICT,
            f"The resource {row.name} was changed by somebody else meanwhile: look at it again.",
            context={"updated_at": row.updated_at.isoformat()},
        )


def scope_of(row: ResourceRow) -> Scope:
    """The resource's place."""
    return Scope(row.project_id, row.id)


def form_of(row: ResourceRow) -> Form:
    """The fields beside the connection string."""
    return Form(row.database, row.ssl, row.reject_unauthorized, row.ca_certificate)


def target_of(row: ResourceRow) -> MongoTarget:
    """The deployment in the structured fields that a gateway uses."""
    target, _ = parse(row.connection_string, form_of(row))
    return target


def _fill(row: ResourceRow, draft: Draft) -> None:
    row.gateway_id = draft.gateway.id
    row.connection_string = draft.connection_string
    row.database = draft.form.database
    row.ssl = draft.form.ssl
    row.reject_unauthorized = draft.form.reject_unauthorized
    row.ca_certificate = draft.form.ca_certificate


def _leads_elsewhere(row: ResourceRow, draft: Draft) -> bool:
    """Whether stored passwords would go to, or could be had by, somebody they were not given for."""
    weaker = (row.ssl and not draft.form.ssl) or (row.reject_unauthorized and not draft.form.reject_unauthorized)
    return (
        weaker
        or row.gateway_id != draft.gateway.id
        or row.ca_certificate != draft.form.ca_certificate
        or _place(target_of(row)) != _place(draft.target)
    )


def _place(target: MongoTarget) -> tuple[object, ...]:
    """Where a deployment is, in whatever order its hosts stand."""
    return frozenset(target.hosts), target.srv_host, target.srv_service


def _facts(row: ResourceRow, gateway: str) -> dict[str, object]:
    """The form for the audit log; the CA by whether there is one."""
    return {
        "name": row.name,
        "gateway": gateway,
        "connection_string": row.connection_string,
        "database": row.database,
        "ssl": row.ssl,
        "reject_unauthorized": row.reject_unauthorized,
        "own_ca": row.ca_certificate is not None,
    }


def _warnings(row: ResourceRow, draft: Draft, result: TestResult | None, dropped: list[str] | None = None) -> list[str]:
    found = [*draft.notices, *security_warnings(row)]
    if result is None:
        found.append(UNTESTED)
    if dropped:
        found.append(
            f"Enter the passwords (and client certificates) of these accounts again before they can be used, since "
            f"they would now go elsewhere: {', '.join(dropped)}."
        )
    return found


def _visible_ids(actor: Actor, project_id: str) -> frozenset[str] | None:
    """The resources that the actor may read, None for all of the project's."""
    if actor.may(Permission.RESOURCE_DETAILS_READ, Scope(project_id)):
        return None
    held = [b.scope for b in actor.bindings if b.permits(Permission.RESOURCE_DETAILS_READ)]
    return frozenset(scope.resource_id for scope in held if scope.project_id == project_id and scope.resource_id)
