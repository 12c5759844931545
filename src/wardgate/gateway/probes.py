"""Connection tests that the control plane orders: run here, because only here the database can be reached."""

from __future__ import annotations

import asyncio

from ..api.machine import Credentials, TestOrder, TestReport
from ..api.models import TestResult
from ..errors import WardgateError
from ..net import logs
from ..net.machine import SignedClient
from ..numbers import Numbers
from .leases import fetch_test_credentials
from .mongo.approach import run_test
from .mongo.site import Site

_log = logs.get("probes")
_AT_ONCE = 8  # tests that run side by side; the next one waits


class Probes:
    """Runs tests and reports them. A test that was ordered twice runs once."""

    def __init__(self, client: SignedClient, site: Site, numbers: Numbers) -> None:
        self._client = client
        self._site = site
        self._numbers = numbers
        self._running: dict[str, asyncio.Task[None]] = {}
        self._places = asyncio.Semaphore(_AT_ONCE)

    def order(self, order: TestOrder) -> None:
        """Begin a test."""
        if order.test_id in self._running:
            return
        task = asyncio.get_running_loop().create_task(self._run(order))
        self._running[order.test_id] = task
        task.add_done_callback(lambda _: self._running.pop(order.test_id, None))

    async def _run(self, order: TestOrder) -> None:
        async with self._places:
            try:
                result = await self._test(order)
                await self._client.send("POST", f"/gateway/tests/{order.test_id}", TestReport(result=result))
            except WardgateError as error:
                _log.warning("test not done", test=order.test_id, code=error.code, message=error.message)

    async def _test(self, order: TestOrder) -> TestResult:
        credentials: Credentials | None = None
        if order.credentials_wanted:
            credentials = await fetch_test_credentials(self._client, order.test_id)
        return await run_test(order.target, credentials, self._site, self._numbers)

    async def stop(self) -> None:
        """Drop the tests that run."""
        tasks = tuple(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
