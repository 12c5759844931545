"""The vault: secrets of a project sealed under the project's key, that key sealed under the master key.

Law: plaintext leaves as a `Secret`; a project's key is made at its first secret, inside the caller's transaction, and
which key is in use is asked of the database each time, so a transaction that is undone leaves no key behind that seals
anything. Master keys can be several while one replaces another: each row names the one that sealed it.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ...errors import WardgateError
from ...secret import Secret
from ..sources import Sources
from . import envelope
from .envelope import Place
from .master import KEY_BYTES, MasterKey
from .model import VaultKeyRow

_TABLE = VaultKeyRow.__tablename__
_ORGANISATION = "organisation"


class Vault:
    """Seals and opens. `masters[0]` seals new keys; all of them open."""

    def __init__(self, masters: Sequence[MasterKey], sources: Sources) -> None:
        self._masters = {master.key_id: master for master in masters}
        self._current = masters[0]
        self._sources = sources
        self._keys: dict[str, Secret] = {}

    def master_ids(self) -> list[str]:
        """The ids of the master keys that this process has."""
        return list(self._masters)

    async def seal(
        self, session: AsyncSession, project_id: str | None, table: str, row: str, column: str, plaintext: bytes
    ) -> bytes:
        """`plaintext` for one column of one row. `session` is the caller's `write()` session: a key may be made."""
        place = Place(project_id, table, row, column)
        key_id = await self._key_in_use(session, project_id)
        key = await self._key(session, key_id, place)
        nonce = self._sources.randomness(envelope.NONCE_BYTES)
        return envelope.seal(key.reveal(), bytes.fromhex(key_id), nonce, place, plaintext)

    async def open(
        self, session: AsyncSession, project_id: str | None, table: str, row: str, column: str, blob: bytes
    ) -> Secret:
        """What was sealed for that column of that row; VaultError otherwise."""
        place = Place(project_id, table, row, column)
        key = await self._key(session, envelope.key_id_of(blob, place).hex(), place)
        return Secret(envelope.open_(key.reveal(), place, blob))

    async def check(self, session: AsyncSession) -> None:
        """WardgateError `wrong_master_key` if the database was sealed under a master key that isn't ours."""
        for used in await session.scalars(select(VaultKeyRow.master_key_id).distinct()):
            if used not in self._masters:
                raise WardgateError(
                    "wrong_master_key", "This master key is not the one that the database was sealed with."
                )

    async def _key_in_use(self, session: AsyncSession, project_id: str | None) -> str:
        scope = project_id or _ORGANISATION
        query = select(VaultKeyRow.id).where(VaultKeyRow.scope == scope, VaultKeyRow.retired_at.is_(None))
        found: str | None = await session.scalar(query)
        return found if found is not None else await self._make_key(session, scope)

    async def _make_key(self, session: AsyncSession, scope: str) -> str:
        key_id = self._sources.randomness(envelope.KEY_ID_BYTES).hex()
        place = Place(scope, _TABLE, key_id, "sealed")
        sealed = envelope.seal(
            self._current.key.reveal(),
            _padded(self._current.key_id),
            self._sources.randomness(envelope.NONCE_BYTES),
            place,
            self._sources.randomness(KEY_BYTES),
        )
        session.add(
            VaultKeyRow(
                id=key_id,
                scope=scope,
                master_key_id=self._current.key_id,
                sealed=sealed,
                created_at=self._sources.now(),
            )
        )
        await session.flush()
        return key_id

    async def _key(self, session: AsyncSession, key_id: str, place: Place) -> Secret:
        known = self._keys.get(key_id)
        if known is not None:
            return known
        row = await session.get(VaultKeyRow, key_id)
        master = self._masters.get(row.master_key_id) if row is not None else None
        if row is None or master is None:
            raise envelope.VaultError(place)
        raw = envelope.open_(master.key.reveal(), Place(row.scope, _TABLE, row.id, "sealed"), row.sealed)
        self._keys[key_id] = Secret(raw)
        return self._keys[key_id]


def _padded(master_key_id: str) -> bytes:
    return bytes.fromhex(master_key_id).ljust(envelope.KEY_ID_BYTES, b"\0")
