"""What an account allows: how many sessions live at once, and for how long they may be idle."""

from __future__ import annotations

from typing import Any

import httpx2

from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role

from ..machines import Machine
from .test_sessions import account, ask, lease, relay

__all__ = ["account", "relay"]  # fixtures

Client = httpx2.AsyncClient
V1 = "/api/v1"


async def change(admin: Client, shop: str, **fields: Any) -> httpx2.Response:
    return await admin.patch(f"{V1}/projects/{shop}/resources/mongo/accounts/ro", json=fields)


async def test_the_most_sessions_of_all_users(control: Any, admin: Client, shop: str, account: dict[str, Any]) -> None:
    assert account["max_sessions"] is None
    assert (await change(admin, shop, max_sessions=2)).json()["max_sessions"] == 2
    ann = await control.user("ann@example.com", (Role.CONNECTOR, Scope(shop)))
    first = (await ask(admin, shop)).json()["session"]["id"]
    assert (await ask(ann, shop)).status_code == 201
    refused = await ask(ann, shop)
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_sessions")
    assert (await admin.post(f"{V1}/sessions/{first}/abandon")).status_code == 200
    assert (await ask(ann, shop)).status_code == 201
    assert (await change(admin, shop, max_sessions=None)).json()["max_sessions"] is None
    assert (await ask(ann, shop)).status_code == 201
    for nonsense in (0, -1, 10_001):
        assert (await change(admin, shop, max_sessions=nonsense)).status_code == 422


async def test_the_gateway_is_told_when_a_session_is_idle(
    admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    assert account["idle_timeout"] == "30m"
    for text, seconds in (("30m", 1_800), ("5s", 5), (None, None)):
        assert (await change(admin, shop, idle_timeout=text)).json()["idle_timeout"] == text
        session_id = (await ask(admin, shop)).json()["session"]["id"]
        answer, _ = await lease(gateway, session_id)
        assert answer.json()["policy"]["idle_timeout_s"] == seconds
    refused = await change(admin, shop, idle_timeout="soon")
    assert (refused.status_code, refused.json()["code"]) == (422, "invalid_duration")
