"""Accounts: the MongoDB users of a resource. A password goes in, is sealed byte for byte, and comes out in leases only.

Law: no answer, event or log holds a password; the login hop of the test is tried whenever the name or the password of
the MongoDB user is new.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from ... import durations
from ...api.machine import Credentials, MongoTarget
from ...api.models import Account, AccountCreate, AccountUpdate, Page, TestResult
from ...api.problems import FieldError, ProblemCode, ProblemError
from ...errors import WardgateError
from ...ids import Kind
from ...secret import Secret
from ..audit_log import AuditLog, Event
from ..db import Database
from ..identity.actor import Actor, Scope, not_found
from ..identity.permissions import Permission
from ..paging import Paging, page_of
from ..sources import Sources
from ..vault import Vault
from . import store
from .describe import UNTESTED, describe_account
from .model import AccountRow, ResourceRow
from .ports import Gateways, Tester, must_pass
from .service import ResourceService, target_of

_NO_MFA = "It requires MFA, which this version can't verify yet: until then nobody gets in with it."
_NULLABLE = frozenset({"max_duration"})


class AccountService:
    """Accounts as actors see them."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        vault: Vault,
        resources: ResourceService,
        gateways: Gateways,
        tester: Tester,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._vault = vault
        self._resources = resources
        self._gateways = gateways
        self._tester = tester

    # --- finding --------------------------------------------------------------------------------------------------

    async def list_visible(self, actor: Actor, project_id: str, resource: str, paging: Paging) -> Page[Account]:
        """A resource's accounts that the actor sees."""
        permission = Permission.ACCOUNT_DETAILS_READ
        async with self._database.read() as session:
            row = await self._resources.find(session, actor, project_id, resource, permission)
            only = _visible_ids(actor, row)
            rows = await store.accounts(session, row.id, only, after=paging.after, limit=paging.limit + 1)
        return page_of(rows, paging, lambda account: describe_account(account, row.name), lambda account: account.id)

    async def get(self, actor: Actor, project_id: str, resource: str, name: str) -> Account:
        """One account."""
        async with self._database.read() as session:
            row, account = await self._find(session, actor, project_id, resource, name, Permission.ACCOUNT_DETAILS_READ)
        return describe_account(account, row.name)

    async def _find(
        self, session: AsyncSession, actor: Actor, project_id: str, resource: str, name: str, permission: Permission
    ) -> tuple[ResourceRow, AccountRow]:
        row = await self._resources.find(session, actor, project_id, resource, permission)
        account = await store.account_by_name(session, row.id, name)
        if account is None:
            raise _unknown(resource, name)
        scope = Scope(project_id, row.id, account.id)
        if not actor.may(permission, scope) and not actor.sees(scope):
            raise _unknown(resource, name)
        actor.require(permission, scope)
        return row, account

    # --- changing -------------------------------------------------------------------------------------------------

    async def create(
        self, actor: Actor, project_id: str, resource: str, body: AccountCreate, *, no_test: bool
    ) -> Account:
        """Save a new one if its login works (`no_test`: untried)."""
        longest = _seconds(body.max_duration)
        password = Secret(body.password.get_secret_value())
        permission = Permission.RESOURCE_ACCOUNT_CREATE
        async with self._database.read() as session:
            row = await self._resources.find(session, actor, project_id, resource, permission)
            actor.require(permission, Scope(project_id, row.id), what=f"resource {resource} in this project")
            await self._name_is_free(session, row, body.name)
        result = None if no_test else await self._must_work(row, body.username, password)
        now = self._sources.now()
        account = AccountRow(
            id=self._sources.new_id(Kind.ACCOUNT),
            project_id=project_id,
            resource_id=row.id,
            name=body.name,
            description=body.description,
            username=body.username,
            require_mfa=body.require_mfa,
            require_reason=body.require_reason,
            allow_admin=body.allow_admin,
            max_duration_s=longest,
            created_at=now,
            updated_at=now,
        )
        self._note_test(account, result)
        async with self._database.write() as session:
            await self._same_target(session, row)
            await self._name_is_free(session, row, body.name)
            account.sealed_password = await self._seal(session, account, password)
            session.add(account)
            await session.flush()
            await self._event(session, actor, Event.ACCOUNT_CREATED, account, _facts(account, row.name))
        return describe_account(account, row.name, _warnings(account, tested=result is not None))

    async def update(
        self, actor: Actor, project_id: str, resource: str, name: str, body: AccountUpdate, *, no_test: bool
    ) -> Account:
        """Change the fields that were set; a new user name or password is tried first."""
        changes = _changes(body)
        permission = Permission.ACCOUNT_DETAILS_UPDATE
        async with self._database.read() as session:
            row, account = await self._find(session, actor, project_id, resource, name, permission)
            password = changes.pop("password", None) or await self._password(session, account)
        login_changes = "username" in changes or body.password is not None
        result = None
        if login_changes and not no_test:
            if password is None:
                raise _needs_password(account)
            result = await self._must_work(row, changes.get("username", account.username), password)
        async with self._database.write() as session:
            await self._same_target(session, row)
            row, account = await self._find(session, actor, project_id, resource, name, permission)
            before = _facts(account, row.name)
            for field, value in changes.items():
                setattr(account, field, value)
            if body.password is not None and password is not None:
                account.sealed_password = await self._seal(session, account, password)
            account.updated_at = self._sources.now()
            if login_changes:
                self._note_test(account, result)
            await session.flush()
            after = {**_facts(account, row.name), "password_changed": body.password is not None}
            await self._event(session, actor, Event.ACCOUNT_UPDATED, account, {"before": before, "after": after})
        return describe_account(account, row.name, _warnings(account, tested=not login_changes or result is not None))

    async def delete(self, actor: Actor, project_id: str, resource: str, name: str) -> None:
        """Remove it. Live sessions end as their right is gone; their records stay."""
        async with self._database.write() as session:
            row, account = await self._find(
                session, actor, project_id, resource, name, Permission.ACCOUNT_DETAILS_DELETE
            )
            await session.delete(account)
            await session.flush()
            details: dict[str, Any] = {"name": account.name, "resource": row.name}
            await self._event(session, actor, Event.ACCOUNT_DELETED, account, details)

    async def test(self, actor: Actor, project_id: str, resource: str, name: str) -> TestResult:
        """Try its login as it is saved, and remember what came out."""
        async with self._database.read() as session:
            row, account = await self._find(session, actor, project_id, resource, name, Permission.ACCOUNT_DETAILS_TEST)
            password = await self._password(session, account)
        if password is None:
            raise _needs_password(account)
        result = await self._try(row, account.username, password)
        async with self._database.write() as session:
            again = await session.get(AccountRow, account.id)
            if again is not None and again.updated_at == account.updated_at:
                self._note_test(again, result)
        return result

    # --- parts ----------------------------------------------------------------------------------------------------

    async def _try(self, row: ResourceRow, username: str, password: Secret) -> TestResult:
        async with self._database.read() as session:
            gateway = await self._gateways.gateway_name(session, row.gateway_id)
        target = target_of(row)
        return await self._tester.run(row.gateway_id, gateway, target, credentials_for(target, username, password))

    async def _must_work(self, row: ResourceRow, username: str, password: Secret) -> TestResult:
        result = await self._try(row, username, password)
        must_pass(result)
        return result

    async def _same_target(self, session: AsyncSession, row: ResourceRow) -> None:
        """A password is kept for the deployment that the person saw: not if the resource was changed meanwhile."""
        again = await session.get(ResourceRow, row.id)
        if again is None or again.updated_at != row.updated_at:
            raise ProblemError(ProblemCode.CONFLICT, f"The resource {row.name} was changed meanwhile: try again.")

    async def _name_is_free(self, session: AsyncSession, row: ResourceRow, name: str) -> None:
        if await store.account_by_name(session, row.id, name) is not None:
            raise ProblemError(ProblemCode.CONFLICT, f"There is already an account {name} on {row.name}.")

    async def _seal(self, session: AsyncSession, account: AccountRow, password: Secret) -> bytes:
        table = AccountRow.__tablename__
        return await self._vault.seal(session, account.project_id, table, account.id, "password", password.reveal())

    async def _password(self, session: AsyncSession, account: AccountRow) -> Secret | None:
        return await open_password(session, self._vault, account)

    def _note_test(self, account: AccountRow, result: TestResult | None) -> None:
        account.tested_at = None if result is None else self._sources.now()
        account.test = None if result is None else result.model_dump(mode="json")

    async def _event(
        self, session: AsyncSession, actor: Actor, event: Event, account: AccountRow, details: dict[str, Any]
    ) -> None:
        await self._audit_log.append(
            session, actor.cause, event, account.id, project_id=account.project_id, details=details
        )


