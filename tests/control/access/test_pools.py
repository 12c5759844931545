"""Several instances under one gateway: whose word on a session counts, and who may route to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest

from wardgate.api.machine import LinkEvent
from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role

from ..machines import PREFIX, Machine
from .test_gateways import beat
from .test_sessions import account, active, granted, lease, relay, report, show

__all__ = ["account", "relay"]  # fixtures

Client = httpx2.AsyncClient


@pytest.fixture
async def second(control: Any, admin: Client, shop: str, gateway: Machine) -> Machine:
    """A further instance of the same gateway."""
    made = await admin.post(f"{PREFIX}/projects/{shop}/gateways/near-db/tokens")
    assert made.status_code == 201, made.text
    machine = await Machine.join(control, made.json())
    assert (machine.id, machine.name) == (gateway.id, gateway.name)
    assert machine.instance_id != gateway.instance_id
    await machine.beat()
    return machine


@contextlib.asynccontextmanager
async def hearing(control: Any, machine: Machine) -> AsyncIterator[list[LinkEvent]]:
    """What the instance's link hears in the block; filled at its end."""
    heard: list[LinkEvent] = []
    with control.services.hub.connected(machine.id, machine.instance_id) as link:
        yield heard
        link.close()
        lines = [line async for line in link.lines(asyncio.Event())]
    heard += [LinkEvent.model_validate_json(each.removeprefix("data: ")) for each in lines if each.startswith("data: ")]


async def gateways(admin: Client, shop: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await admin.get(f"{PREFIX}/projects/{shop}/gateways")).json()["items"]
    return items


# --- leases -----------------------------------------------------------------------------------------------------------


async def test_a_lease_for_another_instance_fences_the_first_at_once_and_for_good(
    control: Any, admin: Client, shop: str, gateway: Machine, second: Machine, account: dict[str, Any]
) -> None:
    session_id = await active(admin, shop, gateway)
    async with hearing(control, gateway) as heard, hearing(control, second) as others:
        answer, _ = await lease(second, session_id)
        assert (answer.json()["epoch"], answer.json()["active"]) == (2, True)
    [order] = [event.end for event in heard if event.end is not None]
    assert (order.session_id, order.epoch, order.fenced) == (session_id, 1, True)
    assert others == []
    # What the first says from now on changes nothing, and its heartbeats hear the same again.
    assert await report(gateway, session_id, 1, "ended", "client_lost") == 409
    assert await report(gateway, session_id, 2, "ended", "client_lost") == 409
    [order] = (await beat(gateway, (session_id, 1)))["end"]
    assert (order["epoch"], order["fenced"]) == (1, True)
    assert (await beat(second, (session_id, 2)))["end"] == []
    assert await report(second, session_id, 2, "active") == 204
    assert (await show(admin, session_id))["status"] == "active"


async def test_an_instance_can_not_claim_the_epoch_of_another(
    admin: Client, shop: str, gateway: Machine, second: Machine, account: dict[str, Any]
) -> None:
    session_id = await active(admin, shop, gateway)
    [order] = (await beat(second, (session_id, 1)))["end"]
    assert order["fenced"]
    assert (await beat(gateway, (session_id, 1)))["renewed"][0]["session_id"] == session_id


async def test_only_the_holders_heartbeat_says_that_a_session_is_lost(
    admin: Client, shop: str, gateway: Machine, second: Machine, account: dict[str, Any]
) -> None:
    session_id = await active(admin, shop, gateway)
    await beat(gateway, (session_id, 1))
    await beat(second)
    await admin.post(f"{PREFIX}/sessions/{session_id}/terminate")
    await beat(second)  # the other one does not serve it, and that means nothing
    assert (await show(admin, session_id))["status"] == "active"
    await beat(gateway)
    assert (await show(admin, session_id))["end_reason"] == "terminated"


# --- instances --------------------------------------------------------------------------------------------------------


async def test_the_list_shows_every_instance(
    control: Any, admin: Client, shop: str, gateway: Machine, second: Machine
) -> None:
    control.clock.forward(seconds=31)
    await second.beat(b'{"version": "2.0", "host": "db-two", "advertise": "db-two:9000"}')
    with control.services.hub.connected(second.id, second.instance_id):
        [shown] = await gateways(admin, shop)
    assert (shown["status"], shown["version"]) == ("online", "2.0")
    listed = {each["id"]: each for each in shown["instances"]}
    assert listed[gateway.instance_id]["status"] == "offline"
    found = listed[second.instance_id]
    assert (found["status"], found["host"], found["address"]) == ("online", "db-two", "db-two:9000")


