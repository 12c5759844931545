"""The two forms over HTTP: what is saved, what is refused, and where passwords may go."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import httpx2
import pytest

from wardgate.api.models import HopKind
from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role
from wardgate.control.resources import ResourceCatalogue
from wardgate.net import certs

from ..machines import PREFIX, Machine, failed

Client = httpx2.AsyncClient
PASSWORD = "pässword\twith\nodd bytes "
FORM = {"name": "mongo", "gateway": "near-db", "connection_string": "mongodb://db1:27017,db2/?replicaSet=rs0"}
ACCOUNT = {"name": "ro", "username": "reader", "password": PASSWORD}


def resources(shop: str, *path: str) -> str:
    return "/".join((f"{PREFIX}/projects/{shop}/resources", *path))


async def save(admin: Client, shop: str, **changes: Any) -> httpx2.Response:
    return await admin.post(resources(shop), json={**FORM, **changes})


async def saved(admin: Client, shop: str, **changes: Any) -> dict[str, Any]:
    answer = await save(admin, shop, **changes)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def add_account(admin: Client, shop: str, **changes: Any) -> httpx2.Response:
    return await admin.post(resources(shop, "mongo", "accounts"), json={**ACCOUNT, **changes})


async def test_a_resource_is_saved_when_its_test_passes(admin: Client, shop: str, gateway: Machine) -> None:
    document = await saved(admin, shop)
    assert document["gateway"] == "near-db"
    assert (document["database"], document["ssl"], document["reject_unauthorized"]) == ("admin", True, True)
    assert document["test"]["ok"]
    assert document["tested_at"] is not None
    assert document["warnings"] == []
    order, credentials = gateway.seen[0]
    assert credentials is None
    assert order.target.hosts == [("db1", 27017), ("db2", 27017)]
    assert order.target.set_name == "rs0"
    shown = (await admin.get(resources(shop, "mongo"))).json()
    assert shown == {**document, "warnings": []}
    assert [item["name"] for item in (await admin.get(resources(shop))).json()["items"]] == ["mongo"]


async def test_a_failed_test_saves_nothing_and_shows_every_hop(admin: Client, shop: str, gateway: Machine) -> None:
    gateway.verdict = lambda _: failed(HopKind.TLS, "The certificate has expired.")
    refused = await save(admin, shop)
    assert refused.status_code == 422
    problem = refused.json()
    assert problem["code"] == "connection_test_failed"
    assert "The certificate has expired." in problem["detail"]
    assert [hop["hop"] for hop in problem["context"]["hops"]] == ["dns", "tls"]
    assert (await admin.get(resources(shop, "mongo"))).status_code == 404


async def test_an_offline_gateway_saves_nothing_but_for_no_test(
    control: Any, admin: Client, shop: str, gateway: Machine
) -> None:
    control.clock.forward(minutes=5)
    refused = await save(admin, shop)
    assert refused.status_code == 503
    assert refused.json()["code"] == "gateway_offline"
    answer = await admin.post(resources(shop), params={"no_test": True}, json=FORM)
    assert answer.status_code == 201
    assert answer.json()["test"] is None
    assert any("untested" in warning for warning in answer.json()["warnings"])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"connection_string": "mongodb://user:hunter22@db1"}, "invalid_connection_string"),
        ({"connection_string": "mongodb://db1/orders"}, "invalid_connection_string"),
        ({"connection_string": "mongodb+srv://db1"}, "invalid_connection_string"),
        ({"connection_string": "mongodb://db1/?nonsense=1"}, "invalid_connection_string"),
        ({"connection_string": "mongodb://169.254.169.254"}, "invalid_connection_string"),
        ({"ca_certificate": "no certificate"}, "invalid_request"),
        ({"gateway": "nowhere"}, "not_found"),
        ({"name": "Not a name"}, "invalid_request"),
        ({"conection_string": "typo"}, "invalid_request"),
    ],
)
async def test_what_is_wrong_is_refused_before_anything_is_dialled(
    admin: Client, shop: str, gateway: Machine, changes: dict[str, Any], code: str
) -> None:
    refused = await save(admin, shop, **changes)
    assert refused.json()["code"] == code, refused.text
    assert "hunter22" not in refused.text
    assert gateway.seen == []


async def test_a_name_is_taken_once(admin: Client, shop: str, gateway: Machine) -> None:
    await saved(admin, shop)
    assert (await save(admin, shop)).json()["code"] == "conflict"
    await add_account(admin, shop)
    assert (await add_account(admin, shop)).json()["code"] == "conflict"


async def test_weak_tls_is_said(admin: Client, shop: str, gateway: Machine) -> None:
    assert any("SSL is off" in warning for warning in (await saved(admin, shop, ssl=False))["warnings"])
    unverified = await saved(admin, shop, name="other", reject_unauthorized=False)
    assert any("impostor" in warning for warning in unverified["warnings"])


async def test_an_account_is_saved_when_its_login_works(
    control: Any, admin: Client, shop: str, gateway: Machine
) -> None:
    await saved(admin, shop)
    answer = await add_account(admin, shop, max_duration="8h", description="read only")
    assert answer.status_code == 201, answer.text
    document = answer.json()
    assert "password" not in document
    assert (document["needs_password"], document["max_duration"], document["allow_admin"]) == (False, "8h", False)
    _, credentials = gateway.seen[-1]
    assert credentials is not None
    assert (credentials.username, credentials.password) == ("reader", PASSWORD)
    everything = control.dump()
    assert PASSWORD.encode() not in everything
    for path in (("mongo", "accounts"), ("mongo", "accounts", "ro")):
        assert "pässword" not in (await admin.get(resources(shop, *path))).text
    catalogue = ResourceCatalogue(control.services.vault, control.services.fleet)
    async with control.services.database.read() as session:
        facts = await catalogue.account_facts(session, shop, "mongo", "ro")
        assert facts is not None
        target, opened = await catalogue.open_account(session, facts.account_id)
    assert opened.password == PASSWORD
    assert target.set_name == "rs0"


async def test_a_wrong_password_saves_no_account(admin: Client, shop: str, gateway: Machine) -> None:
    await saved(admin, shop)
    gateway.verdict = lambda _: failed(HopKind.LOGIN, "MongoDB refused the user or the password.")
    refused = await add_account(admin, shop)
    assert refused.json()["code"] == "connection_test_failed"
    assert "pässword" not in refused.text
    assert (await admin.get(resources(shop, "mongo", "accounts"))).json()["items"] == []


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"password": ""}, "invalid_request"),
        ({"max_duration": "forever"}, "invalid_duration"),
        ({"max_duration": "31d"}, "invalid_duration"),
        ({"username": ""}, "invalid_request"),
        ({"password": None}, "invalid_request"),
    ],
)
async def test_a_wrong_account_form_is_refused(
    admin: Client, shop: str, gateway: Machine, changes: dict[str, Any], code: str
) -> None:
    await saved(admin, shop)
    refused = await add_account(admin, shop, **changes)
    assert refused.json()["code"] == code
    assert "pässword" not in refused.text


async def needs_password(admin: Client, shop: str) -> bool:
    found: bool = (await admin.get(resources(shop, "mongo", "accounts", "ro"))).json()["needs_password"]
    return found


@pytest.mark.parametrize(
    ("change", "asks"),
    [
        ({"connection_string": "mongodb://evil:27017,db2/?replicaSet=rs0"}, True),
        ({"connection_string": "mongodb://db1:27018,db2/?replicaSet=rs0"}, True),
        ({"connection_string": "mongodb://db2,db1/?replicaSet=rs0"}, False),
        ({"connection_string": "mongodb://db1:27017,db2/?replicaSet=rs0&connectTimeoutMS=2000"}, False),
        ({"ssl": False}, True),
        ({"reject_unauthorized": False}, True),
        ({"database": "users"}, False),
        ({"gateway": "other"}, True),
        ({"ca_certificate": "own"}, True),
    ],
)
async def test_passwords_are_not_lured_elsewhere(
    control: Any, admin: Client, shop: str, gateway: Machine, change: dict[str, Any], asks: bool
) -> None:
    await saved(admin, shop)
    await add_account(admin, shop)
    if change.get("gateway"):
        await admin.post(f"{PREFIX}/projects/{shop}/gateways", json={"name": "other"})
    if change.get("ca_certificate"):
        change = {"ca_certificate": _own_ca(control.clock())}
    updated = await admin.patch(resources(shop, "mongo"), params={"no_test": True}, json=change)
    assert updated.status_code == 200, updated.text
    assert await needs_password(admin, shop) is asks
    assert any("Enter the passwords" in warning for warning in updated.json()["warnings"]) is asks
    if asks:
        refused = await admin.post(resources(shop, "mongo", "accounts", "ro", "test"))
        assert refused.json()["code"] == "account_needs_password"
        again = await admin.patch(
            resources(shop, "mongo", "accounts", "ro"), params={"no_test": True}, json={"password": "new"}
        )
        assert again.status_code == 200
        assert not await needs_password(admin, shop)


def _own_ca(now: datetime) -> str:
    return certs.to_pem(certs.make_root(certs.make_key(), now)).decode()


async def test_a_change_is_tested_as_a_whole(admin: Client, shop: str, gateway: Machine) -> None:
    await saved(admin, shop)
    gateway.verdict = lambda _: failed(HopKind.TCP, "Nobody answers.")
    change = {"connection_string": "mongodb://db9/?replicaSet=rs0"}
    assert (await admin.patch(resources(shop, "mongo"), json=change)).json()["code"] == "connection_test_failed"
    assert (await admin.get(resources(shop, "mongo"))).json()["connection_string"] == FORM["connection_string"]
    assert (await admin.patch(resources(shop, "mongo"), json={"ssl": None})).json()["code"] == "invalid_request"


async def test_a_new_login_is_tried_and_another_setting_is_not(admin: Client, shop: str, gateway: Machine) -> None:
    await saved(admin, shop)
    await add_account(admin, shop)
    tried = len(gateway.seen)
    account = resources(shop, "mongo", "accounts", "ro")
    changed = await admin.patch(account, json={"description": "new", "max_duration": "1h"})
    assert (changed.json()["description"], changed.json()["max_duration"]) == ("new", "1h")
    assert (await admin.patch(account, json={"max_duration": None})).json()["max_duration"] is None
    assert len(gateway.seen) == tried
    assert (await admin.patch(account, json={"username": "other"})).status_code == 200
    _, credentials = gateway.seen[-1]
    assert credentials is not None
    assert (credentials.username, credentials.password) == ("other", PASSWORD)
    gateway.verdict = lambda _: failed(HopKind.LOGIN, "MongoDB refused the user or the password.")
    assert (await admin.patch(account, json={"password": "wrong"})).json()["code"] == "connection_test_failed"
    gateway.verdict = Machine.verdict
    assert (await admin.post(f"{account}/test")).json()["ok"]


async def test_testing_what_is_saved(admin: Client, shop: str, gateway: Machine) -> None:
    await saved(admin, shop)
    gateway.verdict = lambda _: failed(HopKind.TCP, "Nobody answers.")
    result = await admin.post(resources(shop, "mongo", "test"))
    assert result.status_code == 200
    assert not result.json()["ok"]
    assert not (await admin.get(resources(shop, "mongo"))).json()["test"]["ok"]


async def test_removing_takes_the_accounts_along(control: Any, admin: Client, shop: str, gateway: Machine) -> None:
    await saved(admin, shop)
    await add_account(admin, shop)
    assert (await admin.delete(resources(shop, "mongo"))).status_code == 204
    assert (await admin.get(resources(shop, "mongo", "accounts", "ro"))).status_code == 404
    assert await control.count("accounts") == 0
    await saved(admin, shop)


async def test_people_see_what_their_roles_show(control: Any, admin: Client, shop: str, gateway: Machine) -> None:
    first = await saved(admin, shop)
    await saved(admin, shop, name="hidden")
    ro = (await add_account(admin, shop)).json()
    await add_account(admin, shop, name="rw")
    place = Scope(shop, first["id"], ro["id"])
    async with await control.user("ann@example.com", (Role.CONNECTOR, place)) as ann:
        assert [item["name"] for item in (await ann.get(resources(shop))).json()["items"]] == ["mongo"]
        assert (await ann.get(resources(shop, "hidden"))).status_code == 404
        accounts = (await ann.get(resources(shop, "mongo", "accounts"))).json()["items"]
        assert [item["name"] for item in accounts] == ["ro"]
        assert (await ann.get(resources(shop, "mongo", "accounts", "rw"))).status_code == 404
        for method, path in (
            ("PATCH", ("mongo",)),
            ("DELETE", ("mongo",)),
            ("POST", ("mongo", "test")),
            ("DELETE", ("mongo", "accounts", "ro")),
            ("POST", ("mongo", "accounts")),
        ):
            body = ACCOUNT if path[-1] == "accounts" else {}
            assert (await ann.request(method, resources(shop, *path), json=body)).status_code == 403, (method, path)
    async with await control.user("bob@example.com", (Role.ADMIN, Scope(shop, first["id"]))) as bob:
        assert (await bob.post(resources(shop), json={**FORM, "name": "x"})).status_code == 403
        assert (await bob.delete(resources(shop, "hidden"))).status_code == 404
        assert (await bob.patch(resources(shop, "mongo"), json={"database": "users"})).status_code == 200


async def test_every_change_is_an_event_without_secrets(
    control: Any, admin: Client, shop: str, gateway: Machine
) -> None:
    await saved(admin, shop)
    await add_account(admin, shop)
    await admin.patch(resources(shop, "mongo", "accounts", "ro"), json={"password": "another-secret"})
    await admin.delete(resources(shop, "mongo"))
    async with control.services.database.read() as session:
        assert await control.services.audit_log.first_broken(session) is None
    rows = await control.events()
    assert [row.event for row in rows][-4:] == [
        "resource.created",
        "account.created",
        "account.updated",
        "resource.deleted",
    ]
    assert "another-secret" not in str([row.details for row in rows])
    assert rows[-2].details["after"]["password_changed"] is True
