"""Accounts: the MongoDB users of a resource. A secret goes in, is sealed byte for byte, and comes out in leases only.

Law: no answer, event or log holds a password or a private key; the login hop of the test is tried whenever anything of
the login is new.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from ... import durations
from ...api.models import Account, AccountCreate, AccountUpdate, Page, TestResult
from ...api.problems import FieldError, ProblemCode, ProblemError
from ...errors import WardgateError
from ...ids import Kind
from ..audit_log import AuditLog, Event
from ..db import Database
from ..identity.actor import Actor, Scope, not_found
from ..identity.permissions import Permission
from ..paging import Paging, page_of
from ..sources import Sources
from ..vault import Vault
from . import store
from .describe import UNTESTED, describe_account
from .logins import LOGIN_FIELDS, AccountLogin, changed, login_of, open_login, store_login
from .mechanisms import must_be_entered_again
from .model import AccountRow, ResourceRow
from .ports import Gateways, Tester, must_pass
from .service import ResourceService, target_of

_NULLABLE = frozenset({"client_certificate", "idle_timeout", "max_duration", "max_sessions"})
_EXPIRES_SOON = timedelta(days=30)


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
        self.on_rights_lost: list[Callable[[], None]] = []

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
        longest, idle = _seconds("max_duration", body.max_duration), _seconds("idle_timeout", body.idle_timeout)
        login = login_of(body, self._sources.now())
        permission = Permission.RESOURCE_ACCOUNT_CREATE
        async with self._database.read() as session:
            row = await self._resources.find(session, actor, project_id, resource, permission)
            actor.require(permission, Scope(project_id, row.id), what=f"resource {resource} in this project")
            await self._name_is_free(session, row, body.name)
        login.check(row, body.username)
        result = None if no_test else await self._must_work(row, login)
        now = self._sources.now()
        account = AccountRow(
            id=self._sources.new_id(Kind.ACCOUNT),
            project_id=project_id,
            resource_id=row.id,
            name=body.name,
            description=body.description,
            mechanism=login.mechanism.value,
            username=login.username,
            require_mfa=body.require_mfa,
            require_reason=body.require_reason,
            require_approval=body.require_approval,
            allow_admin=body.allow_admin,
            max_duration_s=longest,
            idle_timeout_s=idle,
            max_sessions=body.max_sessions,
            created_at=now,
            updated_at=now,
        )
        self._note_test(account, result)
        async with self._database.write() as session:
            await self._same_target(session, row)
            await self._name_is_free(session, row, body.name)
            await store_login(session, self._vault, account, login)
            session.add(account)
            await session.flush()
            await self._event(session, actor, Event.ACCOUNT_CREATED, account, _facts(account, row.name))
        return describe_account(account, row.name, self._warnings(account, tested=result is not None))

    async def update(
        self, actor: Actor, project_id: str, resource: str, name: str, body: AccountUpdate, *, no_test: bool
    ) -> Account:
        """Change the fields that were set; whatever is new in the login is tried first."""
        changes = _changes(body)
        permission = Permission.ACCOUNT_DETAILS_UPDATE
        login_changes = bool(LOGIN_FIELDS & body.model_fields_set)
        login = result = None
        async with self._database.read() as session:
            row, account = await self._find(session, actor, project_id, resource, name, permission)
            seen = account.updated_at
            _is_unchanged(account, body.if_updated_at or seen)
            if login_changes:  # no secret leaves the vault for a new description
                login = await open_login(session, self._vault, account)
        if login is not None:
            login = changed(login, body, self._sources.now())
            login.check(row, body.username)
            result = None if no_test else await self._must_work(row, login)
        async with self._database.write() as session:
            await self._same_target(session, row)
            row, account = await self._find(session, actor, project_id, resource, name, permission)
            before = _facts(account, row.name)
            if login is not None or body.if_updated_at is not None:
                _is_unchanged(account, seen)
            for field, value in changes.items():
                setattr(account, field, value)
            account.updated_at = self._sources.now()
            if login is not None:
                await store_login(session, self._vault, account, login)
                self._note_test(account, result)
            await session.flush()
            after = {
                **_facts(account, row.name),
                "password_changed": body.password is not None,
                "client_certificate_changed": "client_certificate" in body.model_fields_set,
            }
            await self._event(session, actor, Event.ACCOUNT_UPDATED, account, {"before": before, "after": after})
        self._rights_lost()  # it may ask for more now than its sessions have shown
        tested = login is None or result is not None
        return describe_account(account, row.name, self._warnings(account, tested=tested))

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
        self._rights_lost()

    async def test(self, actor: Actor, project_id: str, resource: str, name: str) -> TestResult:
        """Try its login as it is saved, and remember what came out."""
        async with self._database.read() as session:
            row, account = await self._find(session, actor, project_id, resource, name, Permission.ACCOUNT_DETAILS_TEST)
            if must_be_entered_again(account):
                raise _needs_password(account)
            login = await open_login(session, self._vault, account)
        result = await self._try(row, login)
        async with self._database.write() as session:
            again = await session.get(AccountRow, account.id)
            if again is not None and again.updated_at == account.updated_at:
                self._note_test(again, result)
        return result

    # --- parts ----------------------------------------------------------------------------------------------------

    def _rights_lost(self) -> None:
        for told in self.on_rights_lost:
            told()

    async def _try(self, row: ResourceRow, login: AccountLogin) -> TestResult:
        async with self._database.read() as session:
            gateway = await self._gateways.gateway_name(session, row.gateway_id)
        target = target_of(row)
        return await self._tester.run(row.gateway_id, gateway, target, login.credentials(target))

    async def _must_work(self, row: ResourceRow, login: AccountLogin) -> TestResult:
        result = await self._try(row, login)
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

    def _note_test(self, account: AccountRow, result: TestResult | None) -> None:
        account.tested_at = None if result is None else self._sources.now()
        account.test = None if result is None else result.model_dump(mode="json")

    def _warnings(self, account: AccountRow, *, tested: bool) -> list[str]:
        found = [] if tested else [UNTESTED]
        expires = account.certificate_expires_at
        if expires is not None and expires - self._sources.now() < _EXPIRES_SOON:
            found.append(f"The client certificate expires on {expires:%Y-%m-%d}: nobody gets in with it after that.")
        return found

    async def _event(
        self, session: AsyncSession, actor: Actor, event: Event, account: AccountRow, details: dict[str, Any]
    ) -> None:
        await self._audit_log.append(
            session, actor.cause, event, account.id, project_id=account.project_id, details=details
        )


def _is_unchanged(account: AccountRow, seen: datetime) -> None:
    """What was saved since it was read (its login opened, its form shown) must not be undone by what is saved now."""
    if account.updated_at != seen:
        raise ProblemError(
            ProblemCode.CONFLICT,
            f"The account {account.name} was changed by somebody else meanwhile: look at it again.",
            context={"updated_at": account.updated_at.isoformat()},
        )


def _changes(body: AccountUpdate) -> dict[str, Any]:
    """The columns to set, by name, but for those of the login."""
    changes: dict[str, Any] = {}
    for field in body.model_fields_set - {"if_updated_at"}:
        value = getattr(body, field)
        if value is None and field not in _NULLABLE:
            raise ProblemError(
                ProblemCode.INVALID_REQUEST,
                f"{field} can't be null: leave it out to keep it.",
                errors=[FieldError(field=field, message="Can't be null.")],
            )
        if field not in LOGIN_FIELDS:
            changes[field] = value
    for field in {"idle_timeout", "max_duration"} & changes.keys():
        changes[f"{field}_s"] = _seconds(field, changes.pop(field))
    return changes


def _seconds(field: str, text: str | None) -> int | None:
    if text is None:
        return None
    try:
        duration: timedelta = durations.parse(text)
    except WardgateError as error:
        errors = [FieldError(field=field, message=error.message)]
        raise ProblemError(ProblemCode.INVALID_DURATION, error.message, errors=errors) from error
    return int(duration.total_seconds())


def _facts(account: AccountRow, resource: str) -> dict[str, Any]:
    return {
        "name": account.name,
        "resource": resource,
        "mechanism": account.mechanism,
        "username": account.username,
        "description": account.description,
        "require_mfa": account.require_mfa,
        "require_reason": account.require_reason,
        "require_approval": account.require_approval,
        "allow_admin": account.allow_admin,
        "max_duration_s": account.max_duration_s,
        "idle_timeout_s": account.idle_timeout_s,
        "max_sessions": account.max_sessions,
    }


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
        f"The password (or client certificate) of the account {account.name} must be entered again first, because its "
        "resource was changed.",
    )
