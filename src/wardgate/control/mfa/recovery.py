"""Recovery codes: made, and handed out once."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from ..audit_log import AuditLog, Event
from ..identity.actor import Actor
from ..sources import Sources
from . import codes, store


async def make(session: AsyncSession, sources: Sources, audit_log: AuditLog, actor: Actor) -> list[str]:
    """New codes in place of all older ones, inside the caller's `write()` block; they are shown to nobody again."""
    made = [codes.recovery_code(sources.randomness(10)) for _ in range(codes.RECOVERY_CODES)]
    hashes = [codes.hash_of(code, actor.user_id) for code in made]
    await store.replace_recovery_codes(session, actor.user_id, hashes, sources.now())
    await audit_log.append(session, actor.cause, Event.MFA_RECOVERY_CODES_MADE, actor.user_id)
    return made