async def test_one_instance_is_revoked_and_the_other_goes_on(
    control: Any, admin: Client, shop: str, gateway: Machine, second: Machine, relay: Machine, account: dict[str, Any]
) -> None:
    session_id = await active(admin, shop, gateway)
    where = f"{PREFIX}/projects/{shop}/gateways/near-db/instances"
    revoked = await admin.post(f"{where}/{gateway.instance_id}/revoke")
    statuses = {each["id"]: each["status"] for each in revoked.json()["instances"]}
    assert statuses == {gateway.instance_id: "revoked", second.instance_id: "offline"}
    refused = await gateway.send("POST", "/gateway/heartbeat", b"{}")
    assert (refused.status_code, refused.json()["context"]) == (403, {"revoked": "instance"})
    assert (await lease(gateway, session_id))[0].status_code == 403
    answer = await relay.send("POST", "/relay/heartbeat", b'{"address": "relay.example:443"}')
    assert answer.json()["revoked"] == []
    assert len(answer.json()["revoked_instances"]) == 1
    assert (await lease(second, session_id))[0].json()["epoch"] == 2
    assert (await show(admin, session_id))["status"] == "active"
    assert (await admin.post(f"{where}/{gateway.instance_id}/revoke")).status_code == 200
    assert (await admin.post(f"{where}/gwi_{'0' * 26}/revoke")).status_code == 404
    await admin.post(f"{PREFIX}/projects/{shop}/gateways/near-db/revoke")
    refused = await second.send("POST", "/gateway/heartbeat", b"{}")
    assert (refused.status_code, refused.json()["context"]) == (403, {"revoked": "all"})


async def test_a_token_for_a_gateway_that_is_revoked_is_worth_nothing(
    control: Any, admin: Client, shop: str, gateway: Machine
) -> None:
    where = f"{PREFIX}/projects/{shop}/gateways/near-db"
    made = (await admin.post(f"{where}/tokens")).json()
    await admin.post(f"{where}/revoke")
    with pytest.raises(AssertionError, match="enrolment_refused"):
        await Machine.join(control, made)
    assert (await admin.post(f"{where}/tokens")).status_code == 404


# --- ways -------------------------------------------------------------------------------------------------------------


async def test_the_ways_to_a_live_session_are_told_again(
    control: Any, admin: Client, shop: str, gateway: Machine, second: Machine, account: dict[str, Any]
) -> None:
    session_id = await active(admin, shop, gateway)
    for machine, address in ((gateway, "db-one:9000"), (second, "db-two:9000")):
        await machine.beat(f'{{"advertise": "{address}"}}'.encode())
    hub = control.services.hub
    with hub.connected(second.id, second.instance_id):
        routes = (await admin.get(f"{PREFIX}/sessions/{session_id}/routes")).json()["routes"]
    assert [each["kind"] for each in routes] == ["direct", "direct", "relay"]
    assert {each["address"] for each in routes} == {"db-one:9000", "db-two:9000", "relay.example:443"}
    assert len({each["instance"] for each in routes}) == 3
    assert routes[2]["instance"] is None
    routes = (await admin.get(f"{PREFIX}/sessions/{session_id}/routes")).json()["routes"]
    assert [each["address"] for each in routes] == ["db-one:9000", "relay.example:443"], "the other is not online"


async def test_ways_are_told_to_the_sessions_own_user_while_it_lives_and_while_they_may(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    kim = await control.user("kim@example.com", (Role.CONNECTOR, Scope(project_id=shop)))
    session_id = (await granted(kim, shop))["session"]["id"]
    where = f"{PREFIX}/sessions/{session_id}/routes"
    assert (await kim.get(where)).status_code == 200
    assert (await admin.get(where)).status_code == 404, "an administrator may end it, not take part in it"
    await control.execute("DELETE FROM role_bindings WHERE role = 'connector'")
    assert (await kim.get(where)).status_code in (403, 404)
    own = (await granted(admin, shop))["session"]["id"]
    await admin.post(f"{PREFIX}/sessions/{own}/terminate")
    ended = await admin.get(f"{PREFIX}/sessions/{own}/routes")
    assert (ended.status_code, ended.json()["code"]) == (409, "session_ended")
