"""The vault: secrets of a project sealed under the project's key, that key sealed under the master key.

Law: plaintext leaves as a `Secret`; a project's key is made at its first secret, inside the caller's transaction, and
which key is in use is asked of the database each time, so a transaction that is undone leaves no key behind that seals
anything. Master keys can be several while one replaces another: each row names the one that sealed it, and the database
says which one seals, in the transaction that asks: so nothing is sealed by the old one after the change, at no node.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from ...errors import WardgateError
from ...secret import Secret
from ..sources import Sources
from . import envelope
from .envelope import Place
from .master import KEY_BYTES, MasterKey
from .model import MasterKeyRow, VaultKeyRow
from .providers import FixedKeys, KeyProvider

_TABLE = VaultKeyRow.__tablename__
_ORGANISATION = "organisation"


class Vault:
    """Seals and opens, with the master keys of a provider, or with some that somebody has in their hand."""

    def __init__(self, masters: KeyProvider | Sequence[MasterKey], sources: Sources) -> None:
        self._provider = FixedKeys(masters) if isinstance(masters, Sequence) else masters
        self._masters: dict[str, MasterKey] = {}
        self.reload()
        self._sources = sources
        self._keys: dict[str, Secret] = {}

    def reload(self) -> list[str]:
        """Ask the provider again: the ids of the master keys, the newest last. WardgateError where it fails."""
        self._masters = {master.key_id: master for master in self._provider.load()}
        return list(self._masters)

    def master_ids(self) -> list[str]:
        """The ids of the master keys that this process has now; those it had before where the provider fails."""
        with suppress(WardgateError):
            self.reload()
        return list(self._masters)

    async def current_id(self, session: AsyncSession) -> str:
        """Which master key seals."""
        newest = select(MasterKeyRow.key_id).order_by(MasterKeyRow.number.desc()).limit(1)
        first = select(VaultKeyRow.master_key_id).order_by(VaultKeyRow.created_at, VaultKeyRow.id).limit(1)
        found: str | None = await session.scalar(newest) or await session.scalar(first)
        return found or next(reversed(self._masters))

    async def wrapped(self, session: AsyncSession) -> dict[str, int]:
        """How many keys each master key has sealed."""
        query = select(VaultKeyRow.master_key_id, func.count()).group_by(VaultKeyRow.master_key_id)
        return {row[0]: row[1] for row in await session.execute(query)}

    async def rewrap(self, session: AsyncSession, most: int) -> int:
        """Seal up to `most` keys that an older master key sealed by the current one; how many there were.

        In the caller's `write()` block: a key is sealed by the one or by the other, whatever breaks off.
        """
        current = self._master(await self.current_id(session))
        query = select(VaultKeyRow).where(VaultKeyRow.master_key_id != current.key_id)
        rows = list(await session.scalars(query.order_by(VaultKeyRow.id).limit(most).with_for_update()))
        for row in rows:
            row.sealed = self._wrap(current, row.id, row.scope, self._unwrap(row))
            row.master_key_id = current.key_id
        await session.flush()
        return len(rows)

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
        for used in {await self.current_id(session), *await self.wrapped(session)}:
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
        current = self._master(await self.current_id(session))
        session.add(
            VaultKeyRow(
                id=key_id,
                scope=scope,
                master_key_id=current.key_id,
                sealed=self._wrap(current, key_id, scope, self._sources.randomness(KEY_BYTES)),
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
        if row is None:
            raise envelope.VaultError(place)
        self._keys[key_id] = Secret(self._unwrap(row))
        return self._keys[key_id]

    def _wrap(self, master: MasterKey, key_id: str, scope: str, raw: bytes) -> bytes:
        nonce = self._sources.randomness(envelope.NONCE_BYTES)
        place = Place(scope, _TABLE, key_id, "sealed")
        return envelope.seal(master.key.reveal(), _padded(master.key_id), nonce, place, raw)

    def _unwrap(self, row: VaultKeyRow) -> bytes:
        master = self._master(row.master_key_id)
        return envelope.open_(master.key.reveal(), Place(row.scope, _TABLE, row.id, "sealed"), row.sealed)

    def _master(self, key_id: str) -> MasterKey:
        """A master key that something was sealed by; one that this process has not met yet may be in the file now."""
        if key_id not in self._masters:
            self.reload()
        found = self._masters.get(key_id)
        if found is None:
            raise WardgateError(
                "wrong_master_key",
                f"The master key {key_id} is not among those of this node: put it where the node's key comes from.",
            )
        return found


def _padded(master_key_id: str) -> bytes:
    return bytes.fromhex(master_key_id).ljust(envelope.KEY_ID_BYTES, b"\0")
