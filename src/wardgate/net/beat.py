"""The rhythm of a machine: heartbeats to the control plane and the renewal of its certificate.

Heartbeats are level-triggered: each says what is alive and each answer says what must be, so a lost one costs nothing
but time. Law: neither loop ever ends by itself; a failure is reported once, tried again, and its end is reported too.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Generic, TypeVar

from pydantic import BaseModel

from ..errors import WardgateError
from . import fresh, logs
from .machine import MachineIdentity, SignedClient

Answer = TypeVar("Answer", bound=BaseModel)
_log = logs.get("beat")
_RENEWAL_CHECK = 60.0


class Heartbeat(Generic[Answer]):
    """Sends `compose()` to `path` every `interval` seconds and hands the answer to `apply`."""

    def __init__(
        self,
        client: SignedClient,
        path: str,
        model: type[Answer],
        *,
        interval: float,
        compose: Callable[[], BaseModel],
        apply: Callable[[Answer], Awaitable[None]],
        failed: Callable[[WardgateError], Awaitable[None]] | None = None,
    ) -> None:
        self._client = client
        self._path = path
        self._model = model
        self._interval = interval
        self._compose = compose
        self._apply = apply
        self._failed = failed
        self._now = asyncio.Event()
        self.lost = False

    def soon(self) -> None:
        """Beat now instead of at the next interval."""
        self._now.set()

    async def beat(self) -> None:
        """One beat; WardgateError if the control plane refused it or was not reached."""
        await self._apply(await self._client.request("POST", self._path, self._model, self._compose()))

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            try:
                await self.beat()
            except WardgateError as error:
                await self._note_failure(error)
            else:
                if self.lost:
                    _log.info("control plane reached again")
                self.lost = False
            await self._pause()

    async def _note_failure(self, error: WardgateError) -> None:
        if not self.lost:
            _log.warning("heartbeat failed", code=error.code, message=error.message)
        self.lost = True
        if self._failed is not None:
            await self._failed(error)

    async def _pause(self) -> None:
        self._now.clear()
        try:
            async with asyncio.timeout(self._interval * random.uniform(0.9, 1.0)):
                await self._now.wait()
        except TimeoutError:
            pass


async def keep_certificate(
    client: SignedClient, data_dir: Path, renewed: Callable[[MachineIdentity], None], interval: float = _RENEWAL_CHECK
) -> None:
    """Renew the certificate when two thirds of its life are over, save it and hand it to `renewed`, until cancelled."""
    while True:
        if client.identity.renewal_due(fresh.now()):
            try:
                identity = await client.renew()
                identity.save(data_dir)
            except WardgateError as error:
                _log.warning("certificate not renewed", code=error.code, message=error.message)
            else:
                _log.info("certificate renewed", until=identity.validity[1].isoformat())
                renewed(identity)
        await asyncio.sleep(interval)
