"""control.fleet.probes: a connection test is answered by its gateway, once, whatever becomes of the link."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from wardgate import sealing
from wardgate.api.machine import Credentials, LinkEvent, MongoTarget, TestOrder
from wardgate.api.problems import ProblemCode, ProblemError
from wardgate.control.fleet import ConnectionTests

from ..machines import PREFIX, Machine, passed

Client = httpx2.AsyncClient
TARGET = MongoTarget(hosts=[("db1", 27017)], tls=True, reject_unauthorized=True, auth_database="admin")
CREDENTIALS = Credentials(username="reader", password="database secret")


@pytest.fixture
async def quiet(control: Any, admin: Client, shop: str) -> Machine:
    """A gateway that beats but answers nothing by itself."""
    created = (await admin.post(f"{PREFIX}/projects/{shop}/gateways", json={"name": "quiet"})).json()
    machine = await Machine.join(control, created)
    await machine.beat()
    return machine


def order_in(line: str) -> TestOrder:
    event = LinkEvent.model_validate_json(line.removeprefix("data: "))
    assert event.test is not None
    return event.test


async def secrets(machine: Machine, test_id: str, public: bytes) -> httpx2.Response:
    body = f'{{"public_key": "{base64.b64encode(public).decode()}"}}'.encode()
    return await machine.send("POST", f"/gateway/tests/{test_id}/secrets", body)


async def test_credentials_go_sealed_once_to_the_gateway_that_was_asked(
    control: Any, quiet: Machine, gateway: Machine
) -> None:
    tests: ConnectionTests = control.services.tests
    private, public = sealing.generate()
    with control.services.hub.connected(quiet.id, quiet.instance_id) as link:
        running = asyncio.ensure_future(tests.run(quiet.id, "quiet", TARGET, CREDENTIALS))
        lines = link.lines(asyncio.Event())
        await anext(lines)
        order = order_in(await anext(lines))
        assert "database secret" not in order.model_dump_json()
        assert (await secrets(gateway, order.test_id, public)).status_code == 404
        assert (await secrets(quiet, order.test_id, bytes(32))).status_code == 422  # spends nothing
        sealed = (await secrets(quiet, order.test_id, public)).json()["sealed"]
        plain = sealing.open_(private, sealing.test_info(order.test_id, quiet.id), base64.b64decode(sealed))
        assert Credentials.model_validate_json(plain) == CREDENTIALS
        assert (await secrets(quiet, order.test_id, public)).status_code == 404
        report = f'{{"result": {passed().model_dump_json()}}}'.encode()
        assert (await gateway.send("POST", f"/gateway/tests/{order.test_id}", report)).status_code == 404
        assert (await quiet.send("POST", f"/gateway/tests/{order.test_id}", report)).status_code == 204
        assert (await running).ok
    assert (await quiet.send("POST", f"/gateway/tests/{order.test_id}", report)).status_code == 404


async def test_an_order_that_a_lost_link_took_along_is_said_again(control: Any, quiet: Machine) -> None:
    services = control.services
    with services.hub.connected(quiet.id, quiet.instance_id):
        running = asyncio.ensure_future(services.tests.run(quiet.id, "quiet", TARGET, None))
        while not await services.tests.waiting(quiet.id, quiet.instance_id):
            await asyncio.sleep(0.001)
    [event] = await services.tests.waiting(quiet.id, quiet.instance_id)
    assert await services.tests.waiting("gw_other", "gwi_other") == []
    report = f'{{"result": {passed().model_dump_json()}}}'.encode()
    assert event.test is not None
    await quiet.send("POST", f"/gateway/tests/{event.test.test_id}", report)
    assert (await running).ok
    assert await services.tests.waiting(quiet.id, quiet.instance_id) == []


async def test_a_gateway_that_does_not_answer_is_said(control: Any, quiet: Machine, monkeypatch: Any) -> None:
    services = control.services
    monkeypatch.setattr("wardgate.control.fleet.probes._MARGIN", 0.0)
    numbers = replace(services.numbers, connection_test=0.01)
    where = (services.database, services.fleet, services.hub, services.signals)
    tests = ConnectionTests(*where, services.sources, numbers, services.vault)
    with services.hub.connected(quiet.id, quiet.instance_id), pytest.raises(ProblemError, match="in time") as caught:
        await tests.run(quiet.id, "quiet", TARGET, CREDENTIALS)
    assert caught.value.problem.code is ProblemCode.GATEWAY_OFFLINE
    assert await tests.waiting(quiet.id, quiet.instance_id) == []


async def test_one_that_has_been_away_for_long_is_offline_at_once(control: Any, quiet: Machine) -> None:
    control.clock.forward(minutes=5)
    with pytest.raises(ProblemError, match="is offline"):
        await control.services.tests.run(quiet.id, "quiet", TARGET, None)


async def test_one_that_is_just_starting_is_waited_for(control: Any, quiet: Machine) -> None:
    services = control.services
    running = asyncio.ensure_future(services.tests.run(quiet.id, "quiet", TARGET, None))
    await asyncio.sleep(0.01)
    assert not running.done()
    with services.hub.connected(quiet.id, quiet.instance_id):
        while not (waiting := await services.tests.waiting(quiet.id, quiet.instance_id)):
            await asyncio.sleep(0.001)
        report = f'{{"result": {passed().model_dump_json()}}}'.encode()
        await quiet.send("POST", f"/gateway/tests/{waiting[0].test.test_id}", report)
        assert (await running).ok


async def test_credentials_are_sealed_while_a_test_runs_and_gone_afterwards(control: Any, quiet: Machine) -> None:
    services = control.services
    with services.hub.connected(quiet.id, quiet.instance_id):
        running = asyncio.ensure_future(services.tests.run(quiet.id, "quiet", TARGET, CREDENTIALS))
        while not (waiting := await services.tests.waiting(quiet.id, quiet.instance_id)):
            await asyncio.sleep(0.001)
        assert b"database secret" not in control.dump()
        report = f'{{"result": {passed().model_dump_json()}}}'.encode()
        await quiet.send("POST", f"/gateway/tests/{waiting[0].test.test_id}", report)
        await running
    assert await control.count("connection_tests") == 0
