"""Connection tests: ordered here, run by the gateway, awaited by whoever saves a form.

Any instance of the gateway may run one; where it goes away, the next that comes runs it. Credentials for the login hop
are never in the order; the instance fetches them, sealed to a key of its own, once. The instance may speak to another
node than the one where somebody waits: so a test is a row while it runs, and its end a signal.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Final

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from ... import sealing
from ...api.machine import Credentials, LinkEvent, MongoTarget, TestOrder, TestSecrets
from ...api.models import TestResult
from ...api.problems import ProblemCode, ProblemError
from ...ids import Kind
from ...numbers import Numbers
from ..cluster import Signals
from ..db import Database
from ..sources import Sources
from ..vault import Vault
from .link import LinkHub
from .model import ConnectionTestRow
from .sealed import seal_answer
from .service import FleetService

_MARGIN: Final = 5.0  # for the answer to travel, after the gateway's own limit
_LOOK_AGAIN: Final = 2.0  # where the signal of the end was lost
_DONE: Final = "test.done"
_TABLE: Final = ConnectionTestRow.__tablename__


class ConnectionTests:
    """The tests that run now."""

    def __init__(
        self,
        database: Database,
        fleet: FleetService,
        hub: LinkHub,
        signals: Signals,
        sources: Sources,
        numbers: Numbers,
        vault: Vault,
    ) -> None:
        self._database = database
        self._fleet = fleet
        self._hub = hub
        self._signals = signals
        self._sources = sources
        self._numbers = numbers
        self._vault = vault
        self._waiters: dict[str, asyncio.Event] = {}
        signals.on(_DONE, self._on_done)

    async def run(
        self, gateway_id: str, gateway: str, target: MongoTarget, credentials: Credentials | None
    ) -> TestResult:
        """What the gateway finds; ProblemError `gateway_offline`."""
        if not await self._fleet.gateway_online(gateway_id, wait=True):
            raise _offline(gateway)
        test_id = self._sources.new_id(Kind.TOKEN)
        order = TestOrder(test_id=test_id, target=target, credentials_wanted=credentials is not None)
        instance_id = await self._fleet.instance_online(gateway_id)
        async with self._kept(gateway_id, instance_id, order, credentials) as done:
            self._hub.push(gateway_id, LinkEvent(test=order), instance_id)
            try:
                async with asyncio.timeout(self._numbers.connection_test + _MARGIN):
                    return await self._result(test_id, done)
            except TimeoutError:
                raise _silent(gateway) from None

    @asynccontextmanager
    async def _kept(
        self, gateway_id: str, instance_id: str | None, order: TestOrder, credentials: Credentials | None
    ) -> AsyncIterator[asyncio.Event]:
        """The test as a row, for as long as somebody waits; the event is set when it may have ended."""
        now, test_id = self._sources.now(), order.test_id
        sealed = None
        async with self._database.write() as session:
            await session.execute(delete(ConnectionTestRow).where(ConnectionTestRow.expires_at < now))
            if credentials is not None:
                plain = credentials.model_dump_json().encode()
                sealed = await self._vault.seal(session, None, _TABLE, test_id, "sealed_credentials", plain)
            row = ConnectionTestRow(
                id=test_id,
                gateway_id=gateway_id,
                instance_id=instance_id,
                order=order.model_dump(mode="json"),
                sealed_credentials=sealed,
                handed=[],
                result=None,
                expires_at=now + timedelta(seconds=2 * self._numbers.connection_test),
            )
            session.add(row)
        done = self._waiters[test_id] = asyncio.Event()
        try:
            yield done
        finally:
            del self._waiters[test_id]
            async with self._database.write() as session:
                await session.execute(delete(ConnectionTestRow).where(ConnectionTestRow.id == test_id))

    async def _result(self, test_id: str, done: asyncio.Event) -> TestResult:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN):
                    await done.wait()
            done.clear()
            async with self._database.read() as session:
                result = await session.scalar(select(ConnectionTestRow.result).where(ConnectionTestRow.id == test_id))
            if result is not None:
                return TestResult.model_validate(result)

    async def waiting(self, gateway_id: str, instance_id: str) -> list[LinkEvent]:
        """The tests that an instance owes an answer, said again to a new link: the old one may have lost them.

        Those of an instance that is gone are its own from now on.
        """
        async with self._database.write() as session:
            query = select(ConnectionTestRow).where(ConnectionTestRow.gateway_id == gateway_id)
            mine = []
            for row in await session.scalars(query.order_by(ConnectionTestRow.id)):
                if row.result is not None or row.expires_at < self._sources.now():
                    continue
                if row.instance_id is None or not await self._fleet.instance_linked(session, row.instance_id):
                    row.instance_id = instance_id
                if row.instance_id == instance_id:
                    mine.append(row)
            return [LinkEvent(test=TestOrder.model_validate(row.order)) for row in mine]

    async def secrets(self, gateway_id: str, instance_id: str, test_id: str, public_key: bytes) -> TestSecrets:
        """The credentials of a test that runs at this instance, once; ProblemError `not_found`."""
        async with self._database.write() as session:
            row = await _of(session, gateway_id, instance_id, test_id)
            if row.sealed_credentials is None or instance_id in row.handed:
                raise _unknown()
            plain = await self._vault.open(session, None, _TABLE, row.id, "sealed_credentials", row.sealed_credentials)
            sealed = seal_answer(public_key, sealing.test_info(test_id, gateway_id), plain.reveal())
            row.handed = [*row.handed, instance_id]
        return TestSecrets(sealed=sealed)

    async def report(self, gateway_id: str, instance_id: str, test_id: str, result: TestResult) -> None:
        """What the instance found; ProblemError `not_found` if nobody waits for it any more."""
        async with self._database.write() as session:
            row = await _of(session, gateway_id, instance_id, test_id)
            if row.result is None:
                row.result = result.model_dump(mode="json")
        self._signals.send(_DONE, test_id)

    def _on_done(self, test_id: str, _body: dict[str, Any]) -> None:
        waiter = self._waiters.get(test_id)
        if waiter is not None:
            waiter.set()


async def _of(session: AsyncSession, gateway_id: str, instance_id: str, test_id: str) -> ConnectionTestRow:
    row = await session.get(ConnectionTestRow, test_id)
    if row is None or row.gateway_id != gateway_id or row.instance_id != instance_id:
        raise _unknown()
    return row


def _offline(gateway: str) -> ProblemError:
    return ProblemError(
        ProblemCode.GATEWAY_OFFLINE,
        f"The gateway {gateway} is offline, so nothing could be tested: start it and try again, or save untested with "
        "--no-test.",
    )


def _silent(gateway: str) -> ProblemError:
    return ProblemError(
        ProblemCode.GATEWAY_OFFLINE,
        f"The gateway {gateway} did not finish the connection test in time: look at its log and try again, or save "
        "untested with --no-test.",
    )


def _unknown() -> ProblemError:
    return ProblemError(ProblemCode.NOT_FOUND, "There is no such test at this gateway now.")
