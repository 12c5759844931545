"""Services as administrators keep them: made, shown, changed, disabled, removed, and what they prove themselves with.

Laws: a secret is shown once and kept as a hash; several may be good at a time, so that a new one can be put in place
before the old one goes. Whoever makes a credential of a service can act as it, so they must be able to give each of its
roles for as long as the credential lasts. Whatever a service loses, the sessions that stood on it end: whoever watches
rights (`on_rights_lost`) is told after the commit.
"""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from sqlalchemy.ext.asyncio import AsyncSession

from ... import durations
from ...api.models import Page
from ...api.problems import FieldError, ProblemCode, ProblemError
from ...api.workloads import (
    SecretCreate,
    SecretCreated,
    Service,
    ServiceCreate,
    ServiceDetails,
    ServiceSecret,
    ServiceUpdate,
    Trust,
    TrustCreate,
)
from ...errors import WardgateError
from ...ids import Kind
from ..audit_log import AuditLog, Event
from ..db import Database
from ..identity import store as identities
from ..identity.actor import Actor, not_found
from ..identity.giving import must_be_able_to_give_all
from ..identity.holders import ServiceRow
from ..identity.sign_ins import hash_of, roles_of
from ..oidc import Issuers
from ..paging import Paging, page_of
from ..sources import Sources
from . import store
from .conditions import check_conditions, networks_text, scopes_text
from .model import ConditionRow, ServiceSecretRow, TrustRow

SECRET_PREFIX: Final = "wgk1_"  # noqa: S105 - so that a scanner for leaked secrets knows one when it sees it
_SECRET_BYTES: Final = 32
_LONGEST: Final = timedelta(days=3_650)
_MOST_SECRETS: Final = 10
_MOST_TRUSTS: Final = 20


