"""Connection tests: ordered here, run by the gateway, awaited by whoever saves a form.

Any instance of the gateway may run one; where it goes away, the next that comes runs it. Credentials for the login hop
are never in the order; the instance fetches them, sealed to a key of its own, once.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from ... import sealing
from ...api.machine import Credentials, LinkEvent, MongoTarget, TestOrder, TestSecrets
from ...api.models import TestResult
from ...api.problems import ProblemCode, ProblemError
from ...ids import Kind
from ...numbers import Numbers
from ..sources import Sources
from .link import LinkHub
from .sealed import seal_answer
from .service import FleetService

_MARGIN = 5.0  # for the answer to travel, after the gateway's own limit


@dataclass(slots=True)
class _Running:
    gateway_id: str
    instance_id: str | None
    order: TestOrder
    credentials: Credentials | None = field(repr=False)
    result: asyncio.Future[TestResult] = field(repr=False)
    handed: set[str] = field(default_factory=set)  # instances that have the credentials


class ConnectionTests:
    """The tests that run now."""

    def __init__(self, fleet: FleetService, hub: LinkHub, sources: Sources, numbers: Numbers) -> None:
        self._fleet = fleet
        self._hub = hub
        self._sources = sources
        self._numbers = numbers
        self._running: dict[str, _Running] = {}

    async def run(
        self, gateway_id: str, gateway: str, target: MongoTarget, credentials: Credentials | None
    ) -> TestResult:
        """What the gateway finds; ProblemError `gateway_offline`."""
        if not await self._fleet.gateway_online(gateway_id, wait=True):
            raise _offline(gateway)
        test_id = self._sources.new_id(Kind.TOKEN)
        result: asyncio.Future[TestResult] = asyncio.get_running_loop().create_future()
        order = TestOrder(test_id=test_id, target=target, credentials_wanted=credentials is not None)
        instance_id = await self._fleet.instance_online(gateway_id)
        self._running[test_id] = _Running(gateway_id, instance_id, order, credentials, result)
        try:
            self._hub.push(gateway_id, LinkEvent(test=order), instance_id)
            async with asyncio.timeout(self._numbers.connection_test + _MARGIN):
                return await result
        except TimeoutError:
            raise _silent(gateway) from None
        finally:
            del self._running[test_id]

    def waiting(self, gateway_id: str, instance_id: str) -> list[LinkEvent]:
        """The tests that an instance owes an answer, said again to a new link: the old one may have lost them.

        Those of an instance that is gone are its own from now on.
        """
        orders = []
        for each in self._running.values():
            if each.gateway_id != gateway_id:
                continue
            if each.instance_id is None or not self._hub.is_linked(gateway_id, each.instance_id):
                each.instance_id = instance_id
            if each.instance_id == instance_id:
                orders.append(LinkEvent(test=each.order))
        return orders

    def secrets(self, gateway_id: str, instance_id: str, test_id: str, public_key: bytes) -> TestSecrets:
        """The credentials of a test that runs at this instance, once; ProblemError `not_found`."""
        running = self._of(gateway_id, instance_id, test_id)
        if running.credentials is None or instance_id in running.handed:
            raise _unknown()
        plain = running.credentials.model_dump_json().encode()
        sealed = seal_answer(public_key, sealing.test_info(test_id, gateway_id), plain)
        running.handed.add(instance_id)
        return TestSecrets(sealed=sealed)

    def report(self, gateway_id: str, instance_id: str, test_id: str, result: TestResult) -> None:
        """What the instance found; ProblemError `not_found` if nobody waits for it any more."""
        running = self._of(gateway_id, instance_id, test_id)
        if not running.result.done():
            running.result.set_result(result)

    def _of(self, gateway_id: str, instance_id: str, test_id: str) -> _Running:
        running = self._running.get(test_id)
        if running is None or running.gateway_id != gateway_id or running.instance_id != instance_id:
            raise _unknown()
        return running


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
