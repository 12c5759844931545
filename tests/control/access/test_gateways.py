"""What gateways may ask and say of sessions: refused leases cost nothing, and no end waits for who is gone."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import httpx2
import pytest
from sqlalchemy import select

from wardgate.api.machine import LinkEvent
from wardgate.control.audit_log.model import AuditEvent
from wardgate.tunnel import route

from ..machines import PREFIX, Machine
from .test_sessions import account, active, ask, granted, lease, relay, relay_beat, report, show, sweep

__all__ = ["account", "relay"]  # fixtures

Client = httpx2.AsyncClient


async def beat(gateway: Machine, *sessions: tuple[str, int]) -> dict[str, Any]:
    listed = [{"session_id": session_id, "epoch": epoch} for session_id, epoch in sessions]
    return await gateway.beat(json.dumps({"sessions": listed}).encode())


async def events(control: Any, target: str) -> list[dict[str, Any]]:
    async with control.services.database.read() as session:
        rows = await session.scalars(select(AuditEvent).where(AuditEvent.target == target).order_by(AuditEvent.seq))
        return [{"event": row.event, **row.details} for row in rows]


# --- leases -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [b"", bytes(32), b"x" * 33])
async def test_a_lease_for_no_key_is_no_epoch(
    admin: Client, shop: str, gateway: Machine, account: dict[str, Any], key: bytes
) -> None:
    session_id = await active(admin, shop, gateway)
    body = json.dumps({"session_id": session_id, "public_key": base64.b64encode(key).decode()}).encode()
    refused = await gateway.send("POST", "/gateway/leases", body)
    assert refused.status_code == 422
    assert (await lease(gateway, session_id))[0].json()["epoch"] == 2


async def test_no_lease_after_the_end_or_the_expiry(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    ended = await active(admin, shop, gateway)
    await report(gateway, ended, 1, "ended", "client_closed")
    answer, _ = await lease(gateway, ended)
    assert (answer.status_code, answer.json()["code"]) == (403, "lease_refused")
    expiring = (await granted(admin, shop, duration="5s"))["session"]["id"]
    control.clock.forward(seconds=5)
    answer, _ = await lease(gateway, expiring)
    assert "has expired" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("mongo", {"connection_string": "mongodb://db2"}),
        ("mongo", {"ssl": False}),
        ("mongo/accounts/ro", {"require_mfa": True}),
    ],
)
async def test_no_lease_for_what_has_changed_since_the_grant(
    admin: Client, shop: str, gateway: Machine, account: dict[str, Any], path: str, change: dict[str, Any]
) -> None:
    session_id = (await granted(admin, shop))["session"]["id"]
    assert (await admin.patch(f"{PREFIX}/projects/{shop}/resources/{path}", json=change)).status_code == 200
    answer, _ = await lease(gateway, session_id)
    assert (answer.status_code, answer.json()["code"]) == (403, "lease_refused")


async def test_a_resource_that_changed_grants_nothing_until_the_password_is_there_again(
    admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    base = f"{PREFIX}/projects/{shop}/resources/mongo"
    await admin.patch(base, json={"connection_string": "mongodb://db2"})
    refused = await ask(admin, shop)
    assert (refused.status_code, refused.json()["code"]) == (409, "account_needs_password")
    assert (await admin.patch(f"{base}/accounts/ro", json={"password": "new one"})).status_code == 200
    session_id = (await granted(admin, shop))["session"]["id"]
    _, secrets = await lease(gateway, session_id)
    assert secrets is not None
    assert secrets.credentials.password == "new one"


async def test_the_lease_names_the_mechanism_and_the_policy(
    admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    base = f"{PREFIX}/projects/{shop}/resources/mongo"
    await admin.patch(base, json={"connection_string": "mongodb://db1/?authMechanism=SCRAM-SHA-1&replicaSet=rs0"})
    await admin.patch(f"{base}/accounts/ro", json={"allow_admin": True, "password": "p" * 300})
    order, credentials = gateway.seen[-1]
    assert credentials is not None
    assert credentials.mechanism == "SCRAM-SHA-1"
    session_id = (await granted(admin, shop))["session"]["id"]
    answer, secrets = await lease(gateway, session_id)
    assert secrets is not None
    assert secrets.credentials == credentials
    assert answer.json()["target"] == order.target.model_dump(mode="json")
    assert answer.json()["policy"] == {"allow_admin": True, "idle_timeout_s": 1_800}


# --- ends -------------------------------------------------------------------------------------------------------------


async def test_an_order_that_a_restart_lost_ends_with_the_next_heartbeat(
    admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    session_id = await active(admin, shop, gateway)
    await admin.post(f"{PREFIX}/sessions/{session_id}/terminate")
    await beat(gateway, (session_id, 1))
    assert (await show(admin, session_id))["status"] == "active"
    await beat(gateway)  # it serves the session no more, and will never report it
    shown = await show(admin, session_id)
    assert (shown["status"], shown["end_reason"]) == ("ended", "terminated")
    assert shown["end_message"] == "Terminated by admin@example.com."
    assert await report(gateway, session_id, 1, "ended", "terminated") == 204


async def test_a_session_that_a_restart_forgot_waits_for_its_cli(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    session_id = await active(admin, shop, gateway)
    await beat(gateway)
    shown = await show(admin, session_id)
    assert (shown["status"], shown["link"]) == ("active", "lost")
    await lease(gateway, session_id)
    assert await report(gateway, session_id, 2, "active") == 204
    assert await report(gateway, session_id, 2, "active") == 204
    await beat(gateway, (session_id, 2))
    shown = await show(admin, session_id)
    assert (shown["status"], shown["link"]) == ("active", "ok")


async def test_a_terminated_session_of_a_silent_gateway_ends_with_its_lease(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    session_id = await active(admin, shop, gateway)
    await admin.post(f"{PREFIX}/sessions/{session_id}/terminate")
    control.clock.forward(minutes=10)
    await sweep(control)
    assert (await show(admin, session_id))["end_reason"] == "terminated"


async def test_a_revoked_gateway_is_told_to_end_its_sessions_before_it_is_cut(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    session_id = await active(admin, shop, gateway)
    with control.services.hub.connected(gateway.id, gateway.instance_id) as link:
        await admin.post(f"{PREFIX}/projects/{shop}/gateways/near-db/revoke")
        lines = [line async for line in link.lines(asyncio.Event())]  # ends by itself: the link was cut
    heard = [LinkEvent.model_validate_json(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    assert [event.end.session_id for event in heard if event.end is not None] == [session_id]
    assert (await lease(gateway, session_id))[0].status_code == 403


async def test_an_order_goes_down_the_link_at_once(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    session_id = await active(admin, shop, gateway)
    with control.services.hub.connected(gateway.id, gateway.instance_id) as link:
        await admin.post(f"{PREFIX}/sessions/{session_id}/terminate")
        link.close()
        lines = [line async for line in link.lines(asyncio.Event())]
    event = LinkEvent.model_validate_json(lines[1].removeprefix("data: "))
    assert event.end is not None
    assert (event.end.session_id, event.end.message) == (session_id, "Terminated by admin@example.com.")


# --- routes and events ------------------------------------------------------------------------------------------------


async def test_the_direct_route_is_first_then_relays_that_hold_the_gateway(
    control: Any, admin: Client, shop: str, gateway: Machine, relay: Machine, account: dict[str, Any]
) -> None:
    created = (await admin.post(f"{PREFIX}/relays", json={"name": "west"})).json()
    west = await Machine.join(control, created, kind="relay")
    body = json.dumps({"address": "west.example:443", "gateways": [gateway.id]}).encode()
    await west.send("POST", "/relay/heartbeat", body)
    await gateway.beat(b'{"advertise": "gw.example:7000"}')
    grant = await granted(admin, shop)
    assert [(way["kind"], way["name"]) for way in grant["routes"]] == [
        ("direct", "near-db"),
        ("relay", "west"),
        ("relay", "east"),
    ]
    snis = {way["sni"] for way in grant["routes"]}
    assert len(snis) == 3  # each relay has a key of its own
    for way in grant["routes"][1:]:
        name = route.parse_server_name(way["sni"])
        assert name is not None
        assert name.gateway_id == gateway.id


async def test_every_step_and_refusal_is_one_event(
    control: Any, admin: Client, shop: str, gateway: Machine, relay: Machine, account: dict[str, Any]
) -> None:
    session_id = await active(admin, shop, gateway)
    await report(gateway, session_id, 1, "ended", "client_closed")
    assert [event["event"] for event in await events(control, session_id)] == [
        "session.created",
        "session.started",
        "session.ended",
    ]
    control.clock.forward(minutes=5)
    await gateway.beat()
    assert (await ask(admin, shop)).json()["code"] == "relay_unavailable"
    refusals = [event for event in await events(control, account["id"]) if event["event"] == "session.refused"]
    assert [event["code"] for event in refusals] == ["relay_unavailable"]
    await relay_beat(relay)
    assert (await ask(admin, shop)).status_code == 201
