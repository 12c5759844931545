"""The control link: server-sent events from the control plane, so that what must happen now happens now.

The link only speeds things up. Everything it says is also in the next heartbeat's answer, so a lost event costs seconds
and nothing else; an event that is not understood is left to the heartbeat.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable

from pydantic import ValidationError

from ..api.machine import LinkEvent
from ..errors import WardgateError
from ..net import logs
from ..net.machine import SignedClient

_log = logs.get("link")
_SILENCE = 40.0  # the control plane comments every few seconds; this long without a byte is a dead link
_RETRY_FIRST, _RETRY_LAST = 0.5, 10.0


async def follow(client: SignedClient, handle: Callable[[LinkEvent], None], turned: Callable[[], None]) -> None:
    """Keep a link open and hand its events to `handle`; `turned` is called when one comes or goes. Never returns."""
    pause = _RETRY_FIRST
    while True:
        try:
            async with client.stream("/gateway/link", read_timeout=_SILENCE) as lines:
                turned()
                pause = _RETRY_FIRST
                async for event in _events(lines):
                    handle(event)
        except WardgateError as error:
            _log.info("control link lost", code=error.code, message=error.message)
        turned()
        await asyncio.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(pause * 2, _RETRY_LAST)


async def _events(lines: AsyncIterator[str]) -> AsyncIterator[LinkEvent]:
    data: list[str] = []
    async for line in lines:
        if line.startswith("data:"):
            data.append(line[5:].removeprefix(" "))
        elif not line and data:
            text, data = "\n".join(data), []
            try:
                yield LinkEvent.model_validate_json(text)
            except ValidationError:
                _log.warning("an event of the control link was not understood")
