"""The control links that are up: where to say something to a gateway now.

A link is a hint and no more. What it says is also in the next heartbeat's answer, so nothing is kept for a gateway that
is away. A gateway's link ends at one node; what any node has to say goes to all of them, and the one with the link says
it. Law: a slow link is cut rather than waited for.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Final

from ...api.machine import LinkEvent
from ..cluster import Signals

_PUSH: Final = "link.push"  # the topics of our signals; the key is the gateway's id, empty for all of them
_CUT: Final = "link.cut"

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
    """All links of this node, by gateway and by instance. `changed` is set whenever one comes or goes."""

    def __init__(self, signals: Signals) -> None:
        self._links: dict[str, dict[str, set[Link]]] = {}
        self._signals = signals
        self._arrived = asyncio.Event()
        self.changed = asyncio.Event()
        signals.on(_PUSH, self._on_push)
        signals.on(_CUT, self._on_cut)

    @contextmanager
    def connected(self, gateway_id: str, instance_id: str) -> Iterator[Link]:
        """A link for as long as the block lasts."""
        link = Link()
        instances = self._links.setdefault(gateway_id, {})
        links = instances.setdefault(instance_id, set())
        links.add(link)
        self._arrived.set()
        self.changed.set()
        try:
            yield link
        finally:
            links.discard(link)
            if not links and instances.get(instance_id) is links:
                del instances[instance_id]
            if not instances and self._links.get(gateway_id) is instances:
                del self._links[gateway_id]
            self.changed.set()

    def linked(self) -> list[str]:
        """The instances that listen at this node now."""
        return [instance_id for instances in self._links.values() for instance_id in instances]

    def is_linked(self, gateway_id: str, instance_id: str | None = None) -> bool:
        """Whether the gateway listens at this node now, or this instance of it."""
        instances = self._links.get(gateway_id, {})
        return bool(instances) if instance_id is None else instance_id in instances

    async def wait_linked(self, gateway_id: str, seconds: float) -> bool:
        """Whether an instance listens at this node by then."""
        try:
            async with asyncio.timeout(seconds):
                while not self.is_linked(gateway_id):
                    self._arrived.clear()
                    await self._arrived.wait()
        except TimeoutError:
            return False
        return True

    def push(self, gateway_id: str, event: LinkEvent, instance_id: str | None = None) -> None:
        """Say it to every link of the gateway, or of one instance, wherever they end."""
        body = {"instance": instance_id, "event": event.model_dump(mode="json", exclude_none=True)}
        self._signals.send(_PUSH, gateway_id, body)

    def push_all(self, event: LinkEvent) -> None:
        """Say it to every gateway that listens."""
        self._signals.send(_PUSH, "", {"instance": None, "event": event.model_dump(mode="json", exclude_none=True)})

    def cut(self, gateway_id: str, instance_id: str | None = None) -> None:
        """End the links of a gateway, or of one instance."""
        self._signals.send(_CUT, gateway_id, {"instance": instance_id})

    def _on_push(self, key: str, body: dict[str, Any]) -> None:
        event = LinkEvent.model_validate_json(json.dumps(body["event"]))
        for gateway_id in (key,) if key else tuple(self._links):
            for link in self._of(gateway_id, body["instance"]):
                link.push(event)

    def _on_cut(self, key: str, body: dict[str, Any]) -> None:
        for link in self._of(key, body["instance"]):
            link.close()

    def _of(self, gateway_id: str, instance_id: str | None) -> list[Link]:
        instances = self._links.get(gateway_id, {})
        wanted = instances if instance_id is None else [instance_id]
        return [link for each in wanted for link in instances.get(each, ())]
