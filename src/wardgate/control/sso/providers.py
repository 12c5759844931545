"""Providers of single sign-on as administrators keep them, and the rule on passwords.

Laws: a provider speaks for everybody at its domains, so only a lasting administrator of the organisation adds or
changes one, and no domain has two. Its client secret is sealed and leaves for the provider's token endpoint alone: who
points a provider elsewhere enters it again. Whoever signed in by a provider that is taken away or disabled is signed
out. Passwords can be turned off only while a lasting administrator elsewhere could still come in with one: a provider
that is down must not lock everybody out.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from ... import durations
from ...api.problems import FieldError, ProblemCode, ProblemError
from ...api.sso import (
    GroupMapping,
    SsoCheck,
    SsoPolicy,
    SsoProvider,
    SsoProviderCreate,
    SsoProviderUpdate,
    SsoTest,
)
from ...errors import WardgateError
from ...ids import Kind
from ..audit_log import AuditLog, Event
from ..db import Database
from ..identity import store as identities
from ..identity.actor import ORGANISATION, Actor, not_found
from ..identity.giving import must_be_able_to_give
from ..identity.groups import GroupService
from ..identity.holders import GroupRow
from ..oidc import Issuers
from ..sources import Sources
from ..vault import Vault
from . import store
from .discovery import checks, metadata_of
from .model import SsoIdentityRow, SsoProviderRow

_LONGEST = timedelta(days=90)
_SECRET = "sealed_client_secret"  # noqa: S105 - a column
CALLBACK = "/sign-in/sso/{}/callback"


class ProviderService:
    """Every method's permission was the route's question; providers have one place, the organisation."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        sources: Sources,
        vault: Vault,
        issuers: Issuers,
        groups: GroupService,
        site: str,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._vault = vault
        self._issuers = issuers
        self._groups = groups
        self._site = site
        self.on_rights_lost: list[Callable[[], None]] = []

    # --- showing --------------------------------------------------------------------------------------------------

    async def list_all(self) -> list[SsoProvider]:
        """All providers."""
        async with self._database.read() as session:
            return [await self._describe(session, row) for row in await store.providers(session)]

    async def get(self, provider: str) -> SsoProvider:
        """One provider by id or name; ProblemError `not_found`."""
        async with self._database.read() as session:
            return await self._describe(session, await self._must_exist(session, provider))

    async def test(self, provider: str) -> SsoTest:
        """Ask the provider what it is; ProblemError `not_found`."""
        async with self._database.read() as session:
            row = await self._must_exist(session, provider)
        return await self._test(row.issuer)

    async def _test(self, issuer: str) -> SsoTest:
        try:
            found = checks(await metadata_of(self._issuers, issuer))
        except WardgateError as error:
            found = [SsoCheck(what="discovery", ok=False, message=error.message)]
        return SsoTest(ok=all(check.ok for check in found), checks=found)

    # --- changing -------------------------------------------------------------------------------------------------

    async def create(self, actor: Actor, body: SsoProviderCreate, *, test: bool = True) -> SsoProvider:
        """Add a provider, once it has answered. ProblemError `forbidden`, `conflict`, `invalid_request`,
        `invalid_duration` or `connection_test_failed`."""
        _must_last(actor)
        await self._must_be_usable(body.issuer, test)
        now = self._sources.now()
        row = SsoProviderRow(
            id=self._sources.new_id(Kind.PROVIDER),
            name=body.name,
            label=body.label,
            issuer=body.issuer,
            client_id=body.client_id,
            scopes=" ".join(body.scopes),
            groups_claim=body.groups_claim,
            create_users=body.create_users,
            trust_mfa=body.trust_mfa,
            lifetime_s=_seconds(body.lifetime),
            enabled=body.enabled,
            created_at=now,
        )
        _must_ask_for_openid(body.scopes)
        async with self._database.write() as session:
            if await store.provider(session, body.name) is not None:
                raise ProblemError(ProblemCode.CONFLICT, f"There is already a provider {body.name}.")
            session.add(row)
            await session.flush()
            if body.client_secret is not None:
                row.sealed_client_secret = await self._seal(session, row, body.client_secret.get_secret_value())
            await self._set_domains(session, row, body.domains)
            await self._set_mappings(session, row, body.mappings)
            await self._keep_a_way_in(session)
            described = await self._describe(session, row)
            await self._note(session, actor, Event.SSO_PROVIDER_CREATED, row, _facts(described))
        return described

    async def update(self, actor: Actor, provider: str, body: SsoProviderUpdate, *, test: bool = True) -> SsoProvider:
        """Change the fields that were set. As `create`, and ProblemError `not_found`."""
        _must_last(actor)
        changes = {name: getattr(body, name) for name in body.model_fields_set}
        _must_be_whole(changes)
        if body.issuer is not None:
            await self._must_be_usable(body.issuer, test)
        async with self._database.write() as session:
            row = await self._must_exist(session, provider)
            before = await self._describe(session, row)
            await self._apply(session, row, changes)
            await self._keep_a_way_in(session)
            after = await self._describe(session, row)
            if (before.enabled and not after.enabled) or before.issuer != after.issuer:
                await self._sign_out(session, actor, row, before.issuer)
            details = {"before": _facts(before), "after": _facts(after), "secret": "client_secret" in changes}
            await self._note(session, actor, Event.SSO_PROVIDER_UPDATED, row, details)
        self._rights_lost()
        return after

    async def _apply(self, session: AsyncSession, row: SsoProviderRow, changes: dict[str, Any]) -> None:
        moved = any(changes.get(name, getattr(row, name)) != getattr(row, name) for name in ("issuer", "client_id"))
        if moved and row.sealed_client_secret is not None and "client_secret" not in changes:
            raise _field("client_secret", "Another issuer or client id needs the client secret again.")
        for name in ("issuer", "client_id", "label", "groups_claim", "create_users", "trust_mfa", "enabled"):
            if name in changes:
                setattr(row, name, changes[name])
        if "scopes" in changes:
            _must_ask_for_openid(changes["scopes"])
            row.scopes = " ".join(changes["scopes"])
        if "lifetime" in changes:
            row.lifetime_s = _seconds(changes["lifetime"])
        if "client_secret" in changes:
            secret = changes["client_secret"]
            row.sealed_client_secret = (
                None if secret is None else await self._seal(session, row, secret.get_secret_value())
            )
        if "domains" in changes:
            await self._set_domains(session, row, changes["domains"])
        if "mappings" in changes:
            await self._set_mappings(session, row, changes["mappings"])
        await session.flush()

    async def delete(self, actor: Actor, provider: str) -> None:
        """Take a provider away; whoever signed in by it is signed out, and its memberships end."""
        _must_last(actor)
        async with self._database.write() as session:
            row = await self._must_exist(session, provider)
            await self._sign_out(session, actor, row, row.issuer)
            await self._note(session, actor, Event.SSO_PROVIDER_DELETED, row, {})
            await session.delete(row)
        self._rights_lost()

    async def _sign_out(self, session: AsyncSession, actor: Actor, row: SsoProviderRow, issuer: str) -> None:
        """End what stood on the provider's word: sign-ins, those that they let in, and memberships."""
        now = self._sources.now()
        for user_id in await session.scalars(select(SsoIdentityRow.user_id).where(SsoIdentityRow.issuer == issuer)):
            user = await identities.user_by_id(session, user_id)
            if user is not None:
                await identities.revoke_sso_sign_ins(session, user_id, now)
                await self._groups.set_memberships(session, actor.cause, user, row.id, ())
        others = [each for each in await store.providers(session) if each.issuer == issuer and each.id != row.id]
        if not others:
            await session.execute(delete(SsoIdentityRow).where(SsoIdentityRow.issuer == issuer))

    # --- the rule on passwords ------------------------------------------------------------------------------------

    async def policy(self) -> SsoPolicy:
        """The rule."""
        async with self._database.read() as session:
            return await store.policy(session)

    async def set_policy(self, actor: Actor, wanted: SsoPolicy) -> SsoPolicy:
        """Change the rule; ProblemError `conflict` where nobody could come in without a provider."""
        _must_last(actor)
        async with self._database.write() as session:
            before = await store.policy(session)
            await store.set_policy(session, wanted)
            await self._keep_a_way_in(session)
            details = {"before": before.model_dump(), "after": wanted.model_dump()}
            await self._audit_log.append(session, actor.cause, Event.SSO_POLICY_CHANGED, details=details)
        return wanted

    async def must_allow_password(self, email: str) -> None:
        """ProblemError `sso_required` where the address is of a provider's domain and passwords are off.

        It looks at the domain alone, so that it tells nothing of who exists.
        """
        domain = email.strip().lower().rpartition("@")[2]
        async with self._database.read() as session:
            if not (await store.policy(session)).passwords_off:
                return
            provider = await store.provider_of_domain(session, domain)
        if provider is not None:
            shown = provider.label or provider.name
            raise ProblemError(
                ProblemCode.SSO_REQUIRED,
                f"At {domain} one signs in with {shown}, not with a password: run wardgate login without --email.",
                context={"provider": provider.id},
            )

    async def _keep_a_way_in(self, session: AsyncSession) -> None:
        if not (await store.policy(session)).passwords_off:
            return
        for email in await store.owners_with_password(session):
            if await store.provider_of_domain(session, email.rpartition("@")[2]) is None:
                return
        raise ProblemError(
            ProblemCode.CONFLICT,
            "If a provider were down, nobody could sign in: with passwords off, one lasting administrator of the "
            "organisation needs a password and an address that no provider vouches for.",
        )

    # --- parts ----------------------------------------------------------------------------------------------------

    async def _must_exist(self, session: AsyncSession, provider: str) -> SsoProviderRow:
        row = await store.provider(session, provider)
        if row is None:
            raise not_found(f"provider {provider[:80]}")
        return row

    async def _must_be_usable(self, issuer: str, test: bool) -> None:
        try:
            self._issuers.check(issuer)
        except WardgateError as error:
            raise _field("issuer", error.message) from None
        if not test:
            return
        result = await self._test(issuer)
        if not result.ok:
            first = next(check.message for check in result.checks if not check.ok)
            raise ProblemError(
                ProblemCode.CONNECTION_TEST_FAILED, f"The issuer can't be used: {first}", context=result.model_dump()
            )

    async def _seal(self, session: AsyncSession, row: SsoProviderRow, secret: str) -> bytes:
        return await self._vault.seal(session, None, row.__tablename__, row.id, _SECRET, secret.encode())

    async def _set_domains(self, session: AsyncSession, row: SsoProviderRow, wanted: list[str]) -> None:
        taken = await store.set_domains(session, row.id, wanted)
        if taken is not None:
            raise ProblemError(ProblemCode.CONFLICT, f"Another provider vouches for {taken} already.")

    async def _set_mappings(self, session: AsyncSession, row: SsoProviderRow, wanted: list[GroupMapping]) -> None:
        pairs = [(each.value, (await self._groups.must_exist(session, each.group)).id) for each in wanted]
        await store.set_mappings(session, row.id, pairs)

    async def _note(
        self, session: AsyncSession, actor: Actor, event: Event, row: SsoProviderRow, details: dict[str, Any]
    ) -> None:
        await self._audit_log.append(session, actor.cause, event, row.id, details={"provider": row.name, **details})

    def _rights_lost(self) -> None:
        for told in self.on_rights_lost:
            told()

    async def _describe(self, session: AsyncSession, row: SsoProviderRow) -> SsoProvider:
        shown = []
        for mapping in await store.mappings(session, row.id):
            group = await session.get(GroupRow, mapping.group_id)
            if group is not None:
                shown.append(GroupMapping(value=mapping.value, group=group.name))
        lifetime = None if row.lifetime_s is None else durations.format(timedelta(seconds=row.lifetime_s))
        return SsoProvider(
            id=row.id,
            name=row.name,
            label=row.label or row.name,
            issuer=row.issuer,
            client_id=row.client_id,
            has_secret=row.sealed_client_secret is not None,
            redirect_uri=self._site + CALLBACK.format(row.id),
            domains=await store.domains(session, row.id),
            scopes=row.scopes.split(),
            groups_claim=row.groups_claim,
            mappings=shown,
            create_users=row.create_users,
            trust_mfa=row.trust_mfa,
            lifetime=lifetime,
            enabled=row.enabled,
            created_at=row.created_at,
        )


def _facts(provider: SsoProvider) -> dict[str, Any]:
    """What the audit log keeps of a provider."""
    return provider.model_dump(mode="json", exclude={"id", "created_at", "redirect_uri"})


def _must_last(actor: Actor) -> None:
    must_be_able_to_give(actor, ORGANISATION, None, what="organisation")


def _must_be_whole(changes: dict[str, Any]) -> None:
    """Null stands for "none" where there can be none, and for nothing else."""
    for name, value in changes.items():
        if value is None and name not in ("lifetime", "client_secret"):
            raise _field(name, "This can't be empty.")


def _must_ask_for_openid(scopes: list[str]) -> None:
    if "openid" not in scopes:
        raise _field("scopes", "“openid” must be among them.")


def _seconds(lifetime: str | None) -> int | None:
    if lifetime is None:
        return None
    try:
        return int(durations.parse(lifetime, longest=_LONGEST, what="a sign-in").total_seconds())
    except WardgateError as error:
        raise ProblemError(ProblemCode.INVALID_DURATION, error.message) from None


def _field(name: str, message: str) -> ProblemError:
    return ProblemError(ProblemCode.INVALID_REQUEST, message, errors=[FieldError(field=name, message=message)])
