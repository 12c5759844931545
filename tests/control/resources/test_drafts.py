"""Forms that are not saved: looked at, tried; searching; and two people who change the same thing at once."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from wardgate.api.models import HopKind
from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role

from ..machines import Machine, failed

V1 = "/api/v1"


def form(**changes: Any) -> dict[str, Any]:
    return {"gateway": "near-db", "connection_string": "mongodb://db1,db2:27018/?replicaSet=rs0", **changes}


async def test_a_check_says_where_a_form_leads(admin: httpx2.AsyncClient, shop: str) -> None:
    answer = await admin.post(f"{V1}/projects/{shop}/resource-checks", json=form())
    assert answer.json() == {"hosts": ["db1:27017", "db2:27018"], "errors": [], "notices": []}
    answer = await admin.post(
        f"{V1}/projects/{shop}/resource-checks", json=form(connection_string="mongodb+srv://c.example.com")
    )
    assert answer.json()["hosts"] == ["c.example.com"]


async def test_a_check_names_every_field_that_is_wrong_and_repeats_no_password(
    admin: httpx2.AsyncClient, shop: str
) -> None:
    wrong = form(connection_string="mongodb://ann:geheim@db1", database="$external", ca_certificate="no PEM")
    answer = await admin.post(f"{V1}/projects/{shop}/resource-checks", json=wrong)
    assert [each["field"] for each in answer.json()["errors"]] == ["ca_certificate", "database", "connection_string"]
    assert "geheim" not in answer.text
    assert answer.json()["hosts"] == []


async def test_a_form_is_tried_without_being_saved(
    control: Any, admin: httpx2.AsyncClient, shop: str, gateway: Machine
) -> None:
    answer = await admin.post(f"{V1}/projects/{shop}/resource-tests", json=form())
    assert answer.json()["ok"]
    gateway.verdict = lambda _: failed(HopKind.TCP, "refused")
    answer = await admin.post(f"{V1}/projects/{shop}/resource-tests", json=form())
    assert answer.status_code == 200
    assert not answer.json()["ok"]
    assert await control.count("resources") == 0


@pytest.mark.parametrize("door", ["resource-checks", "resource-tests"])
async def test_who_may_not_add_may_not_try_either(control: Any, shop: str, gateway: Machine, door: str) -> None:
    ann = await control.user("ann@example.com", (Role.CONNECTOR, Scope(shop)))
    assert (await ann.post(f"{V1}/projects/{shop}/{door}", json=form())).status_code == 403
    assert gateway.seen == []


async def test_resources_are_found_by_name_host_and_gateway(
    admin: httpx2.AsyncClient, shop: str, gateway: Machine
) -> None:
    base = f"{V1}/projects/{shop}/resources"
    for name, host in (("zebra", "db1"), ("apple", "db2"), ("percent%", "x")):
        body = form(name=name.rstrip("%"), connection_string=f"mongodb://{host}.internal")
        assert (await admin.post(base, json=body)).status_code == 201

    async def names(**query: Any) -> list[str]:
        answer = await admin.get(base, params=query)
        return [each["name"] for each in answer.json()["items"]]

    assert await names(sort="name") == ["apple", "percent", "zebra"]
    assert await names(q="zeb") == ["zebra"]
    assert await names(q="DB2.internal") == ["apple"]
    assert await names(q="near", sort="name") == ["apple", "percent", "zebra"]
    assert await names(q="%") == []
    assert await names(q="_") == []
    first = (await admin.get(base, params={"sort": "name", "limit": 1})).json()
    assert await names(sort="name", after=first["next"]) == ["percent", "zebra"]


async def test_a_change_of_what_somebody_else_has_changed_is_refused(
    control: Any, admin: httpx2.AsyncClient, shop: str, gateway: Machine
) -> None:
    base = f"{V1}/projects/{shop}/resources"
    seen = (await admin.post(base, json=form(name="orders"))).json()["updated_at"]
    control.clock.forward(seconds=1)
    theirs = await admin.patch(f"{base}/orders", json={"connection_string": "mongodb://theirs", "if_updated_at": seen})
    assert theirs.status_code == 200, theirs.text
    mine = await admin.patch(f"{base}/orders", json={"connection_string": "mongodb://mine", "if_updated_at": seen})
    assert mine.status_code == 409
    assert mine.json()["code"] == "conflict"
    assert (await admin.get(f"{base}/orders")).json()["connection_string"] == "mongodb://theirs"


async def test_the_same_holds_for_accounts(
    control: Any, admin: httpx2.AsyncClient, shop: str, gateway: Machine
) -> None:
    base = f"{V1}/projects/{shop}/resources"
    assert (await admin.post(base, json=form(name="orders"))).status_code == 201
    body = {"name": "ro", "username": "ro", "password": "secret"}
    seen = (await admin.post(f"{base}/orders/accounts", json=body)).json()["updated_at"]
    control.clock.forward(seconds=1)
    one = f"{base}/orders/accounts/ro"
    assert (await admin.patch(one, json={"description": "theirs", "if_updated_at": seen})).status_code == 200
    assert (await admin.patch(one, json={"description": "mine", "if_updated_at": seen})).status_code == 409
    assert (await admin.get(one)).json()["description"] == "theirs"