async def open_password(session: AsyncSession, vault: Vault, account: AccountRow) -> Secret | None:
    """The account's password, None where it must be entered again."""
    if account.sealed_password is None:
        return None
    table = AccountRow.__tablename__
    return await vault.open(session, account.project_id, table, account.id, "password", account.sealed_password)


def credentials_for(target: MongoTarget, username: str, password: Secret) -> Credentials:
    """What a gateway logs in with: the user of the account, by the mechanism that the connection string names."""
    mechanism = target.options.get("authMechanism", "DEFAULT")
    fields = {"username": username, "password": password.reveal_text(), "mechanism": mechanism}
    return Credentials.model_validate(fields)


def _changes(body: AccountUpdate) -> dict[str, Any]:
    """The columns to set (and `password`, a Secret) by name."""
    changes: dict[str, Any] = {}
    for field in body.model_fields_set:
        value = getattr(body, field)
        if value is None and field not in _NULLABLE:
            raise ProblemError(
                ProblemCode.INVALID_REQUEST,
                f"{field} can't be null: leave it out to keep it.",
                errors=[FieldError(field=field, message="Can't be null.")],
            )
        changes[field] = value
    if "max_duration" in changes:
        changes["max_duration_s"] = _seconds(changes.pop("max_duration"))
    if "password" in changes:
        changes["password"] = Secret(changes["password"].get_secret_value())
    return changes


