"""Groups: holding roles together, and losing them together."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from wardgate.control.audit_log import Cause
from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role
from wardgate.control.identity.store import user_by_email

from ..access.test_sessions import account, active, ask, relay, sweep
from ..machines import Machine

__all__ = ["account", "relay"]  # fixtures

Client = httpx2.AsyncClient
V1 = "/api/v1"
ANN = "ann@example.com"


@pytest.fixture
async def devs(admin: Client, shop: str) -> str:
    """A group that connects in the project; its name."""
    assert (await admin.post(f"{V1}/groups", json={"name": "devs"})).status_code == 201
    bound = await admin.post(f"{V1}/bindings", json={"group": "devs", "role": "connector", "scope": shop})
    assert bound.status_code == 201, bound.text
    assert (bound.json()["kind"], bound.json()["holder"], bound.json()["user"]) == ("group", "devs", None)
    return "devs"


async def join(client: Client, group: str, user: str = ANN) -> httpx2.Response:
    return await client.put(f"{V1}/groups/{group}/members/{user}")


async def test_a_member_holds_the_roles_of_the_group(
    admin: Client, login_as: Any, shop: str, account: dict[str, Any], devs: str
) -> None:
    ann = await login_as(ANN)
    assert (await ask(ann, shop)).status_code == 404
    joined = await join(admin, devs)
    assert joined.status_code == 200, joined.text
    assert [(each["user"], each["source"]) for each in joined.json()["users"]] == [(ANN, None)]
    assert (await join(admin, devs)).json()["members"] == 1  # said again, it is the same
    assert (await ask(ann, shop)).status_code == 201
    roles = (await ann.get(f"{V1}/auth/whoami")).json()["roles"]
    assert roles == [{"role": "connector", "scope": shop, "group": "devs"}]
    listed = (await admin.get(f"{V1}/bindings", params={"group": devs})).json()["items"]
    assert [(each["holder"], each["scope"]) for each in listed] == [("devs", shop)]
    assert (await admin.get(f"{V1}/bindings", params={"user": ANN})).json()["items"] == []


@pytest.mark.parametrize("how", ["leave", "delete group", "revoke", "disable", "delete user"])
async def test_whoever_loses_a_group_loses_its_sessions(
    control: Any,
    admin: Client,
    login_as: Any,
    shop: str,
    gateway: Machine,
    account: dict[str, Any],
    devs: str,
    how: str,
) -> None:
    ann = await login_as(ANN)
    await join(admin, devs)
    session_id = await active(ann, shop, gateway)
    waking = next(job for job in control.services.background if job.name == "access").wake
    await sweep(control)
    assert not waking.is_set()
    binding = (await admin.get(f"{V1}/bindings", params={"group": devs})).json()["items"][0]["id"]
    done = await {
        "leave": lambda: admin.delete(f"{V1}/groups/{devs}/members/{ANN}"),
        "delete group": lambda: admin.delete(f"{V1}/groups/{devs}"),
        "revoke": lambda: admin.delete(f"{V1}/bindings/{binding}"),
        "disable": lambda: admin.post(f"{V1}/users/{ANN}/disable"),
        "delete user": lambda: admin.delete(f"{V1}/users/{ANN}"),
    }[how]()
    assert done.status_code in (200, 204), done.text
    assert waking.is_set()  # nobody waits for the next turn
    await sweep(control)
    told = await gateway.beat(f'{{"sessions": [{{"session_id": "{session_id}", "epoch": 1}}]}}'.encode())
    assert [(order["session_id"], order["reason"]) for order in told["end"]] == [(session_id, "rights_lost")]
    assert (await ask(ann, shop)).status_code in (401, 404)


async def test_a_role_of_ones_own_survives_the_group(
    control: Any, admin: Client, login_as: Any, shop: str, gateway: Machine, account: dict[str, Any], devs: str
) -> None:
    ann = await login_as(ANN, (Role.CONNECTOR, Scope(shop)))
    await join(admin, devs)
    session_id = await active(ann, shop, gateway)
    assert (await admin.delete(f"{V1}/groups/{devs}")).status_code == 204
    await sweep(control)
    told = await gateway.beat(f'{{"sessions": [{{"session_id": "{session_id}", "epoch": 1}}]}}'.encode())
    assert told["end"] == []


async def test_nobody_puts_somebody_where_they_could_not_give_the_roles(
    admin: Client, login_as: Any, shop: str, devs: str
) -> None:
    """An administrator for an hour does not make himself one for ever by way of a group."""
    temporary = await login_as(ANN)
    await admin.post(f"{V1}/bindings", json={"user": ANN, "role": "admin", "scope": "organisation", "duration": "1h"})
    refused = await join(temporary, devs)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert (await admin.get(f"{V1}/groups/{devs}")).json()["members"] == 0
    assert (await temporary.post(f"{V1}/groups", json={"name": "empty"})).status_code == 201
    assert (await join(temporary, "empty")).status_code == 200
    late = await temporary.post(f"{V1}/bindings", json={"group": "empty", "role": "admin", "scope": shop})
    assert late.status_code == 403


async def test_groups_are_the_organisations(admin: Client, login_as: Any, shop: str, devs: str) -> None:
    chief = await login_as("chief@example.com", (Role.ADMIN, Scope(shop)))
    assert (await chief.post(f"{V1}/groups", json={"name": "mine"})).status_code == 403
    assert (await join(chief, devs, "chief@example.com")).status_code == 403
    # Who administers a project gives its roles to whom they like, a group too.
    bound = await chief.post(f"{V1}/bindings", json={"group": devs, "role": "auditor", "scope": shop})
    assert bound.status_code == 201


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"user": ANN, "group": "devs"},
        {"user": ANN, "group": "devs", "service": "ci"},
        {"group": ""},
        {"group": "nobody"},
        {"service": "nobody"},
    ],
)
async def test_a_role_is_for_one_holder(admin: Client, login_as: Any, shop: str, body: dict[str, str]) -> None:
    await login_as(ANN)
    answer = await admin.post(f"{V1}/bindings", json={"role": "connector", "scope": shop, **body})
    assert answer.status_code == (404 if "nobody" in body.values() else 422)


async def test_what_can_be_changed(control: Any, admin: Client, devs: str) -> None:
    await admin.post(f"{V1}/groups", json={"name": "ops", "description": "at night"})
    assert (await admin.post(f"{V1}/groups", json={"name": "ops"})).status_code == 409
    assert (await admin.patch(f"{V1}/groups/ops", json={"name": devs})).status_code == 409
    changed = await admin.patch(f"{V1}/groups/ops", json={"name": "nights"})
    assert (changed.json()["name"], changed.json()["description"]) == ("nights", "at night")
    assert (await admin.get(f"{V1}/groups/ops")).status_code == 404
    names = [each["name"] for each in (await admin.get(f"{V1}/groups")).json()["items"]]
    assert sorted(names) == sorted([devs, "nights"])  # ids of one millisecond come in any order
    event = [each for each in await control.events() if each.event == "group.updated"][-1]
    assert (event.details["before"], event.details["after"]) == ({"name": "ops"}, {"name": "nights"})


async def test_what_a_provider_says_is_its_own(
    control: Any, admin: Client, login_as: Any, shop: str, devs: str
) -> None:
    """Single sign-on sets its memberships at each sign-in; those made by hand stay."""
    await login_as(ANN)
    groups, cause = control.services.groups, Cause("sso")
    ops = (await admin.post(f"{V1}/groups", json={"name": "ops"})).json()["id"]
    devs_id = (await admin.get(f"{V1}/groups/{devs}")).json()["id"]
    await join(admin, "ops")

    async def say(*ids: str) -> bool:
        async with control.services.database.write() as session:
            user = await user_by_email(session, ANN)
            left: bool = await groups.set_memberships(session, cause, user, "idp_1", ids)
            return left

    assert await say(devs_id, ops, "grp_gone") is False
    assert await say(ops) is True
    assert (await admin.get(f"{V1}/groups/{devs}")).json()["members"] == 0
    assert await say() is True
    members = (await admin.get(f"{V1}/groups/ops")).json()["users"]
    assert [each["source"] for each in members] == [None]
