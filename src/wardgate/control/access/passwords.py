"""The session password: what a MongoDB client may log in with at the local proxy, and with `--local-auth` must.

It opens nothing but that session's own listeners, as long as the session lives. SCRAM proves the server to the client
too, so both sides must know it: it is sealed here, leaves once in the grant and again in every lease, and is wiped at
the session's end.
"""

from __future__ import annotations

import base64
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from ...secret import Secret
from ..sources import Sources
from ..vault import Vault
from .model import SessionRow

_BYTES: Final = 20  # 160 random bits: nothing to guess, nothing to stretch
_PREFIX: Final = "wgs_"  # so that a scanner for leaked secrets knows one when it sees it
_TABLE, _COLUMN = SessionRow.__tablename__, SessionRow.sealed_local_password.key


class SessionPasswords:
    """Makes and opens them."""

    def __init__(self, vault: Vault, sources: Sources) -> None:
        self._vault = vault
        self._sources = sources

    async def make(self, session: AsyncSession, row: SessionRow) -> Secret:
        """A new password for the session, sealed into its row; of letters and digits, so that no URI escapes any."""
        random = base64.b32encode(self._sources.randomness(_BYTES)).decode().lower()
        password = Secret(f"{_PREFIX}{random}")
        row.sealed_local_password = await self._vault.seal(
            session, row.project_id, _TABLE, row.id, _COLUMN, password.reveal()
        )
        return password

    async def open(self, session: AsyncSession, row: SessionRow) -> Secret | None:
        """For a lease; None for a session that has none (any more)."""
        if row.sealed_local_password is None:
            return None
        return await self._vault.open(session, row.project_id, _TABLE, row.id, _COLUMN, row.sealed_local_password)
