"""All that is stored of a session's chains, read in one moment: what a verification checks and a bundle carries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from ...audit.chain import Link
from ...proof.epoch import StoredEpoch
from . import store
from .model import RecordBatchRow, RecordEpochRow, RecordSealRow


@dataclass(frozen=True, slots=True)
class Evidence:
    """`epochs` are those of which something has arrived, in order; `batches` are by epoch, in order."""

    session_id: str
    epochs: Sequence[RecordEpochRow]
    batches: dict[int, Sequence[RecordBatchRow]]
    seals: Sequence[RecordSealRow]

    def stored(self) -> list[StoredEpoch]:
        """The epochs as the proof wants them."""
        return [
            StoredEpoch(
                row.epoch,
                [batch.name for batch in self.batches[row.epoch]],
                Link(row.epoch, row.seq, row.hash),
                row.head_hash,
            )
            for row in self.epochs
            if row.seq >= 0
        ]


async def gather(session: AsyncSession, session_id: str) -> Evidence:
    """Everything that the database has."""
    epochs = await store.epochs(session, session_id)
    batches = {row.epoch: await store.batches(session, session_id, row.epoch) for row in epochs}
    return Evidence(session_id, epochs, batches, await store.seals(session, session_id))
