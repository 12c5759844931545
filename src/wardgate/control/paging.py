"""Lists in pages: `?after=<cursor>&limit=`, answered as {items, next}.

The cursor is the sort key of the last item, which for most lists is its id: ids sort by creation, so a page stays right
while others are added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Query
from pydantic import BaseModel

from ..api.models import Page

Row = TypeVar("Row")
Item = TypeVar("Item", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Paging:
    """What was asked for. Ask the database for `limit + 1` rows after `after`: the extra one says if there is more."""

    after: str | None = None
    limit: int = 100


def paging(
    after: Annotated[str | None, Query(max_length=256, description="`next` of the page before.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Paging:
    """The FastAPI dependency that reads it from the query."""
    return Paging(after, limit)


def page_of(
    rows: Sequence[Row], asked: Paging, describe: Callable[[Row], Item], cursor: Callable[[Row], str]
) -> Page[Item]:
    """The answer for `rows`, of which there are at most `asked.limit + 1`."""
    shown = rows[: asked.limit]
    more = len(rows) > asked.limit
    return Page[Item](items=[describe(row) for row in shown], next=cursor(shown[-1]) if more else None)
