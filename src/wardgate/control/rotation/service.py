"""From one master key to the next, with every node running.

The new key stands behind the old one where each node's keys come from. Then, in one transaction, the database says that
the new one seals; from that commit on no node seals with the old one, because which key seals is asked in the
transaction that seals. Then what the old one sealed (the keys of projects, which seal everything else) is sealed anew,
a few rows at a time, by whoever has the time: a node that dies in the middle leaves rows of both kinds, each naming its
key, and the job of the next goes on. The old key is needed until that is done, and for backups that were made before.

Law: a change is begun only if every node that runs has the new key; nothing here shows a key.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from ...api.problems import ProblemCode, ProblemError
from ...api.vault import MasterKeyState, VaultNode, VaultState
from ..audit_log import AuditLog, Event
from ..audit_log.log import SYSTEM
from ..cluster import Nodes
from ..db import Database
from ..identity.actor import Actor
from ..sources import Sources
from ..vault import Vault
from ..vault.model import MasterKeyRow

_AT_ONCE: Final = 50  # rows of one transaction: the control plane waits behind it


class RotationService:
    """Begins a rotation, goes on with it, and tells how far it is."""

    def __init__(self, database: Database, audit_log: AuditLog, sources: Sources, vault: Vault, nodes: Nodes) -> None:
        self._database = database
        self._audit_log = audit_log
        self._sources = sources
        self._vault = vault
        self._nodes = nodes

    async def state(self) -> VaultState:
        """Which master keys there are, what each has sealed, and which nodes have them."""
        ours = self._vault.master_ids()
        async with self._database.read() as session:
            current = await self._vault.current_id(session)
            wrapped = await self._vault.wrapped(session)
            nodes = await self._nodes.alive(session)
        return VaultState(
            current=current,
            newest=ours[-1],
            rotating=bool(wrapped.keys() - {current}),
            keys=[
                MasterKeyState(id=key_id, available=key_id in ours, sealed=wrapped.get(key_id, 0))
                for key_id in [*ours, *sorted(wrapped.keys() - set(ours))]
            ],
            nodes=[
                VaultNode(host=node.host, started_at=node.started_at, keys=sorted(node.master_keys)) for node in nodes
            ],
        )

    async def rotate(self, actor: Actor) -> VaultState:
        """Make the newest key the one that seals, and seal everything with it; ProblemError `conflict`.

        Asked again in the middle, or when all is done, it goes on, or changes nothing.
        """
        newest = self._vault.reload()[-1]
        async with self._database.write() as session:
            if await self._vault.current_id(session) != newest:
                await self._refuse_unready(session, newest)
                await self._begin(session, actor, newest)
        await self.go_on()
        return await self.state()

    async def _refuse_unready(self, session: AsyncSession, newest: str) -> None:
        without = [node.host for node in await self._nodes.alive(session) if newest not in node.master_keys]
        if without:
            raise ProblemError(
                ProblemCode.CONFLICT,
                f"The new master key is not at every node: put it behind the old one at {', '.join(without)[:200]}, "
                "and ask again after some seconds.",
            )

    async def _begin(self, session: AsyncSession, actor: Actor, newest: str) -> None:
        last = await _newest(session)
        number = 1 if last is None else last.number + 1
        session.add(MasterKeyRow(number=number, key_id=newest, begun_at=self._sources.now(), finished_at=None))
        await session.flush()
        await self._audit_log.append(session, actor.cause, Event.VAULT_ROTATION_BEGUN, details={"key": newest})

    async def go_on(self) -> None:
        """Seal anew what an older master key sealed, if there is any; a job, for when whoever began it is gone."""
        while True:
            async with self._database.write() as session:
                last = await _newest(session)
                if last is None or last.finished_at is not None:
                    return
                if await self._vault.rewrap(session, _AT_ONCE) == 0:
                    last.finished_at = self._sources.now()
                    await session.flush()
                    details = {"key": last.key_id}
                    await self._audit_log.append(session, SYSTEM, Event.VAULT_ROTATED, details=details)


async def _newest(session: AsyncSession) -> MasterKeyRow | None:
    row: MasterKeyRow | None = await session.scalar(select(MasterKeyRow).order_by(MasterKeyRow.number.desc()).limit(1))
    return row