class WorkloadService:
    """Every method's permission was the route's question; services have one place, the organisation."""

    def __init__(
        self, database: Database, audit_log: AuditLog, sources: Sources, issuers: Issuers, public_url: str
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._issuers = issuers
        self._public_url = public_url
        self.on_rights_lost: list[Callable[[], None]] = []

    # --- services -------------------------------------------------------------------------------------------------

    async def create(self, actor: Actor, body: ServiceCreate) -> ServiceDetails:
        """A new service. ProblemError `conflict`, `invalid_duration` or `invalid_request`."""
        row = ServiceRow(
            id=self._sources.new_id(Kind.SERVICE),
            name=body.name,
            description=body.description,
            scopes=scopes_text(body.scopes),
            networks=networks_text(body.networks),
            created_at=self._sources.now(),
            created_by=actor.user_id,
            expires_at=self._until(body.duration),
        )
        async with self._database.write() as session:
            await self._name_is_free(session, body.name)
            session.add(row)
            await session.flush()
            await self._note(session, actor, Event.SERVICE_CREATED, row, _facts(row))
            return await self._details(session, row)

    async def page(self, paging: Paging) -> Page[Service]:
        """All services."""
        async with self._database.read() as session:
            rows = await store.services(session, after=paging.after, limit=paging.limit + 1)
            shown = {row.id: await self._describe(session, row) for row in rows}
        return page_of(rows, paging, lambda row: shown[row.id], lambda row: row.id)

    async def get(self, service: str) -> ServiceDetails:
        """One service by id or name; ProblemError `not_found`."""
        async with self._database.read() as session:
            return await self._details(session, await self.must_exist(session, service))

    async def must_exist(self, session: AsyncSession, service: str) -> ServiceRow:
        """The row of a service by id or name; ProblemError `not_found`."""
        row = await store.service(session, service)
        if row is None:
            raise not_found(f"service {service[:80]}")
        return row

    async def update(self, actor: Actor, service: str, body: ServiceUpdate) -> ServiceDetails:
        """Change the fields that were set: what it loses ends at once, what it gains the actor must be able to give."""
        changes = self._changes(body)
        async with self._database.write() as session:
            row = await self.must_exist(session, service)
            before = _facts(row)
            if changes.get("name", row.name) != row.name:
                await self._name_is_free(session, changes["name"])
            for name, value in changes.items():
                setattr(row, name, value)
            await session.flush()
            await self._must_be_able_to_give(session, actor, row, row.expires_at)
            details = {"before": before, "after": _facts(row)}
            await self._note(session, actor, Event.SERVICE_UPDATED, row, details)
            described = await self._details(session, row)
        self._rights_lost()
        return described

    async def disable(self, actor: Actor, service: str) -> ServiceDetails:
        """Keep a service out; its tokens and sessions end."""
        return await self._turn(actor, service, on=False)

    async def enable(self, actor: Actor, service: str) -> ServiceDetails:
        """Let it in again, with the roles and credentials that it had."""
        return await self._turn(actor, service, on=True)

    async def _turn(self, actor: Actor, service: str, *, on: bool) -> ServiceDetails:
        async with self._database.write() as session:
            row = await self.must_exist(session, service)
            if (row.disabled_at is None) != on:
                if on:
                    await self._must_be_able_to_give(session, actor, row, row.expires_at)
                row.disabled_at = None if on else self._sources.now()
                await session.flush()
                await self._note(session, actor, Event.SERVICE_ENABLED if on else Event.SERVICE_DISABLED, row, {})
            described = await self._details(session, row)
        self._rights_lost()
        return described

    async def delete(self, actor: Actor, service: str) -> None:
        """Remove it with its credentials and roles. What it did stays written under its name."""
        async with self._database.write() as session:
            row = await self.must_exist(session, service)
            await self._note(session, actor, Event.SERVICE_DELETED, row, {})
            await session.delete(row)
        self._rights_lost()

    # --- client secrets -------------------------------------------------------------------------------------------

    async def create_secret(self, actor: Actor, service: str, body: SecretCreate) -> SecretCreated:
        """A further secret. ProblemError `not_found`, `forbidden`, `invalid_duration` or `conflict`."""
        now, expires_at = self._sources.now(), self._until(body.duration)
        retired_at = self._until(body.retire_others)
        random = base64.urlsafe_b64encode(self._sources.randomness(_SECRET_BYTES)).rstrip(b"=").decode()
        secret = SECRET_PREFIX + random
        async with self._database.write() as session:
            row = await self.must_exist(session, service)
            await self._must_be_able_to_give(session, actor, row, expires_at)
            if len(await store.secrets(session, row.id, now)) >= _MOST_SECRETS:
                raise ProblemError(ProblemCode.CONFLICT, f"{row.name} has {_MOST_SECRETS} secrets: revoke one first.")
            if retired_at is not None:
                await store.retire_secrets(session, row.id, retired_at)
            made = ServiceSecretRow(
                id=self._sources.new_id(Kind.SECRET),
                service_id=row.id,
                hash=hash_of(secret.encode()),
                created_at=now,
                created_by=actor.user_id,
                expires_at=expires_at,
            )
            session.add(made)
            await session.flush()
            details = {"secret": made.id, "expires_at": _iso(expires_at), "others_end_at": _iso(retired_at)}
            await self._note(session, actor, Event.SERVICE_SECRET_CREATED, row, details)
        return SecretCreated(**_secret(made).model_dump(), secret=secret)

    async def revoke_secret(self, actor: Actor, service: str, secret_id: str) -> None:
        """Take a secret back: its tokens and the sessions that stood on it end. ProblemError `not_found`."""
        async with self._database.write() as session:
            row = await self.must_exist(session, service)
            secret = await session.get(ServiceSecretRow, secret_id)
            if secret is None or secret.service_id != row.id:
                raise not_found(f"secret {secret_id[:64]} of the service {row.name}")
            await session.delete(secret)
            await self._note(session, actor, Event.SERVICE_SECRET_REVOKED, row, {"secret": secret.id})
        self._rights_lost()

    # --- signed tokens of other issuers ---------------------------------------------------------------------------

    async def add_trust(self, actor: Actor, service: str, body: TrustCreate) -> Trust:
        """Take an issuer's tokens as this service's. The issuer is asked for its keys first.

        ProblemError `not_found`, `forbidden`, `conflict`, or `invalid_request` where the issuer can't be used.
        """
        check_conditions(body.conditions)
        await self._must_answer(body.issuer)
        made = TrustRow(
            id=self._sources.new_id(Kind.TRUST),
            issuer=body.issuer,
            audience=body.audience or self._public_url,
            created_at=self._sources.now(),
            created_by=actor.user_id,
        )
        async with self._database.write() as session:
            row = await self.must_exist(session, service)
            await self._must_be_able_to_give(session, actor, row, None)
            if len(await store.trusts(session, row.id)) >= _MOST_TRUSTS:
                raise ProblemError(ProblemCode.CONFLICT, f"{row.name} has {_MOST_TRUSTS} trusts: remove one first.")
            made.service_id = row.id
            session.add(made)
            await session.flush()
            session.add_all(ConditionRow(trust_id=made.id, claim=c, pattern=p) for c, p in body.conditions.items())
            details = {
                "trust": made.id,
                "issuer": made.issuer,
                "audience": made.audience,
                "conditions": body.conditions,
            }
            await self._note(session, actor, Event.SERVICE_TRUST_ADDED, row, details)
        return _trust(store.Trust(made, body.conditions))

    async def _must_answer(self, issuer: str) -> None:
        try:
            self._issuers.check(issuer)
            await self._issuers.metadata(issuer)
        except WardgateError as error:
            raise ProblemError(
                ProblemCode.INVALID_REQUEST,
                f"The issuer can't be used: {error.message}",
                errors=[FieldError(field="issuer", message=error.message)],
            ) from None

    async def remove_trust(self, actor: Actor, service: str, trust_id: str) -> None:
        """Take no more of its tokens; what stood on them ends. ProblemError `not_found`."""
        async with self._database.write() as session:
            row = await self.must_exist(session, service)
            trust = await session.get(TrustRow, trust_id)
            if trust is None or trust.service_id != row.id:
                raise not_found(f"trust {trust_id[:64]} of the service {row.name}")
            await session.delete(trust)
            details = {"trust": trust.id, "issuer": trust.issuer}
            await self._note(session, actor, Event.SERVICE_TRUST_REMOVED, row, details)
        self._rights_lost()

    # --- parts ----------------------------------------------------------------------------------------------------

    async def _must_be_able_to_give(
        self, session: AsyncSession, actor: Actor, row: ServiceRow, until: datetime | None
    ) -> None:
        ends = [end for end in (row.expires_at, until) if end is not None]
        held = await identities.held_by(session, row.id, self._sources.now())
        must_be_able_to_give_all(actor, held, min(ends, default=None))

    def _changes(self, body: ServiceUpdate) -> dict[str, Any]:
        changes = body.model_dump(exclude_unset=True, exclude={"duration", "networks", "scopes"})
        if "networks" in body.model_fields_set:
            changes["networks"] = networks_text(body.networks)
        if "scopes" in body.model_fields_set:
            changes["scopes"] = scopes_text(body.scopes)
        if "duration" in body.model_fields_set:
            changes["expires_at"] = self._until(body.duration)
        return changes

    def _until(self, duration: str | None) -> datetime | None:
        if duration is None:
            return None
        try:
            return self._sources.now() + durations.parse(duration, longest=_LONGEST, what="a service")
        except WardgateError as error:
            raise ProblemError(ProblemCode.INVALID_DURATION, error.message) from None

    async def _name_is_free(self, session: AsyncSession, name: str) -> None:
        if await store.service(session, name) is not None:
            raise ProblemError(ProblemCode.CONFLICT, f"There is already a service {name}.")

    async def _note(
        self, session: AsyncSession, actor: Actor, event: Event, row: ServiceRow, details: dict[str, Any]
    ) -> None:
        await self._audit_log.append(session, actor.cause, event, row.id, details={"service": row.name, **details})

    async def _describe(self, session: AsyncSession, row: ServiceRow) -> Service:
        now = self._sources.now()
        return Service(
            id=row.id,
            name=row.name,
            description=row.description,
            status=_status(row, now),
            scopes=row.scopes.split(),
            networks=row.networks.split(),
            created_at=row.created_at,
            created_by=row.created_by,
            expires_at=row.expires_at,
            disabled_at=row.disabled_at,
            roles=roles_of(await identities.held_by(session, row.id, now)),
        )

    async def _details(self, session: AsyncSession, row: ServiceRow) -> ServiceDetails:
        described = await self._describe(session, row)
        secrets = await store.secrets(session, row.id, self._sources.now())
        return ServiceDetails(
            **described.model_dump(),
            secrets=[_secret(secret) for secret in secrets],
            trusts=[_trust(trust) for trust in await store.trusts(session, row.id)],
        )

    def _rights_lost(self) -> None:
        for told in self.on_rights_lost:
            told()


def _status(row: ServiceRow, now: datetime) -> Literal["active", "disabled", "expired"]:
    if row.disabled_at is not None:
        return "disabled"
    return "expired" if row.expires_at is not None and row.expires_at <= now else "active"


def _facts(row: ServiceRow) -> dict[str, Any]:
    return {
        "name": row.name,
        "description": row.description,
        "scopes": row.scopes,
        "networks": row.networks,
        "expires_at": _iso(row.expires_at),
    }


def _iso(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


def _secret(row: ServiceSecretRow) -> ServiceSecret:
    return ServiceSecret(
        id=row.id,
        created_at=row.created_at,
        created_by=row.created_by,
        expires_at=row.expires_at,
        used_at=row.used_at,
    )


def _trust(trust: store.Trust) -> Trust:
    row = trust.row
    return Trust(
        id=row.id,
        issuer=row.issuer,
        audience=row.audience,
        conditions=trust.conditions,
        created_at=row.created_at,
        created_by=row.created_by,
        used_at=row.used_at,
    )
