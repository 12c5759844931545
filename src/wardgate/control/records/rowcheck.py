"""Whether the rows of a session's log say what its records say.

The rows are made from the records and can be made again; whoever owns the database can change them, and what people
search would then lie while every chain is whole. So a verification makes each row again and compares. It runs in the
thread of the check, and asks for rows through `fetch`.

A row is compared when its record is met. One that differs may still be waiting for its outcome, which can lie many
objects further on, so it is kept and judged at the end of its epoch; those are the commands that were under way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from operator import itemgetter
from typing import Any, Final

from sqlalchemy import Table, select
from sqlalchemy.ext.asyncio import AsyncSession

from ...audit.codec import CodecError
from ...proof.breaks import Break, ChainBroken
from .model import RecordRow
from .rows import Row, harvest, merge

_TABLE: Final[Table] = RecordRow.__table__  # type: ignore[assignment]
_COLUMNS: Final = tuple(column for column in _TABLE.c if column.name not in {"session_id", "epoch"})
_NAMES: Final = tuple(column.name for column in _COLUMNS)
_SEQ: Final = _NAMES.index("seq")
_expected: Final = itemgetter(*_NAMES)
_MOST_OPEN: Final = 10_000  # rows that differ: no session has so many commands under way

Stored = tuple[Any, ...]
Fetch = Callable[[int, int, int], Mapping[int, Stored]]


async def stored_rows(session: AsyncSession, session_id: str, epoch: int, first: int, last: int) -> dict[int, Stored]:
    """The rows of an epoch from one sequence number to another, by theirs."""
    query = select(*_COLUMNS).where(
        _TABLE.c.session_id == session_id, _TABLE.c.epoch == epoch, _TABLE.c.seq.between(first, last)
    )
    return {row[_SEQ]: tuple(row) for row in await session.execute(query)}


class RowCheck:
    """Visits the records of one session, epoch after epoch; ChainBroken where a row says something else."""

    def __init__(self, session_id: str, place: int, project: int, fetch: Fetch) -> None:
        self._session_id = session_id
        self._place = place
        self._project = project
        self._fetch = fetch
        self._epoch = 0
        self._open: dict[int, tuple[Row, Stored]] = {}
        self.rows = 0

    def visit(self, epoch: int, first: int, last: int, documents: list[tuple[int, bytes]]) -> None:
        """The records of one object."""
        if epoch != self._epoch:
            self.end()
            self._epoch = epoch
        try:
            found = harvest(self._session_id, epoch, documents, self._place, self._project)
        except CodecError as error:
            raise ChainBroken(Break.DAMAGED, epoch, first, error.message) from error
        stored = self._fetch(epoch, first, last)
        for outcome in found.outcomes:
            waiting = self._open.get(outcome.intent_seq)
            if waiting is not None:
                merge(waiting[0], outcome)
        for seq, row in found.rows.items():
            there = stored.get(seq)
            if there is not None and there != _expected(row):
                self._open[seq] = (row, there)
        if stored.keys() != found.rows.keys():
            raise _unmatched(epoch, stored.keys(), found.rows.keys())
        self.rows += len(found.rows)
        if len(self._open) > _MOST_OPEN:
            self.end()

    def end(self) -> None:
        """No more of this epoch comes."""
        for seq, (row, there) in sorted(self._open.items()):
            wrong = [name for name, want, have in zip(_NAMES, _expected(row), there, strict=True) if want != have]
            if wrong:
                detail = f"the row in the database differs from the record in {', '.join(wrong)}"
                raise ChainBroken(Break.ALTERED_ROW, self._epoch, seq, detail)
        self._open.clear()


def _unmatched(epoch: int, stored: Set[int], made: Set[int]) -> ChainBroken:
    """The first row that is missing, or that should not be there."""
    seq = min(stored ^ made)
    if seq in made:
        return ChainBroken(Break.MISSING_ROW, epoch, seq, "the database lacks the row of this record")
    return ChainBroken(Break.FOREIGN_ROW, epoch, seq, "the database has a row that no record stands behind")
