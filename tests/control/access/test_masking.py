"""Masking rules on their way to gateways: in leases, in answers to heartbeats, and never to one that can't mask."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx2

from wardgate import sealing
from wardgate.command.masking import Rule, digest_of

from ..machines import PREFIX, Machine
from .test_sessions import account, granted, relay, report

__all__ = ["account", "relay"]  # fixtures

Client = httpx2.AsyncClient
CARD = {"kind": "path", "expression": "customers.card.number"}


async def rule(admin: Client, shop: str, name: str, path: str) -> None:
    made = await admin.post(f"{PREFIX}/projects/{shop}/masking", json={"name": name, "path": path})
    assert made.status_code == 201, made.text


async def lease(gateway: Machine, session_id: str, **more: Any) -> httpx2.Response:
    _, public = sealing.generate()
    body = {"session_id": session_id, "public_key": base64.b64encode(public).decode(), **more}
    return await gateway.send("POST", "/gateway/leases", json.dumps(body).encode())


async def beat(gateway: Machine, session_id: str, masking: str | None) -> dict[str, Any]:
    listed = {"session_id": session_id, "epoch": 1, "masking": masking}
    return await gateway.beat(json.dumps({"sessions": [listed]}).encode())


async def test_a_lease_has_the_rules(admin: Client, shop: str, gateway: Machine, account: dict[str, Any]) -> None:
    session_id = (await granted(admin, shop))["session"]["id"]
    await rule(admin, shop, "card", CARD["expression"])
    answer = await lease(gateway, session_id, masks=True)
    assert answer.status_code == 200, answer.text
    assert answer.json()["masking"] == [CARD]


async def test_a_gateway_that_can_not_mask_gets_no_lease(
    admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    session_id = (await granted(admin, shop))["session"]["id"]
    await rule(admin, shop, "card", CARD["expression"])
    refused = await lease(gateway, session_id)
    assert (refused.status_code, refused.json()["code"]) == (403, "lease_refused")
    assert "upgrade the gateway" in refused.json()["detail"]
    await admin.delete(f"{PREFIX}/projects/{shop}/masking/card")
    answer = await lease(gateway, session_id)
    assert (answer.status_code, answer.json()["epoch"]) == (200, 1), "the refusal was no epoch"


async def test_a_live_session_gets_what_changed_with_the_next_heartbeat_and_only_that(
    admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    session_id = (await granted(admin, shop))["session"]["id"]
    assert (await lease(gateway, session_id, masks=True)).json()["masking"] == []
    assert await report(gateway, session_id, 1, "active") == 204
    assert (await beat(gateway, session_id, ""))["renewed"][0]["masking"] is None
    await rule(admin, shop, "card", CARD["expression"])
    assert (await beat(gateway, session_id, ""))["renewed"][0]["masking"] == [CARD]
    digest = digest_of([Rule("path", CARD["expression"])])
    assert (await beat(gateway, session_id, digest))["renewed"][0]["masking"] is None
    await rule(admin, shop, "more", "a.b")
    assert len((await beat(gateway, session_id, digest))["renewed"][0]["masking"]) == 2
    for name in ("card", "more"):
        await admin.delete(f"{PREFIX}/projects/{shop}/masking/{name}")
    assert (await beat(gateway, session_id, digest))["renewed"][0]["masking"] == []


async def test_a_session_at_a_gateway_that_can_not_mask_ends_when_a_rule_is_made(
    admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    session_id = (await granted(admin, shop))["session"]["id"]
    assert (await lease(gateway, session_id)).status_code == 200
    assert await report(gateway, session_id, 1, "active") == 204
    assert [each["session_id"] for each in (await beat(gateway, session_id, None))["renewed"]] == [session_id]
    await rule(admin, shop, "card", CARD["expression"])
    answer = await beat(gateway, session_id, None)
    assert answer["renewed"] == []
    ((order,),) = (answer["end"],)
    assert (order["session_id"], order["reason"]) == (session_id, "terminated")
    assert "can't mask" in order["message"]
