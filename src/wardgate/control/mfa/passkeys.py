"""Passkeys as they are kept: which of them count, what they are asked, and what an answer does to its row.

What it is not: the judge of whether a passkey is what should have been asked for (`verification`, `passkey_sign_in`),
nor of who may add one (`enrolment`). Laws: a passkey counts at the host name that it was made for only. An answer whose
counter does not go up, where one of the two is not zero, is refused and written down: there are two copies of that key,
or somebody replays (WebAuthn, section 6.1.1). What was refused changes no counter.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.mfa import MfaKind, MfaMethod
from ...api.webauthn import Options, PasskeyAssertion
from ..audit_log import AuditLog, Cause, Event
from ..sources import Sources
from . import store
from .model import PasskeyRow
from .webauthn import BadAnswerError, Known, RelyingParty, Shown, credential_id_of


class Passkeys:
    """`party` is None where the control plane has no name that passkeys could be made for."""

    def __init__(self, audit_log: AuditLog, sources: Sources, party: RelyingParty | None) -> None:
        self._audit_log = audit_log
        self._sources = sources
        self.party = party

    @property
    def origin(self) -> str | None:
        """Where passkeys can be set up and used."""
        return None if self.party is None else self.party.site.origin

    async def usable(self, session: AsyncSession, user_id: str) -> Sequence[PasskeyRow]:
        """Those of a user's passkeys that count here."""
        return [] if self.party is None else await store.passkeys(session, user_id, self.party.site.rp_id)

    async def request(self, session: AsyncSession, user_id: str, challenge: bytes) -> Options | None:
        """What one of the user's passkeys is asked; None where none can be."""
        rows = await self.usable(session, user_id)
        if self.party is None or not rows:
            return None
        verified = (await store.policy(session)).user_verification
        return self.party.request(challenge, known(rows), verified=verified)

    async def answered(
        self,
        session: AsyncSession,
        cause: Cause,
        challenge: bytes,
        answer: PasskeyAssertion,
        *,
        user_id: str | None,
        verified: bool,
    ) -> PasskeyRow | None:
        """The passkey of that user (None: of anybody) that gave this answer to `challenge`, noted as used; None if it
        is not a good one.

        What speaks for a copy of the key is an event in the caller's transaction, which must not be undone for a no.
        """
        row = await self._named(session, answer)
        if row is None or self.party is None or user_id not in (None, row.user_id):
            return None
        try:
            shown = self.party.judge(challenge, row.credential, answer, verified=verified)
        except BadAnswerError:
            return None
        if not await self._counts_on(session, cause, row, shown):
            return None
        row.counter, row.last_used_at = shown.counter, self._sources.now()
        await session.flush()
        return row

    async def _named(self, session: AsyncSession, answer: PasskeyAssertion) -> PasskeyRow | None:
        try:
            credential_id = credential_id_of(answer)
        except BadAnswerError:
            return None
        row = await store.passkey_by_credential(session, credential_id, lock=True)
        here = row is not None and self.party is not None and row.rp_id == self.party.site.rp_id
        return row if here else None

    async def _counts_on(self, session: AsyncSession, cause: Cause, row: PasskeyRow, shown: Shown) -> bool:
        # Synced passkeys, and many keys, do not count at all: they always say zero.
        if shown.counter > row.counter or shown.counter == row.counter == 0:
            return True
        row.clone_suspected_at = self._sources.now()
        await session.flush()
        details = {"id": row.id, "name": row.name, "counter": row.counter, "shown": shown.counter}
        await self._audit_log.append(session, cause, Event.MFA_CLONE_SUSPECTED, row.user_id, details=details)
        return False


def known(rows: Sequence[PasskeyRow]) -> list[Known]:
    """Passkeys as a browser is told of them."""
    return [Known(row.credential_id, row.transports) for row in rows]


def describe(row: PasskeyRow) -> MfaMethod:
    """A passkey as its user sees it."""
    return MfaMethod(
        id=row.id,
        kind=MfaKind.PASSKEY,
        name=row.name,
        created_at=row.created_at,
        last_used_at=row.last_used_at,
        synced=row.synced,
        clone_suspected_at=row.clone_suspected_at,
    )