def _seconds(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        duration: timedelta = durations.parse(text)
    except WardgateError as error:
        errors = [FieldError(field="max_duration", message=error.message)]
        raise ProblemError(ProblemCode.INVALID_DURATION, error.message, errors=errors) from error
    return int(duration.total_seconds())


def _facts(account: AccountRow, resource: str) -> dict[str, Any]:
    return {
        "name": account.name,
        "resource": resource,
        "username": account.username,
        "description": account.description,
        "require_mfa": account.require_mfa,
        "require_reason": account.require_reason,
        "allow_admin": account.allow_admin,
        "max_duration_s": account.max_duration_s,
    }


def _warnings(account: AccountRow, *, tested: bool) -> list[str]:
    found = [] if tested else [UNTESTED]
    if account.require_mfa:
        found.append(_NO_MFA)
    return found


def _visible_ids(actor: Actor, row: ResourceRow) -> frozenset[str] | None:
    """The accounts that the actor may read, None for all of the resource's."""
    if actor.may(Permission.ACCOUNT_DETAILS_READ, Scope(row.project_id, row.id)):
        return None
    held = [b.scope for b in actor.bindings if b.permits(Permission.ACCOUNT_DETAILS_READ)]
    return frozenset(scope.account_id for scope in held if scope.resource_id == row.id and scope.account_id)


def _unknown(resource: str, name: str) -> ProblemError:
    return not_found(f"account {name[:63]} on {resource[:63]}")


def _needs_password(account: AccountRow) -> ProblemError:
    return ProblemError(
        ProblemCode.ACCOUNT_NEEDS_PASSWORD,
        f"The password of the account {account.name} must be entered again first, because its resource was changed.",
    )
