"""Accounts that log in by other things than a password: what their form asks for, and what reaches the gateway."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest
from sqlalchemy import text

from wardgate.api.machine import Credentials, TestOrder
from wardgate.control.resources import ResourceCatalogue
from wardgate.testing.certificates import CertificateAuthority

from ..machines import PREFIX, Machine

Client = httpx2.AsyncClient
ROOT = CertificateAuthority.create()
RESOURCE = {"name": "mongo", "gateway": "near-db", "connection_string": "mongodb://db1:27017"}
SECRET = "correct horse"


@pytest.fixture
async def accounts(admin: Client, shop: str, gateway: Machine) -> str:
    """The path of a resource's accounts."""
    place = f"{PREFIX}/projects/{shop}/resources"
    answer = await admin.post(place, json=RESOURCE)
    assert answer.status_code == 201, answer.text
    return f"{place}/mongo/accounts"


@pytest.fixture
def pem(control: Any) -> str:
    now = control.clock()
    return ROOT.issue_client("reader", not_before=now - timedelta(days=1), not_after=now + timedelta(days=90)).decode()


async def added(admin: Client, accounts: str, **form: Any) -> dict[str, Any]:
    answer = await admin.post(accounts, json={"name": "ro", **form})
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def refused(admin: Client, accounts: str, **form: Any) -> list[str]:
    answer = await admin.post(accounts, json={"name": "ro", **form})
    assert answer.status_code == 422, answer.text
    assert "PRIVATE KEY" not in answer.text
    assert SECRET not in answer.text
    return [error["field"] for error in answer.json()["errors"]]


async def test_a_client_certificate_is_the_login(
    control: Any, admin: Client, shop: str, accounts: str, gateway: Machine, pem: str
) -> None:
    document = await added(admin, accounts, mechanism="MONGODB-X509", client_certificate=pem)
    assert (document["mechanism"], document["username"]) == ("MONGODB-X509", "CN=reader,O=wardgate test clients")
    assert (document["needs_password"], document["warnings"]) == (False, [])
    assert datetime.fromisoformat(document["certificate_expires_at"]) > datetime.now(UTC)
    _, credentials = gateway.seen[-1]
    assert credentials is not None
    assert (credentials.mechanism, credentials.username, credentials.password) == ("MONGODB-X509", "", "")
    assert credentials.client_certificate is not None
    assert "PRIVATE KEY" in credentials.client_certificate
    catalogue = ResourceCatalogue(control.services.vault, control.services.fleet)
    async with control.services.database.read() as session:
        facts = await catalogue.account_facts(session, shop, "mongo", "ro")
        assert facts is not None
        _, opened = await catalogue.open_account(session, facts.account_id)
        events = str((await session.execute(text("SELECT details FROM audit_events"))).all())
    assert opened == credentials
    assert "PRIVATE KEY" not in events
    everything = control.dump()
    assert b"PRIVATE KEY" not in everything


@pytest.mark.parametrize(
    ("form", "sent"),
    [
        ({"mechanism": "PLAIN", "username": "ldap", "password": SECRET}, ("PLAIN", "ldap", SECRET)),
        ({"mechanism": "MONGODB-AWS", "username": "AKIA1", "password": SECRET}, ("MONGODB-AWS", "AKIA1", SECRET)),
        ({"mechanism": "MONGODB-OIDC"}, ("MONGODB-OIDC", "", "")),
        ({"username": "ro", "password": SECRET}, ("auto", "ro", SECRET)),
        ({"mechanism": "SCRAM-SHA-1", "username": "ro", "password": SECRET}, ("SCRAM-SHA-1", "ro", SECRET)),
    ],
)
async def test_what_reaches_the_gateway(
    admin: Client, accounts: str, gateway: Machine, form: dict[str, Any], sent: tuple[str, str, str]
) -> None:
    document = await added(admin, accounts, **form)
    assert (document["mechanism"], document["needs_password"]) == (sent[0], False)
    _, credentials = gateway.seen[-1]
    assert credentials is not None
    assert (credentials.mechanism, credentials.username, credentials.password) == sent


@pytest.mark.parametrize(
    ("form", "fields"),
    [
        ({"username": "ro"}, ["password"]),
        ({"password": SECRET}, ["username"]),
        ({"mechanism": "PLAIN", "password": SECRET}, ["username"]),
        ({"mechanism": "MONGODB-AWS", "username": "AKIA1"}, ["password"]),
        ({"mechanism": "MONGODB-X509"}, ["client_certificate"]),
        ({"mechanism": "MONGODB-X509", "client_certificate": "nonsense"}, ["client_certificate"]),
        ({"mechanism": "MONGODB-X509", "username": "CN=me", "client_certificate": "PEM"}, ["username"]),
        ({"mechanism": "MONGODB-X509", "password": SECRET, "client_certificate": "PEM"}, ["password"]),
        ({"mechanism": "MONGODB-OIDC", "username": "me"}, ["username"]),
        ({"mechanism": "MONGODB-OIDC", "password": SECRET}, ["password"]),
        ({"mechanism": "GSSAPI", "username": "me", "password": SECRET}, ["mechanism"]),
    ],
)
async def test_forms_that_are_not_filled_in(
    admin: Client, accounts: str, gateway: Machine, pem: str, form: dict[str, Any], fields: list[str]
) -> None:
    if form.get("client_certificate") == "PEM":
        form = {**form, "client_certificate": pem}
    before = len(gateway.seen)
    assert await refused(admin, accounts, **form) == fields
    assert len(gateway.seen) == before


