"""Resources and accounts as access sees them: facts for its gates, and the credentials for a lease."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.machine import Credentials, MongoTarget
from ...api.problems import ProblemCode, ProblemError
from ..vault import Vault
from . import store
from .facts import AccountFacts
from .logins import open_login
from .mechanisms import must_be_entered_again
from .model import AccountRow, ResourceRow
from .ports import Gateways
from .service import target_of


class ResourceCatalogue:
    """Looks accounts up, and opens them."""

    def __init__(self, vault: Vault, gateways: Gateways) -> None:
        self._vault = vault
        self._gateways = gateways

    async def account_facts(
        self, session: AsyncSession, project_id: str, resource: str, account: str
    ) -> AccountFacts | None:
        """The account of that name on the resource of that name."""
        row = await store.resource_by_name(session, project_id, resource)
        found = None if row is None else await store.account_by_name(session, row.id, account)
        return None if row is None or found is None else await self._facts(session, row, found)

    async def account_facts_by_id(self, session: AsyncSession, account_id: str) -> AccountFacts | None:
        """The account as it is now, None if it is gone."""
        account = await session.get(AccountRow, account_id)
        row = None if account is None else await session.get(ResourceRow, account.resource_id)
        return None if row is None or account is None else await self._facts(session, row, account)

    async def open_account(self, session: AsyncSession, account_id: str) -> tuple[MongoTarget, Credentials]:
        """The deployment, and the credentials unsealed; ProblemError `lease_refused` where there are none."""
        account = await session.get(AccountRow, account_id)
        row = None if account is None else await session.get(ResourceRow, account.resource_id)
        if account is None or row is None:
            raise ProblemError(ProblemCode.LEASE_REFUSED, "The account of this session is gone.")
        if must_be_entered_again(account):
            raise ProblemError(
                ProblemCode.LEASE_REFUSED,
                f"The password (or client certificate) of the account {account.name} must be entered again first.",
            )
        target = target_of(row)
        return target, (await open_login(session, self._vault, account)).credentials(target)

    async def _facts(self, session: AsyncSession, row: ResourceRow, account: AccountRow) -> AccountFacts:
        return AccountFacts(
            project_id=row.project_id,
            resource_id=row.id,
            resource=row.name,
            account_id=account.id,
            account=account.name,
            gateway_id=row.gateway_id,
            gateway=await self._gateways.gateway_name(session, row.gateway_id),
            require_mfa=account.require_mfa,
            require_reason=account.require_reason,
            require_approval=account.require_approval,
            allow_admin=account.allow_admin,
            needs_password=must_be_entered_again(account),
            max_duration=_span(account.max_duration_s),
            idle_timeout=_span(account.idle_timeout_s),
            max_sessions=account.max_sessions,
        )


def _span(seconds: int | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)
