"""Projects as different people see them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from wardgate.control.audit_log import Cause
from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role

URL = "/api/v1/projects"
LoginAs = Callable[..., Awaitable[httpx2.AsyncClient]]


async def create(admin: httpx2.AsyncClient, name: str) -> str:
    answer = await admin.post(URL, json={"name": name})
    assert answer.status_code == 201, answer.text
    project_id: str = answer.json()["id"]
    return project_id


async def test_create_list_and_get(admin: httpx2.AsyncClient) -> None:
    shop, bank = await create(admin, "shop"), await create(admin, "bank")
    listed = (await admin.get(URL)).json()
    assert [item["id"] for item in listed["items"]] == sorted([shop, bank])  # the clock stands still: any order
    assert listed["next"] is None
    assert (await admin.get(f"{URL}/{shop}")).json()["name"] == "shop"


async def test_pages(admin: httpx2.AsyncClient) -> None:
    made = [await create(admin, f"p{number}") for number in range(5)]
    seen, after = [], None
    while True:
        params = {"limit": "2", **({"after": after} if after else {})}
        page = (await admin.get(URL, params=params)).json()
        seen += [item["id"] for item in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert seen == sorted(made)


async def test_a_name_is_taken_once(admin: httpx2.AsyncClient) -> None:
    await create(admin, "shop")
    again = await admin.post(URL, json={"name": "shop"})
    assert again.status_code == 409
    assert again.json()["code"] == "conflict"


@pytest.mark.parametrize("name", ["", "Shop", "-shop", "a" * 64, "shop\n", "../x"])
async def test_names_have_a_form(admin: httpx2.AsyncClient, name: str) -> None:
    assert (await admin.post(URL, json={"name": name})).status_code == 422


async def test_people_see_the_projects_of_their_roles_only(admin: httpx2.AsyncClient, login_as: LoginAs) -> None:
    shop, bank = await create(admin, "shop"), await create(admin, "bank")
    async with await login_as("ann@example.com", (Role.CONNECTOR, Scope(shop, "res_1", "acc_1"))) as ann:
        assert [item["id"] for item in (await ann.get(URL)).json()["items"]] == [shop]
        assert (await ann.get(f"{URL}/{shop}")).status_code == 200
        invisible, missing = await ann.get(f"{URL}/{bank}"), await ann.get(f"{URL}/prj_none")
        assert invisible.status_code == missing.status_code == 404
        assert invisible.json()["code"] == missing.json()["code"] == "not_found"
        assert (await ann.post(URL, json={"name": "mine"})).status_code == 403
    async with await login_as("bob@example.com") as bob:
        assert (await bob.get(URL)).json()["items"] == []


async def test_a_role_ends_when_it_expires(control: Any, admin: httpx2.AsyncClient) -> None:
    shop = await create(admin, "shop")
    async with await control.user("ann@example.com") as ann:
        user_id = (await ann.get("/api/v1/auth/whoami")).json()["id"]
        ends = control.clock() + timedelta(minutes=10)
        await control.services.identity.grant(Cause("test"), user_id, Role.AUDITOR, Scope(shop), expires_at=ends)
        assert (await ann.get(f"{URL}/{shop}")).status_code == 200
        control.clock.forward(minutes=10)
        assert (await ann.get(f"{URL}/{shop}")).status_code == 404
