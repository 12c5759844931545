"""The control plane's own log: who sees what of it, and that nobody changes it unseen."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx2
import pytest

from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role

Client = httpx2.AsyncClient
V1 = "/api/v1"


async def events(client: Client, /, **asked: str) -> list[dict[str, Any]]:
    answer = await client.get(f"{V1}/audit-events", params=asked)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


async def test_newest_first_with_all_that_matters(admin: Client, shop: str) -> None:
    first = (await events(admin))[0]
    assert (first["event"], first["actor"], first["target"], first["project_id"]) == (
        "project.created",
        "admin@example.com",
        shop,
        shop,
    )
    assert (first["address"], first["details"]) == ("192.0.2.1", {"name": "shop"})
    numbers = [each["seq"] for each in await events(admin)]
    assert numbers == sorted(numbers, reverse=True)


async def test_pages_are_whole(admin: Client, shop: str) -> None:
    every = [each["seq"] for each in await events(admin)]
    seen, after = [], None
    while True:
        params = {"limit": "2", **({"after": after} if after else {})}
        page = (await admin.get(f"{V1}/audit-events", params=params)).json()
        seen += [each["seq"] for each in page["items"]]
        after = page["next"]
        if after is None:
            break
    assert seen == every
    for nonsense in ("x", "-1", "9" * 30, "²"):
        assert (await admin.get(f"{V1}/audit-events", params={"after": nonsense})).status_code == 422


async def test_filters(control: Any, admin: Client, shop: str) -> None:
    control.clock.at += timedelta(minutes=1)
    noon = control.clock.at.isoformat()
    control.clock.at += timedelta(minutes=1)
    made = (await admin.post(f"{V1}/users", json={"email": "ann@example.com", "password": "long enough"})).json()
    assert [each["event"] for each in await events(admin, target=made["id"])] == ["user.created"]
    assert {each["event"] for each in await events(admin, event="project")} == {"project.created"}
    assert await events(admin, event="proj") == []
    assert await events(admin, event="project.created") == await events(admin, event="project")
    assert await events(admin, event="%") == []
    assert {each["actor"] for each in await events(admin, by="admin@example.com")} == {"admin@example.com"}
    assert await events(admin, by="who@example.com") == []
    assert [each["event"] for each in await events(admin, since=noon)] == ["user.created"]
    assert "project.created" in {each["event"] for each in await events(admin, until=noon)}
    assert {each["project_id"] for each in await events(admin, project_id=shop)} == {shop}
    assert (await admin.get(f"{V1}/audit-events", params={"since": "2030-01-01"})).status_code == 422  # whose midnight?


async def test_events_tell_the_program_that_asked_and_are_found_by_it(control: Any, admin: Client) -> None:
    agents = {
        "one": "Mozilla/5.0 (X11) Firefox/140.0",
        "two": "curl/8.5",
        "three": "x" * 500,
        "four": "Zilla_\x07%\xe9",
    }
    for name, agent in agents.items():
        headers = {"user-agent": agent.encode("latin-1")}
        made = await admin.post(f"{V1}/projects", json={"name": name}, headers=headers)  # type: ignore[arg-type]
        assert made.status_code == 201, made.text

    async def found(**asked: str) -> list[str]:
        return [each["details"]["name"] for each in await events(admin, event="project", **asked)]

    assert await found(client="firefox/") == ["one"], "whatever its case"
    assert await found(client="illa") == ["four", "one"]
    assert await found(client="_") == await found(client="%") == ["four"], "nothing in it is a pattern"
    clients = {each["details"]["name"]: each["client"] for each in await events(admin, event="project")}
    assert clients == {"one": agents["one"], "two": "curl/8.5", "three": "x" * 200, "four": "Zilla_?%?"}


async def test_events_are_found_by_where_they_came_from(control: Any, admin: Client, shop: str) -> None:
    token = admin.headers["authorization"].removeprefix("Bearer ")
    async with control.client(token, address="198.51.100.7") as elsewhere:
        await elsewhere.post(f"{V1}/projects", json={"name": "far"})
    assert [each["details"]["name"] for each in await events(admin, address="198.51.100.7")] == ["far"]
    assert await events(admin, address="198.51.100") == []
    assert {each["address"] for each in await events(admin, address="192.0.2.1")} == {"192.0.2.1"}


async def test_readers_of_a_project_see_that_project(control: Any, admin: Client, shop: str) -> None:
    bank = (await admin.post(f"{V1}/projects", json={"name": "bank"})).json()["id"]
    reader = await control.user("reader@example.com", (Role.AUDITOR, Scope(shop)))
    assert {each["project_id"] for each in await events(reader)} == {shop}
    assert await events(reader, project_id=bank) == []
    everywhere = await control.user("chief@example.com", (Role.AUDITOR, Scope()))
    assert {each["project_id"] for each in await events(everywhere)} == {None, shop, bank}
    for outsider in (
        await control.user("con@example.com", (Role.CONNECTOR, Scope(shop))),
        await control.user("no@x.de"),
    ):
        assert (await outsider.get(f"{V1}/audit-events")).status_code in (403, 404)
    narrow = await control.user("narrow@example.com", (Role.AUDITOR, Scope(shop, "res_1")))
    assert await events(narrow) == []  # a project's log tells of more than one of its resources


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE audit_events SET actor = 'eve@example.com' WHERE seq = 2",
        "UPDATE audit_events SET details = '{}' WHERE seq = 2",
        "DELETE FROM audit_events WHERE seq = 2",
        "UPDATE audit_events SET at = '2029-01-01 00:00:00' WHERE seq = 2",
    ],
)
async def test_what_is_changed_is_found(control: Any, admin: Client, shop: str, harm: str) -> None:
    url = f"{V1}/audit-events/verification"
    whole = (await admin.get(url)).json()
    assert (whole["ok"], whole["first_broken"]) == (True, None)
    assert whole["events"] == (await events(admin))[0]["seq"]
    assert len(whole["head"]) == 64
    await control.execute(harm)
    assert (await admin.get(url)).json() | {"head": "", "events": 0} == {
        "ok": False,
        "events": 0,
        "first_broken": 2,
        "head": "",
    }


# --- signed-in devices ------------------------------------------------------------------------------------------------


async def test_devices_are_listed_and_signed_out(control: Any, shop: str) -> None:
    here = await control.user("ann@example.com")
    there = await control.login("ann@example.com")
    listed = (await here.get(f"{V1}/auth/sign-ins")).json()["items"]
    assert sorted(each["current"] for each in listed) == [False, True]
    (other,) = [each["id"] for each in listed if not each["current"]]
    assert (await here.delete(f"{V1}/auth/sign-ins/{other}")).status_code == 204
    assert (await there.get(f"{V1}/auth/whoami")).status_code == 401
    assert (await here.delete(f"{V1}/auth/sign-ins/{other}")).status_code == 404
    assert len((await here.get(f"{V1}/auth/sign-ins")).json()["items"]) == 1


async def test_nobody_signs_others_out(control: Any, admin: Client) -> None:
    ann = await control.user("ann@example.com")
    (mine,) = (await ann.get(f"{V1}/auth/sign-ins")).json()["items"]
    assert (await admin.delete(f"{V1}/auth/sign-ins/{mine['id']}")).status_code == 404
    assert (await ann.get(f"{V1}/auth/whoami")).status_code == 200


async def test_a_sign_in_that_has_run_out_is_not_listed(control: Any) -> None:
    await control.user("ann@example.com")
    control.clock.at += timedelta(days=31)
    fresh = await control.login("ann@example.com")
    assert len((await fresh.get(f"{V1}/auth/sign-ins")).json()["items"]) == 1
