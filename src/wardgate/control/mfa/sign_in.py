"""The second factor at a sign-in, where the organisation asks for it.

Law: it comes after the password and is answered together with it, so that a challenge tells nothing to who does not
know the password.
"""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from ..audit_log import Cause
from ..db import Database
from ..identity.service import MfaAnswer
from . import store
from .model import Purpose
from .verification import Verification, Who, binding_of


class SignInFactor:
    """`IdentityService.second_factor`."""

    def __init__(self, database: Database, verification: Verification) -> None:
        self._database = database
        self._verification = verification

    async def __call__(self, user_id: str, email: str, cause: Cause, answer: MfaAnswer | None) -> bool:
        """Whether `answer` was asked for and is right; else what `Verification` raises."""
        async with self._database.read() as session:
            if not await self.is_asked(session):
                return False
        who, binding = Who(user_id, email, None, cause), binding_of("sign-in", user_id)
        if answer is None:
            await self._verification.require(who, binding, None, what="This sign-in", purpose=Purpose.SIGN_IN)
            return False
        await self._verification.verify(who, answer.challenge_id, answer.answer)
        async with self._database.write() as session:
            await self._verification.consume(session, who, answer.challenge_id, binding)
        return True

    @staticmethod
    async def is_asked(session: AsyncSession) -> bool:
        """Whether the organisation asks for a second factor at every sign-in."""
        return (await store.policy(session)).at_sign_in
