"""Signed-in devices: what is told of them, what keeps them signed in, and what ends them."""

from __future__ import annotations

import json
from typing import Any

import httpx2

from wardgate.api.problems import ProblemError
from wardgate.control.audit_log import Cause
from wardgate.control.identity.actor import Scope
from wardgate.control.identity.model import TokenKind
from wardgate.control.identity.permissions import Role
from wardgate.secret import Secret

from ..access.test_sessions import account, active, relay, show, sweep
from ..machines import Machine

__all__ = ["account", "relay"]  # fixtures

V1 = "/api/v1"
EMAIL, PASSWORD = "admin@example.com", "correct horse battery staple"


async def log_in(client: httpx2.AsyncClient, **more: Any) -> dict[str, Any]:
    tokens: dict[str, Any] = (
        await client.post(f"{V1}/auth/login", json={"email": EMAIL, "password": PASSWORD, **more})
    ).json()
    return tokens


async def devices(client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = (await client.get(f"{V1}/auth/sign-ins")).json()["items"]
    return items


async def test_a_device_tells_its_name_and_its_last_use(control: Any, nobody: httpx2.AsyncClient) -> None:
    tokens = await log_in(nobody, device="laptop")
    async with control.client(tokens["access_token"], address="198.51.100.7") as client:
        assert [(d["name"], d["address"], d["current"]) for d in await devices(client)] == [
            ("laptop", "192.0.2.1", True)
        ]
        control.clock.forward(minutes=1)
        (device,) = await devices(client)
        assert (device["address"], device["used_at"]) == ("198.51.100.7", "2030-01-01T00:01:00Z")
        renamed = await client.patch(f"{V1}/auth/sign-ins/{device['id']}", json={"name": " my\tlaptop "})
        assert renamed.json()["name"] == "my laptop"
        assert [d["name"] for d in await devices(client)] == ["my laptop"]


async def test_nobody_touches_the_devices_of_others(control: Any, admin: httpx2.AsyncClient) -> None:
    async with await control.user("ann@example.com") as ann:
        (mine,) = await devices(ann)
        for answer in (
            await admin.delete(f"{V1}/auth/sign-ins/{mine['id']}"),
            await admin.patch(f"{V1}/auth/sign-ins/{mine['id']}", json={"name": "x"}),
            await admin.delete(f"{V1}/users/{EMAIL}/sign-ins/{mine['id']}"),
            await ann.get(f"{V1}/users/{EMAIL}/sign-ins"),
        ):
            assert answer.status_code in (403, 404)
        assert [d["id"] for d in await devices(ann)] == [mine["id"]]


async def test_an_administrator_signs_somebodys_device_out(control: Any, admin: httpx2.AsyncClient) -> None:
    async with await control.user("ann@example.com") as ann:
        (device,) = (await admin.get(f"{V1}/users/ann@example.com/sign-ins")).json()["items"]
        assert device["current"] is False
        assert (await admin.delete(f"{V1}/users/ann@example.com/sign-ins/{device['id']}")).status_code == 204
        assert (await ann.get(f"{V1}/auth/whoami")).status_code == 401
    assert (await control.events())[-1].event == "user.logged_out"


async def test_all_others_are_signed_out_at_once(control: Any, admin: httpx2.AsyncClient) -> None:
    others = [await control.login(EMAIL) for _ in range(3)]
    assert (await admin.delete(f"{V1}/auth/sign-ins")).status_code == 204
    assert [d["current"] for d in await devices(admin)] == [True]
    assert {(await other.get(f"{V1}/auth/whoami")).status_code for other in others} == {401}


async def test_the_sessions_of_a_device_that_is_signed_out_end(
    control: Any, admin: httpx2.AsyncClient, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    ann = await control.user("ann@example.com", (Role.CONNECTOR, Scope(shop)))
    other = await control.login("ann@example.com")
    lost, kept = await active(ann, shop, gateway), await active(other, shop, gateway)
    (device,) = [d for d in await devices(ann) if d["current"]]
    assert (await other.delete(f"{V1}/auth/sign-ins/{device['id']}")).status_code == 204
    await sweep(control)
    beating = [{"session_id": session_id, "epoch": 1} for session_id in (lost, kept)]
    ended = (await gateway.beat(json.dumps({"sessions": beating}).encode()))["end"]
    assert [(each["session_id"], each["reason"]) for each in ended] == [(lost, "rights_lost")]
    assert (await show(other, kept))["status"] == "active"


# --- browsers ------------------------------------------------------------------------------------------------------


async def browser(control: Any) -> str:
    made = await control.services.identity.login_browser(
        EMAIL, Secret(PASSWORD), Cause("test", address="192.0.2.1"), name="Firefox on Linux"
    )
    token: str = made.token.reveal_text()
    return token


async def uses(control: Any, token: str) -> bool:
    try:
        await control.services.sign_ins.authenticate(token, Cause("test", address="192.0.2.1"), TokenKind.BROWSER)
    except ProblemError:
        return False
    return True


async def test_a_browsers_token_opens_pages_and_no_api(control: Any, nobody: httpx2.AsyncClient) -> None:
    token = await browser(control)
    assert await uses(control, token)
    async with control.client(token) as client:
        assert (await client.get(f"{V1}/auth/whoami")).status_code == 401
    assert (await nobody.post(f"{V1}/auth/refresh", json={"refresh_token": token})).status_code == 401
    assert not await uses(control, (await log_in(nobody))["access_token"])


async def test_a_browser_that_is_used_stays_for_twelve_hours(control: Any) -> None:
    token = await browser(control)
    for _ in range(17):
        control.clock.forward(minutes=42)
        assert await uses(control, token)
    control.clock.forward(minutes=6)
    assert not await uses(control, token)


async def test_a_browser_that_is_not_used_is_signed_out_after_an_hour(control: Any, admin: httpx2.AsyncClient) -> None:
    token = await browser(control)
    assert ("browser", "Firefox on Linux") in {(d["kind"], d["name"]) for d in await devices(admin)}
    control.clock.forward(minutes=59)
    assert await uses(control, token)
    control.clock.forward(minutes=60)
    assert not await uses(control, token)
