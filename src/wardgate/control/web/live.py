"""Live parts of pages: server-sent events that say that something is different; the page fetches its part again.

Nothing of the data is in the stream, so there is one place that shows it (the page) and one that judges who may see it
(the page's route). What has changed is found by looking, in short intervals and only while somebody watches: it is the
same on every database, and whoever changed it may be another node.

Law: a stream ends by itself after a while; the browser asks again, and is asked again who it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress

from fastapi.responses import StreamingResponse

from ...errors import WardgateError

_LOOK_S = 1.0
_PING_EVERY = 15  # looks: proxies cut what is silent for a minute
_LASTS = 300  # looks


def changes(look: Callable[[], Awaitable[object]], stopping: asyncio.Event) -> StreamingResponse:
    """Events named `changed`, one whenever `look` answers something else than before."""
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_events(look, stopping), media_type="text/event-stream", headers=headers)


async def _events(look: Callable[[], Awaitable[object]], stopping: asyncio.Event) -> AsyncIterator[str]:
    yield "retry: 2000\n\n"
    before = await look()
    for turn in range(1, _LASTS + 1):
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await stopping.wait()
        if stopping.is_set():
            return
        try:
            now = await look()
        except WardgateError:
            now = None  # it is gone: the page says so when it is fetched
        if now != before:
            before = now
            yield "event: changed\ndata: 1\n\n"
        elif turn % _PING_EVERY == 0:
            yield ": still here\n\n"
