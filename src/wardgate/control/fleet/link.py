"""The control links that are up: where to say something to a gateway now.

A link is a hint and no more. What it says is also in the next heartbeat's answer, so nothing is kept for a gateway that
is away. Law: a slow link is cut rather than waited for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Final

from ...api.machine import LinkEvent

_QUEUED_MOST: Final = 256
_COMMENT_SECONDS: Final = 10.0  # shorter than any proxy's idle time-out, and than the gateway's patience


class Link:
    """One connected instance of a gateway."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[LinkEvent | None] = asyncio.Queue(_QUEUED_MOST)

    def push(self, event: LinkEvent) -> None:
        """Queue `event`; a link that can't keep up ends."""
        try:
            self._queue.put_nowait(event)
        except asyncio.QueueFull:
            self.close()

    def close(self) -> None:
        """End the stream once what is queued has been sent, or at once where the queue is full."""
        if self._queue.full():
            self._queue.get_nowait()
        self._queue.put_nowait(None)

    async def lines(self, stopping: asyncio.Event) -> AsyncIterator[str]:
        """The stream in the form of server-sent events, with a comment when there is nothing to say."""
        yield ": linked\n\n"
        stopped = asyncio.ensure_future(stopping.wait())
        waiting = asyncio.ensure_future(self._queue.get())
        try:
            while not stopped.done():
                await asyncio.wait({waiting, stopped}, timeout=_COMMENT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if not waiting.done():
                    yield ": \n\n"
                    continue
                event = waiting.result()
                if event is None:
                    return
                yield f"data: {event.model_dump_json(exclude_none=True)}\n\n"
                waiting = asyncio.ensure_future(self._queue.get())
        finally:
            stopped.cancel()
            waiting.cancel()


class LinkHub:
    """All links of this node, by gateway and by instance."""

    def __init__(self) -> None:
        self._links: dict[str, dict[str, set[Link]]] = {}
        self._changed = asyncio.Event()

    @contextmanager
    def connected(self, gateway_id: str, instance_id: str) -> Iterator[Link]:
        """A link for as long as the block lasts."""
        link = Link()
        instances = self._links.setdefault(gateway_id, {})
        links = instances.setdefault(instance_id, set())
        links.add(link)
        self._changed.set()
        try:
            yield link
        finally:
            links.discard(link)
            if not links and instances.get(instance_id) is links:
                del instances[instance_id]
            if not instances and self._links.get(gateway_id) is instances:
                del self._links[gateway_id]

    def linked(self, gateway_id: str) -> list[str]:
        """The instances that listen now."""
        return list(self._links.get(gateway_id, ()))

    def is_linked(self, gateway_id: str, instance_id: str | None = None) -> bool:
        """Whether the gateway listens now, or this instance of it."""
        instances = self._links.get(gateway_id, {})
        return bool(instances) if instance_id is None else instance_id in instances

    async def wait_linked(self, gateway_id: str, seconds: float) -> bool:
        """Whether an instance listens by then."""
        try:
            async with asyncio.timeout(seconds):
                while not self.is_linked(gateway_id):
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            return False
        return True

    def push(self, gateway_id: str, event: LinkEvent, instance_id: str | None = None) -> None:
        """Say it to every link of the gateway, or of one instance."""
        for link in self._of(gateway_id, instance_id):
            link.push(event)

    def push_all(self, event: LinkEvent) -> None:
        """Say it to every gateway that listens."""
        for gateway_id in tuple(self._links):
            self.push(gateway_id, event)

    def cut(self, gateway_id: str, instance_id: str | None = None) -> None:
        """End the links of a gateway, or of one instance."""
        for link in self._of(gateway_id, instance_id):
            link.close()

    def _of(self, gateway_id: str, instance_id: str | None) -> list[Link]:
        instances = self._links.get(gateway_id, {})
        wanted = instances if instance_id is None else [instance_id]
        return [link for each in wanted for link in instances.get(each, ())]
