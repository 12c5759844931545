"""Exchanging what a service proves itself with for a short token.

Laws: whatever is wrong with a credential, the answer is one sentence, and the reason is in the audit log of the service
that was named; a workload token is taken once. Failures cost the address that they come from, as guesses of passwords
do, and right ones cost nothing. What a token may do is the smaller of what the service may and what was asked for.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.problems import ProblemCode, ProblemError
from ...api.workloads import ServiceToken, ServiceTokenRequest
from ...errors import WardgateError
from ...numbers import Numbers
from ..audit_log import AuditLog, Cause, Event
from ..db import Database
from ..identity.holders import ServiceRow
from ..identity.limits import TokenBuckets, network_of
from ..identity.permissions import ServiceScope
from ..identity.sign_ins import hash_of
from ..oidc import Claims, Expected, Issuers, issuer_of
from ..sources import Sources
from . import store
from .conditions import comes_from, scopes_of, scopes_text, unmet
from .model import ServiceSecretRow, ServiceTokenRow, SpentTokenRow, TrustRow

TOKEN_PREFIX: Final = "wgt1_"  # noqa: S105 - the beginning of a token
_TOKEN_BYTES: Final = 32
_SPENT_GRACE: Final = timedelta(minutes=5)  # beyond the end of a token, for clocks that differ


@dataclass(frozen=True, slots=True)
class _Shown:
    """What was shown and holds. `expires_at` is the credential's own end; `spent` is kept so that it is not taken
    again."""

    service_id: str
    secret_id: str | None
    trust_id: str | None
    expires_at: datetime | None
    spent: SpentTokenRow | None = None


class _NoError(Exception):
    """Not this one. `service_id` is whose it would have been, where that is known; `why` is for the audit log."""

    def __init__(self, why: str, service_id: str | None = None) -> None:
        super().__init__(why)
        self.why = why
        self.service_id = service_id


class TokenExchange:
    """The public door of services."""

    def __init__(
        self, database: Database, audit_log: AuditLog, sources: Sources, numbers: Numbers, issuers: Issuers
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._numbers = numbers
        self._issuers = issuers
        self._attempts = TokenBuckets(burst=50, per_second=1.0)

    async def exchange(self, body: ServiceTokenRequest, cause: Cause) -> ServiceToken:
        """A token. ProblemError `invalid_credentials`, `network_refused`, `forbidden` or `rate_limited`."""
        network = network_of(cause.address or "unknown")
        wait = self._attempts.take(network, self._sources.now().timestamp())
        if wait > 0:
            seconds = max(1, round(wait))
            message = f"Too many attempts from here: wait {seconds} s and try again."
            raise ProblemError(ProblemCode.RATE_LIMITED, message, context={"retry_after_s": seconds})
        try:
            shown = await self._judge(body)
            token = await self._issue(shown, body, cause)
        except _NoError as error:
            details = {"why": error.why}
            async with self._database.write() as session:
                await self._audit_log.append(session, cause, Event.SERVICE_REFUSED, error.service_id, details=details)
            raise _invalid() from None
        self._attempts.give_back(network)
        return token

    # --- judging --------------------------------------------------------------------------------------------------

    async def _judge(self, body: ServiceTokenRequest) -> _Shown:
        if body.secret is not None:
            return await self._judge_secret(body.secret.get_secret_value(), body.service)
        assert body.workload_token is not None
        assert body.service is not None
        return await self._judge_workload(body.workload_token.get_secret_value(), body.service)

    async def _judge_secret(self, secret: str, service: str | None) -> _Shown:
        async with self._database.read() as session:
            found = await store.by_secret(session, hash_of(secret.encode()))
        if found is None:
            raise _NoError("unknown secret")
        row, held = found
        if service is not None and service not in (row.id, row.name):
            raise _NoError("a secret of another service", row.id)
        if held.expires_at is not None and held.expires_at <= self._sources.now():
            raise _NoError("the secret has expired", row.id)
        return _Shown(row.id, held.id, None, held.expires_at)

    async def _judge_workload(self, token: str, service: str) -> _Shown:
        async with self._database.read() as session:
            row = await store.service(session, service)
            trusts = [] if row is None else await store.trusts(session, row.id)
        if row is None:
            raise _NoError("unknown service")
        issuer, why = issuer_of(token), "the service does not trust its issuer"
        for trust in trusts:
            if trust.row.issuer != issuer:
                continue
            try:
                claims = await self._issuers.verify(token, Expected(trust.row.issuer, trust.row.audience))
            except WardgateError as error:
                why = error.message
                continue
            failed = unmet(trust.conditions, claims.values)
            if failed is None:
                return _Shown(row.id, None, trust.row.id, None, _spent(trust.row.issuer, claims))
            why = f"the claim {failed} is not what it must be"
        raise _NoError(why, row.id)

    # --- issuing --------------------------------------------------------------------------------------------------

    async def _issue(self, shown: _Shown, body: ServiceTokenRequest, cause: Cause) -> ServiceToken:
        now = self._sources.now()
        refused: ProblemError | None = None
        async with self._database.write() as session:
            row = await self._standing(session, shown, now)
            who = replace(cause, actor=row.name, actor_id=row.id)
            scopes = self._scopes(row, body)
            if not comes_from(row.networks, cause.address):
                refused = network_refused(row.name, cause.address)
            elif not scopes:
                refused = ProblemError(ProblemCode.FORBIDDEN, f"The service {row.name} has none of these scopes.")
            if refused is not None:
                details = {"service": row.name, "why": refused.code}
                await self._audit_log.append(session, who, Event.SERVICE_REFUSED, row.id, details=details)
            else:
                token = await self._add(session, row, shown, scopes, who, now)
        if refused is not None:
            raise refused
        return token

    async def _standing(self, session: AsyncSession, shown: _Shown, now: datetime) -> ServiceRow:
        """The service, if it and the credential are still there and good, the latter for the first time."""
        row = await session.get(ServiceRow, shown.service_id)
        if row is None or row.disabled_at is not None or (row.expires_at is not None and row.expires_at <= now):
            raise _NoError("the service is disabled or has expired", shown.service_id)
        used = (
            await session.get(ServiceSecretRow, shown.secret_id)
            if shown.secret_id is not None
            else await session.get(TrustRow, shown.trust_id)
        )
        if used is None:
            raise _NoError("the credential was just taken back", row.id)
        if shown.spent is not None:
            if await session.get(SpentTokenRow, shown.spent.hash) is not None:
                raise _NoError("the token was exchanged before", row.id)
            session.add(shown.spent)
        used.used_at = now
        await session.flush()
        return row

    async def _add(
        self,
        session: AsyncSession,
        row: ServiceRow,
        shown: _Shown,
        scopes: frozenset[ServiceScope],
        cause: Cause,
        now: datetime,
    ) -> ServiceToken:
        token = TOKEN_PREFIX + base64.urlsafe_b64encode(self._sources.randomness(_TOKEN_BYTES)).rstrip(b"=").decode()
        longest = now + timedelta(seconds=self._numbers.service_token)
        expires_at = min(end for end in (longest, row.expires_at, shown.expires_at) if end is not None)
        session.add(
            ServiceTokenRow(
                hash=hash_of(token.encode()),
                service_id=row.id,
                secret_id=shown.secret_id,
                trust_id=shown.trust_id,
                scopes=scopes_text(scopes),
                address=cause.address,
                created_at=now,
                expires_at=expires_at,
            )
        )
        await session.flush()
        details = {"service": row.name, "for": shown.secret_id or shown.trust_id, "scopes": scopes_text(scopes)}
        await self._audit_log.append(session, cause, Event.SERVICE_TOKEN_ISSUED, row.id, details=details)
        return ServiceToken(
            access_token=token,
            expires_at=expires_at,
            scopes=scopes_text(scopes).split(),
            service_id=row.id,
            service=row.name,
        )

    @staticmethod
    def _scopes(row: ServiceRow, body: ServiceTokenRequest) -> frozenset[ServiceScope]:
        return scopes_of(row.scopes) if body.scopes is None else scopes_of(row.scopes, scopes_text(body.scopes))

    async def sweep(self) -> None:
        """Forget what is over; run now and then."""
        async with self._database.write() as session:
            await store.delete_expired(session, self._sources.now())


def _spent(issuer: str, claims: Claims) -> SpentTokenRow:
    """What a workload token is known by: its `jti`, or where it has none, all that it says."""
    name = claims.text("jti") or json.dumps(claims.values, sort_keys=True)
    digest = hashlib.sha256(json.dumps([issuer, name]).encode()).digest()
    return SpentTokenRow(hash=digest, expires_at=claims.expires_at + _SPENT_GRACE)


def network_refused(service: str, address: str | None) -> ProblemError:
    """The service may not act from there."""
    return ProblemError(
        ProblemCode.NETWORK_REFUSED,
        f"The service {service} may not be used from {address or 'an unknown address'}: its networks say so.",
    )


def _invalid() -> ProblemError:
    return ProblemError(
        ProblemCode.INVALID_CREDENTIALS,
        "The service's secret or token is not accepted: the reason is in the control plane's audit log.",
    )
