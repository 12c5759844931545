"""Connection tests that the control plane orders: run here, because only here the database can be reached."""

from __future__ import annotations

import asyncio

from ..api.machine import TestOrder, TestReport
from ..api.models import Hop, HopKind, TestResult
from ..errors import WardgateError
from ..net import logs
from ..net.machine import SignedClient
from ..numbers import Numbers
from .leases import fetch_test_credentials
from .mongo import probe
from .mongo.errors import Code, MongoError
from .mongo.login import Login
from .mongo.target import Target

_log = logs.get("probes")
_AT_ONCE = 8  # tests that run side by side; the next one waits


class Probes:
    """Runs tests and reports them. A test that was ordered twice runs once."""

    def __init__(self, client: SignedClient, numbers: Numbers) -> None:
        self._client = client
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
        try:
            target = Target.of(order.target, self._numbers)
        except MongoError as error:
            return _not_run(order, error)
        if not order.credentials_wanted:
            return await probe.test(target, None)
        credentials = await fetch_test_credentials(self._client, order.test_id)
        login = Login.of(credentials, target.auth_database, self._numbers)
        try:
            return await probe.test(target, login)
        finally:
            login.wipe()

    async def stop(self) -> None:
        """Drop the tests that run."""
        tasks = tuple(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _not_run(order: TestOrder, error: MongoError) -> TestResult:
    """A target that can't even be dialled, as one failed hop."""
    hop = HopKind.TLS if error.code == Code.CA_INVALID else HopKind.DNS
    where = order.target.srv_host or ", ".join(f"{host}:{port}" for host, port in order.target.hosts)
    return TestResult(
        ok=False, hops=[Hop(hop=hop, target=where, ok=False, code=error.code, message=error.message, duration_ms=0.0)]
    )
