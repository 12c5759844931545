"""Who a token stands for, be it a person's or a service's, and what either of them still may.

Laws: a service's networks are asked at every request and, for its live sessions, again and again; its roles count only
within its scopes; and once it, or the credential that its token was given for, is gone, disabled or over, it has none.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncSession

from ...ids import Kind, is_id
from ..audit_log import Cause
from ..db import Database
from ..identity import store as identities
from ..identity.actor import Actor, Binding
from ..identity.holders import ServiceRow
from ..identity.permissions import within
from ..identity.service import IdentityService
from ..identity.sign_ins import SignInService, hash_of, not_logged_in
from ..sources import Sources
from . import store
from .conditions import comes_from, scopes_of
from .exchange import TOKEN_PREFIX, network_refused


class Authentication:
    """The authenticator of the API (`identity.guard`)."""

    def __init__(self, sign_ins: SignInService, rights: Rights, database: Database, sources: Sources) -> None:
        self._sign_ins = sign_ins
        self._rights = rights
        self._database = database
        self._sources = sources

    async def authenticate(self, token: str, cause: Cause) -> Actor:
        """The actor that `token` stands for. ProblemError `not_logged_in`, or `network_refused` for a service."""
        if not token.startswith(TOKEN_PREFIX):
            return await self._sign_ins.authenticate(token, cause)
        now = self._sources.now()
        async with self._database.read() as session:
            found = await store.by_token(session, hash_of(token.encode()), now)
            if found is None:
                raise not_logged_in()
            row, held = found
            credential = held.secret_id or held.trust_id or ""
            if not await self._rights.stands(session, row, credential):
                raise not_logged_in()
            bindings = await self._rights.within_scopes(session, row, held.scopes)
        if not comes_from(row.networks, cause.address):
            raise network_refused(row.name, cause.address)
        return Actor(row.id, row.name, credential, replace(cause, actor=row.name, actor_id=row.id), bindings)


class Rights:
    """`access.ports.People`."""

    def __init__(self, identity: IdentityService, sign_ins: SignInService, sources: Sources) -> None:
        self._identity = identity
        self._sign_ins = sign_ins
        self._sources = sources

    async def bindings_of(
        self, session: AsyncSession, identity_id: str, *, sign_in_id: str | None, address: str | None
    ) -> tuple[Binding, ...]:
        """What a user or service has now: none if gone, disabled or over, signed out, or no longer allowed there."""
        if not is_id(identity_id, Kind.SERVICE):
            signed_out = sign_in_id is not None and await self._sign_ins.was_ended(session, sign_in_id)
            return () if signed_out else await self._identity.user_bindings(session, identity_id)
        row = await session.get(ServiceRow, identity_id)
        if row is None or sign_in_id is None or not comes_from(row.networks, address):
            return ()
        if not await self.stands(session, row, sign_in_id):
            return ()
        return await self.within_scopes(session, row, row.scopes)

    async def stands(self, session: AsyncSession, row: ServiceRow, credential_id: str) -> bool:
        """Whether a service may act with that credential."""
        now = self._sources.now()
        if row.disabled_at is not None or (row.expires_at is not None and row.expires_at <= now):
            return False
        return await store.credential_stands(session, row.id, credential_id, now)

    async def within_scopes(self, session: AsyncSession, row: ServiceRow, scopes: str) -> tuple[Binding, ...]:
        """A service's roles, as far as its scopes and these let them count."""
        only = within(scopes_of(row.scopes, scopes))
        held = await identities.held_by(session, row.id, self._sources.now())
        return tuple(replace(binding, only=only) for binding in held)
