"""Roles at places: who may give them, who sees them, and what taking one back does to a live session."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx2
import pytest

from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role

from ..access.test_sessions import account, active, ask, relay, show, sweep
from ..machines import Machine

__all__ = ["account", "relay"]  # fixtures

Client = httpx2.AsyncClient
V1 = "/api/v1"
ANN = "ann@example.com"


async def grant(client: Client, role: str, scope: str, user: str = ANN, **more: str) -> httpx2.Response:
    return await client.post(f"{V1}/bindings", json={"user": user, "role": role, "scope": scope, **more})


async def test_a_role_at_an_account_opens_that_account_only(
    admin: Client, login_as: Any, shop: str, account: dict[str, Any]
) -> None:
    form = {"name": "rw", "username": "writer", "password": "database secret"}
    other = await admin.post(f"{V1}/projects/{shop}/resources/mongo/accounts", json=form)
    assert other.status_code == 201
    ann = await login_as(ANN)
    assert (await ask(ann, shop)).status_code == 404
    bound = await grant(admin, "connector", account["id"])
    assert bound.status_code == 201, bound.text
    assert (bound.json()["scope"], bound.json()["user"]) == (account["id"], ANN)
    assert (await ask(ann, shop)).status_code == 201
    assert (await ask(ann, shop, account="rw")).status_code == 404


async def test_a_role_for_a_while_ends_by_itself(
    control: Any, admin: Client, login_as: Any, shop: str, account: dict[str, Any]
) -> None:
    ann = await login_as(ANN)
    bound = (await grant(admin, "connector", shop, duration="30m")).json()
    assert bound["expires_at"] is not None
    assert (await ask(ann, shop)).status_code == 201
    control.clock.at += timedelta(minutes=31)
    assert (await ask(ann, shop)).status_code == 404
    items = (await admin.get(f"{V1}/bindings", params={"user": ANN})).json()["items"]
    assert items == []
    assert (await grant(admin, "connector", shop)).status_code == 201  # not a conflict with what is over


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"user": "nobody@example.com"}, 404, "not_found"),
        ({"scope": "prj_00000000000000000000000000"}, 404, "not_found"),
        ({"scope": "acc_00000000000000000000000000"}, 404, "not_found"),
        ({"scope": "everywhere"}, 404, "not_found"),
        ({"role": "owner"}, 422, "invalid_request"),
        ({"duration": "soon"}, 422, "invalid_duration"),
        ({"duration": "3651d"}, 422, "invalid_duration"),
    ],
)
async def test_a_bad_wish_binds_nothing(
    control: Any, admin: Client, login_as: Any, shop: str, changes: dict[str, str], status: int, code: str
) -> None:
    await login_as(ANN)
    before = await control.count("role_bindings")
    answer = await admin.post(f"{V1}/bindings", json={"user": ANN, "role": "connector", "scope": shop, **changes})
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert await control.count("role_bindings") == before


async def test_the_same_role_is_not_bound_twice(admin: Client, login_as: Any, shop: str) -> None:
    await login_as(ANN)
    first = (await grant(admin, "auditor", shop)).json()
    again = await grant(admin, "auditor", shop, duration="1h")
    assert (again.status_code, again.json()["context"]) == (409, {"binding": first["id"]})
    assert (await grant(admin, "connector", shop)).status_code == 201


async def test_nobody_gives_or_takes_what_they_do_not_administer(
    admin: Client, login_as: Any, shop: str, account: dict[str, Any]
) -> None:
    bank = (await admin.post(f"{V1}/projects", json={"name": "bank"})).json()["id"]
    await login_as(ANN)
    chief = await login_as("chief@example.com", (Role.ADMIN, Scope(shop)))
    keeper = await login_as("keeper@example.com", (Role.ADMIN, Scope(shop, account_id=account["id"])))
    reader = await login_as("reader@example.com", (Role.AUDITOR, Scope(shop)))
    at_bank = (await grant(admin, "auditor", bank)).json()["id"]
    everywhere = (await grant(admin, "auditor", "organisation")).json()["id"]

    assert (await grant(chief, "admin", "organisation", "chief@example.com")).status_code == 403
    assert (await grant(chief, "connector", bank)).status_code == 404
    assert (await chief.delete(f"{V1}/bindings/{at_bank}")).status_code == 404
    assert (await chief.delete(f"{V1}/bindings/{everywhere}")).status_code == 403
    assert (await grant(keeper, "admin", shop, "keeper@example.com")).status_code == 403
    assert (await grant(reader, "admin", shop, "reader@example.com")).status_code == 403

    in_shop = await grant(chief, "connector", shop)
    assert in_shop.status_code == 201
    assert (await keeper.delete(f"{V1}/bindings/{in_shop.json()['id']}")).status_code == 403
    assert (await reader.delete(f"{V1}/bindings/{in_shop.json()['id']}")).status_code == 403
    assert (await chief.delete(f"{V1}/bindings/{in_shop.json()['id']}")).status_code == 204


async def test_nobody_gives_longer_than_they_have(control: Any, admin: Client, login_as: Any, shop: str) -> None:
    """Else an administrator for an hour would be one for ever."""
    ann = await login_as(ANN)
    await login_as("bob@example.com")
    assert (await grant(admin, "admin", shop, duration="1h")).status_code == 201
    for user in (ANN, "bob@example.com"):
        for duration in ({}, {"duration": "2h"}):
            refused = await grant(ann, "connector", shop, user, **duration)
            assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert (await grant(ann, "connector", shop, duration="1h")).status_code == 201
    assert (await grant(admin, "admin", "organisation")).status_code == 201  # the one that lasts counts
    assert (await grant(ann, "connector", shop, "bob@example.com")).status_code == 201


async def test_what_is_hidden_looks_like_what_is_missing(admin: Client, login_as: Any, shop: str) -> None:
    bank = (await admin.post(f"{V1}/projects", json={"name": "bank"})).json()["id"]
    chief = await login_as("chief@example.com", (Role.ADMIN, Scope(shop)))
    missing = "prj_00000000000000000000000000"
    for ask_for in (
        lambda place: grant(chief, "auditor", place),
        lambda place: chief.get(f"{V1}/bindings", params={"scope": place}),
    ):
        hidden, absent = await ask_for(bank), await ask_for(missing)
        assert hidden.status_code == absent.status_code == 404
        assert hidden.json()["detail"].replace(bank, missing) == absent.json()["detail"]


async def test_people_see_the_roles_of_their_own_places(admin: Client, login_as: Any, shop: str) -> None:
    bank = (await admin.post(f"{V1}/projects", json={"name": "bank"})).json()["id"]
    await login_as(ANN)
    await grant(admin, "auditor", bank)
    await grant(admin, "connector", shop)
    reader = await login_as("reader@example.com", (Role.AUDITOR, Scope(shop)))
    seen = (await reader.get(f"{V1}/bindings")).json()["items"]
    assert {(item["user"], item["scope"]) for item in seen} == {(ANN, shop), ("reader@example.com", shop)}
    assert (await reader.get(f"{V1}/bindings", params={"user": "admin@example.com"})).json()["items"] == []
    assert (await reader.get(f"{V1}/bindings", params={"user": "who@example.com"})).json()["items"] == []
    everything = (await admin.get(f"{V1}/bindings", params={"limit": "2"})).json()
    rest = (await admin.get(f"{V1}/bindings", params={"after": everything["next"]})).json()
    assert len(everything["items"] + rest["items"]) == 4
    assert (await admin.get(f"{V1}/bindings", params={"scope": bank})).json()["items"][0]["user"] == ANN


async def test_a_role_taken_back_ends_the_session_that_stood_on_it(
    control: Any, admin: Client, login_as: Any, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    ann = await login_as(ANN)
    bound = (await grant(admin, "connector", shop)).json()["id"]
    session_id = await active(ann, shop, gateway)
    waking = next(job for job in control.services.background if job.name == "access").wake
    await sweep(control)
    assert not waking.is_set()
    assert (await admin.delete(f"{V1}/bindings/{bound}")).status_code == 204
    assert waking.is_set()  # nobody waits for the next turn
    await sweep(control)
    told = await gateway.beat(f'{{"sessions": [{{"session_id": "{session_id}", "epoch": 1}}]}}'.encode())
    assert [(order["session_id"], order["reason"]) for order in told["end"]] == [(session_id, "rights_lost")]


@pytest.mark.parametrize("verb", ["disable", "delete"])
async def test_a_user_who_is_out_has_no_session_left(
    control: Any, admin: Client, login_as: Any, shop: str, gateway: Machine, account: dict[str, Any], verb: str
) -> None:
    ann = await login_as(ANN)
    await grant(admin, "connector", shop)
    session_id = (await ask(ann, shop)).json()["session"]["id"]
    url = f"{V1}/users/{ANN}"
    answer = await (admin.delete(url) if verb == "delete" else admin.post(f"{url}/disable"))
    assert answer.is_success
    assert next(job for job in control.services.background if job.name == "access").wake.is_set()
    await sweep(control)
    ended = await show(admin, session_id)
    assert (ended["status"], ended["end_reason"]) == ("ended", "rights_lost")
