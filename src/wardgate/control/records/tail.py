"""Following a session's log while it goes on.

A reader waits for the next lines; whoever takes a delivery wakes the readers of that session. The wake-up is a hint: a
reader looks again by itself every now and then, so a delivery that another process took is seen too, a little later.

A command is shown when its outcome is known, or when it has run for a while without one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from ...api.models import Record

LONGEST_WAIT: Final = 30.0
_LOOK_AGAIN: Final = 2.0
_UNDER_WAY: Final = timedelta(seconds=2)


class Tail:
    """Who waits for which session."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def wake(self, session_id: str) -> None:
        """There is something new."""
        for event in self._waiting.get(session_id, ()):
            event.set()

    def watch(self, session_id: str) -> Watch:
        """From now on nothing is missed: `with tail.watch(session_id) as watch: … await watch.wait(seconds)`."""
        return Watch(self._waiting, session_id)


class Watch:
    """One reader of one session."""

    def __init__(self, waiting: dict[str, set[asyncio.Event]], session_id: str) -> None:
        self._waiting = waiting
        self._session_id = session_id
        self._event = asyncio.Event()

    def __enter__(self) -> Watch:
        self._waiting.setdefault(self._session_id, set()).add(self._event)
        return self

    def __exit__(self, *_: object) -> None:
        watchers = self._waiting[self._session_id]
        watchers.discard(self._event)
        if not watchers:
            del self._waiting[self._session_id]

    async def wait(self, seconds: float) -> None:
        """Until there is something new, or it is time to look again, or `seconds` have passed."""
        try:
            async with asyncio.timeout(min(seconds, _LOOK_AGAIN)):
                await self._event.wait()
        except TimeoutError:
            return
        finally:
            self._event.clear()


def settled(items: Sequence[Record], now: datetime) -> list[Record]:
    """The lines up to the first command that is still under way, unless it has been for a while."""
    shown: list[Record] = []
    for item in items:
        pending = item.kind == "command" and item.ok is None and not item.unacknowledged and item.error is None
        if pending and now - item.at < _UNDER_WAY:
            break
        shown.append(item)
    return shown