@pytest.mark.parametrize("weak", [{"ssl": False}, {"reject_unauthorized": False}])
@pytest.mark.parametrize(
    "form",
    [
        {"mechanism": "PLAIN", "username": "ldap", "password": SECRET},
        {"mechanism": "MONGODB-AWS", "username": "AKIA1", "password": SECRET},
        {"mechanism": "MONGODB-OIDC"},
    ],
)
async def test_what_is_for_verified_tls_only(
    admin: Client, accounts: str, weak: dict[str, Any], form: dict[str, Any]
) -> None:
    await admin.patch(accounts.removesuffix("/accounts"), json=weak)
    assert await refused(admin, accounts, **form) == ["mechanism"]


async def test_a_client_certificate_needs_tls(admin: Client, accounts: str, pem: str) -> None:
    await admin.patch(accounts.removesuffix("/accounts"), json={"ssl": False})
    form = {"username": "ro", "password": SECRET, "client_certificate": pem}
    assert await refused(admin, accounts, **form) == ["client_certificate"]


async def test_scram_behind_mutual_tls(admin: Client, accounts: str, gateway: Machine, pem: str) -> None:
    document = await added(admin, accounts, username="ro", password=SECRET, client_certificate=pem)
    assert (document["username"], document["mechanism"]) == ("ro", "auto")
    assert document["certificate_expires_at"] is not None
    account = f"{accounts}/ro"
    without = await admin.patch(account, json={"client_certificate": None})
    assert without.json()["certificate_expires_at"] is None
    _, credentials = gateway.seen[-1]
    assert credentials is not None
    assert (credentials.client_certificate, credentials.password) == (None, SECRET)


async def test_another_mechanism_asks_for_its_own_secret(
    admin: Client, accounts: str, gateway: Machine, pem: str
) -> None:
    """A password that was given for SCRAM never reached the server; PLAIN would show it."""
    await added(admin, accounts, username="ro", password=SECRET)
    account = f"{accounts}/ro"
    answer = await admin.patch(account, json={"mechanism": "PLAIN"})
    assert [error["field"] for error in answer.json()["errors"]] == ["password"]
    assert (await admin.patch(account, json={"mechanism": "SCRAM-SHA-256"})).status_code == 200
    _, credentials = gateway.seen[-1]
    assert credentials is not None
    assert (credentials.mechanism, credentials.password) == ("SCRAM-SHA-256", SECRET)
    changed = await admin.patch(account, json={"mechanism": "MONGODB-X509", "client_certificate": pem})
    assert changed.json()["username"] == "CN=reader,O=wardgate test clients"
    back = await admin.patch(account, json={"mechanism": "auto", "username": "ro"})
    assert [error["field"] for error in back.json()["errors"]] == ["password"]
    again = await admin.patch(account, json={"mechanism": "auto", "username": "ro", "password": "new"})
    assert (again.json()["username"], again.json()["mechanism"]) == ("ro", "auto")


async def test_a_certificate_on_the_account_becomes_its_login(admin: Client, accounts: str, pem: str) -> None:
    await added(admin, accounts, username="ro", password=SECRET, client_certificate=pem)
    changed = await admin.patch(f"{accounts}/ro", json={"mechanism": "MONGODB-X509"})
    assert changed.json()["username"] == "CN=reader,O=wardgate test clients"


async def test_certificates_are_dropped_where_passwords_are(
    admin: Client, shop: str, accounts: str, gateway: Machine, pem: str
) -> None:
    await added(admin, accounts, mechanism="MONGODB-X509", client_certificate=pem)
    resource = accounts.removesuffix("/accounts")
    moved = await admin.patch(resource, json={"connection_string": "mongodb+srv://db1.example.net"})
    assert any("ro" in warning for warning in moved.json()["warnings"])
    shown = (await admin.get(f"{accounts}/ro")).json()
    assert (shown["needs_password"], shown["certificate_expires_at"]) == (True, None)
    assert (await admin.post(f"{accounts}/ro/test")).json()["code"] == "account_needs_password"
    assert (await admin.patch(f"{accounts}/ro", json={"client_certificate": pem})).status_code == 200
    other = await admin.patch(resource, json={"connection_string": "mongodb+srv://db1.example.net/?srvServiceName=x"})
    assert any("ro" in warning for warning in other.json()["warnings"])


async def test_a_certificate_that_expires_soon_is_said(control: Any, admin: Client, accounts: str) -> None:
    now = control.clock()
    soon = ROOT.issue_client("soon", not_before=now - timedelta(days=1), not_after=now + timedelta(days=10)).decode()
    document = await added(admin, accounts, mechanism="MONGODB-X509", client_certificate=soon)
    assert any("expires on" in warning for warning in document["warnings"])


async def test_a_login_that_was_changed_meanwhile_is_not_undone(
    control: Any, admin: Client, accounts: str, gateway: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one change is being tried, another one is saved."""
    await added(admin, accounts, username="ro", password=SECRET)
    account, fetch = f"{accounts}/ro", gateway._secrets

    async def meanwhile(order: TestOrder) -> Credentials:
        monkeypatch.undo()
        control.clock.forward(seconds=1)
        saved = await admin.patch(account, params={"no_test": True}, json={"password": "second"})
        assert saved.status_code == 200
        return await fetch(order)

    monkeypatch.setattr(gateway, "_secrets", meanwhile)
    first = await admin.patch(account, json={"username": "first"})
    assert first.json()["code"] == "conflict"
    assert (await admin.post(f"{account}/test")).json()["ok"]
    _, credentials = gateway.seen[-1]
    assert credentials is not None
    assert (credentials.username, credentials.password) == ("ro", "second")
