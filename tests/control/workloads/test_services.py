"""Services: what they prove themselves with, what their tokens are good for, and how all of it ends."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role

from ..access.test_sessions import account, active, ask, granted, lease, relay, sweep
from ..machines import Machine

__all__ = ["account", "relay"]  # fixtures

Client = httpx2.AsyncClient
V1 = "/api/v1"


async def make(admin: Client, shop: str, **form: Any) -> dict[str, Any]:
    """The service `ci`, a connector of the project, with a secret."""
    created = await admin.post(f"{V1}/services", json={"name": "ci", **form})
    assert created.status_code == 201, created.text
    body = {"service": "ci", "role": "connector", "scope": shop}
    assert (await admin.post(f"{V1}/bindings", json=body)).status_code == 201
    return await secret(admin)


async def secret(admin: Client, **form: str) -> dict[str, Any]:
    created = await admin.post(f"{V1}/services/ci/secrets", json=form)
    assert created.status_code == 201, created.text
    made: dict[str, Any] = created.json()
    return made


async def exchange(control: Any, address: str = "192.0.2.1", **body: Any) -> httpx2.Response:
    async with control.client(address=address) as client:
        answer: httpx2.Response = await client.post(f"{V1}/auth/service-token", json=body)
        return answer


async def acting(control: Any, made: dict[str, Any], **body: Any) -> Client:
    """A client that is logged in as the service."""
    answer = await exchange(control, secret=made["secret"], **body)
    assert answer.status_code == 200, answer.text
    client: Client = control.client(answer.json()["access_token"])
    return client


async def must_end(control: Any, gateway: Machine, session_id: str) -> None:
    await sweep(control)
    told = await gateway.beat(f'{{"sessions": [{{"session_id": "{session_id}", "epoch": 1}}]}}'.encode())
    assert [(order["session_id"], order["reason"]) for order in told["end"]] == [(session_id, "rights_lost")]


async def test_a_secret_becomes_a_token_that_acts(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    made = await make(admin, shop)
    answer = (await exchange(control, secret=made["secret"])).json()
    assert (answer["service"], answer["scopes"]) == ("ci", ["connect"])
    async with control.client(answer["access_token"]) as ci:
        whoami = (await ci.get(f"{V1}/auth/whoami")).json()
        assert (whoami["kind"], whoami["email"], whoami["id"][:4]) == ("service", "ci", "svc_")
        session_id = await active(ci, shop, gateway)
        shown = (await admin.get(f"{V1}/sessions/{session_id}")).json()
        assert shown["user"] == "ci"
        assert (await ci.post(f"{V1}/sessions/{session_id}/terminate")).status_code == 200
    for wrong in (made["secret"] + "x", made["secret"][:-1], answer["access_token"]):
        refused = await exchange(control, secret=wrong)
        assert (refused.status_code, refused.json()["code"]) == (401, "invalid_credentials")
    async with control.client(made["secret"]) as client:
        assert (await client.get(f"{V1}/auth/whoami")).status_code == 401  # a secret is no token


async def test_neither_secrets_nor_tokens_are_kept(control: Any, admin: Client, shop: str) -> None:
    made = await make(admin, shop)
    token = (await exchange(control, secret=made["secret"])).json()["access_token"]
    shown = await admin.get(f"{V1}/services/ci")
    listed = await admin.get(f"{V1}/services")
    events = str([event.details for event in await control.events()])
    everything = control.dump()
    for text in (made["secret"], token):
        assert text not in shown.text + listed.text + events
        assert text.partition("_")[2].encode() not in everything


async def test_a_token_lasts_an_hour_and_never_longer_than_what_it_stands_on(
    control: Any, admin: Client, shop: str
) -> None:
    await make(admin, shop, duration="40m")
    short = await secret(admin, duration="10m")
    ci = await acting(control, short)
    control.clock.forward(minutes=9, seconds=59)
    assert (await ci.get(f"{V1}/auth/whoami")).status_code == 200
    control.clock.forward(seconds=1)
    assert (await ci.get(f"{V1}/auth/whoami")).status_code == 401
    assert (await exchange(control, secret=short["secret"])).status_code == 401
    long = await secret(admin)
    ci = await acting(control, long)
    control.clock.forward(minutes=30)
    assert (await ci.get(f"{V1}/auth/whoami")).status_code == 401
    assert (await exchange(control, secret=long["secret"])).status_code == 401
    assert (await admin.get(f"{V1}/services/ci")).json()["status"] == "expired"


async def test_a_rotation_leaves_both_good_for_a_while(control: Any, admin: Client, shop: str) -> None:
    old = await make(admin, shop)
    new = await secret(admin, retire_others="30m")
    for each in (old, new):
        assert (await exchange(control, secret=each["secret"])).status_code == 200
    control.clock.forward(minutes=30)
    assert (await exchange(control, secret=old["secret"])).status_code == 401
    assert (await exchange(control, secret=new["secret"])).status_code == 200
    listed = (await admin.get(f"{V1}/services/ci")).json()["secrets"]
    assert [(each["id"], each["used_at"] is not None) for each in listed] == [(new["id"], True)]


async def test_a_service_has_ten_secrets_at_most(admin: Client, shop: str) -> None:
    await make(admin, shop)
    for _ in range(9):
        await secret(admin)
    assert (await admin.post(f"{V1}/services/ci/secrets", json={})).status_code == 409


@pytest.mark.parametrize(
    "how", ["disable", "delete", "revoke secret", "revoke role", "networks", "scopes", "expire", "expire role"]
)
async def test_whatever_a_service_loses_ends_its_sessions(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any], how: str
) -> None:
    made = await make(admin, shop)
    ci = await acting(control, made)
    session_id = await active(ci, shop, gateway)
    (binding,) = (await admin.get(f"{V1}/bindings", params={"service": "ci"})).json()["items"]
    waking = next(job for job in control.services.background if job.name == "access").wake
    await sweep(control)
    told = await gateway.beat(f'{{"sessions": [{{"session_id": "{session_id}", "epoch": 1}}]}}'.encode())
    assert told["end"] == []
    waking.clear()
    service = f"{V1}/services/ci"
    done = await {
        "disable": lambda: admin.post(f"{service}/disable"),
        "delete": lambda: admin.delete(service),
        "revoke secret": lambda: admin.delete(f"{service}/secrets/{made['id']}"),
        "revoke role": lambda: admin.delete(f"{V1}/bindings/{binding['id']}"),
        "networks": lambda: admin.patch(service, json={"networks": ["203.0.113.0/24"]}),
        "scopes": lambda: admin.patch(service, json={"scopes": ["audit"]}),
        "expire": lambda: admin.patch(service, json={"duration": "5m"}),
        "expire role": lambda: admin.get(service),
    }[how]()
    assert done.status_code in (200, 204), done.text
    if how == "expire":
        control.clock.forward(minutes=5)
    elif how == "expire role":
        await control.execute("UPDATE role_bindings SET expires_at = created_at WHERE service_id IS NOT NULL")
    else:
        assert waking.is_set()
    await must_end(control, gateway, session_id)
    assert (await ask(ci, shop)).status_code in (401, 403, 404)
    assert (await lease(gateway, session_id))[0].status_code == 403


async def test_networks_count_at_every_request(control: Any, admin: Client, shop: str) -> None:
    made = await make(admin, shop, networks=["192.0.2.0/24", "2001:db8::/48"])
    token = (await exchange(control, secret=made["secret"])).json()["access_token"]
    async with control.client(token, address="192.0.2.200") as inside:
        assert (await inside.get(f"{V1}/auth/whoami")).status_code == 200
    async with control.client(token, address="2001:db8::7") as inside:
        assert (await inside.get(f"{V1}/auth/whoami")).status_code == 200
    for address in ("198.51.100.1", "2001:db9::7"):
        async with control.client(token, address=address) as outside:
            refused = await outside.get(f"{V1}/auth/whoami")
            assert (refused.status_code, refused.json()["code"]) == (403, "network_refused")
        refused = await exchange(control, address=address, secret=made["secret"])
        assert (refused.status_code, refused.json()["code"]) == (403, "network_refused")
    assert [event.details["why"] for event in await control.events() if event.event == "service.refused"] == [
        "network_refused"
    ] * 2


async def test_scopes_bound_what_the_roles_give(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    made = await make(admin, shop, scopes=["connect", "administer"])
    await admin.post(f"{V1}/bindings", json={"service": "ci", "role": "admin", "scope": "organisation"})
    everything = await acting(control, made)
    connecting = await acting(control, made, scopes=["connect"])
    assert (await everything.get(f"{V1}/users")).status_code == 200
    assert (await connecting.get(f"{V1}/users")).status_code == 403
    assert (await ask(connecting, shop)).status_code == 201
    assert (await connecting.get(f"{V1}/audit-events")).status_code == 403
    refused = await exchange(control, secret=made["secret"], scopes=["audit"])
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    # What the service loses its tokens lose, though they have it.
    assert (await admin.patch(f"{V1}/services/ci", json={"scopes": ["connect"]})).status_code == 200
    assert (await everything.get(f"{V1}/users")).status_code == 403


async def test_accounts_that_ask_for_a_second_factor_are_not_for_services(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    ci = await acting(control, await make(admin, shop))
    session_id = await active(ci, shop, gateway)
    place = f"{V1}/projects/{shop}/resources/mongo/accounts/ro"
    assert (await admin.patch(place, json={"require_mfa": True})).status_code == 200
    await must_end(control, gateway, session_id)
    refused = await ask(ci, shop)
    assert (refused.status_code, refused.json()["code"]) == (403, "mfa_required")
    assert refused.json()["context"] == {}  # there is nothing to answer
    assert [event.details["code"] for event in await control.events() if event.event == "session.refused"] == [
        "mfa_required"
    ]


async def test_what_is_for_people_only(control: Any, admin: Client, shop: str) -> None:
    made = await make(admin, shop, scopes=["administer"])
    await admin.post(f"{V1}/bindings", json={"service": "ci", "role": "admin", "scope": "organisation"})
    ci = await acting(control, made)
    for method, path in (
        ("POST", "/auth/logout"),
        ("POST", "/auth/password"),
        ("GET", "/mfa"),
        ("POST", "/mfa/totp"),
        ("POST", "/mfa/challenges/mfc_1/verify"),
    ):
        body = {"code": "1"} if path.endswith("verify") else {}
        answer = await ci.request(method, V1 + path, json=body if method == "POST" else None)
        assert answer.status_code == 403, (path, answer.text)


async def test_a_service_decides_on_no_request(
    control: Any, admin: Client, login_as: Any, shop: str, account: dict[str, Any]
) -> None:
    made = await make(admin, shop, scopes=["administer"])
    await admin.post(f"{V1}/bindings", json={"service": "ci", "role": "admin", "scope": shop})
    ci = await acting(control, made)
    ann = await login_as("ann@example.com", (Role.CONNECTOR, Scope(shop)))
    wish = {"resource": "mongo", "account": "ro", "duration": "1h", "reason": "why"}
    request = (await ann.post(f"{V1}/projects/{shop}/requests", json=wish)).json()
    refused = await ci.post(f"{V1}/requests/{request['id']}/approve", json={})
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_nobody_makes_a_credential_of_what_they_could_not_give(
    control: Any, admin: Client, login_as: Any, shop: str
) -> None:
    """An administrator for an hour does not stay one by way of a service's secret."""
    await make(admin, shop)
    temporary = await login_as("ann@example.com")
    await admin.post(
        f"{V1}/bindings",
        json={"user": "ann@example.com", "role": "admin", "scope": "organisation", "duration": "1h"},
    )
    for path, body in (
        ("/services/ci/secrets", {}),
        ("/services/ci/secrets", {"duration": "2h"}),
        ("/services/ci/enable", None),
    ):
        if path.endswith("enable"):
            await admin.post(f"{V1}/services/ci/disable")
        refused = await temporary.post(V1 + path, json=body)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden"), path
    await admin.post(f"{V1}/services/ci/enable")
    assert (await temporary.post(f"{V1}/services/ci/secrets", json={"duration": "30m"})).status_code == 201
    assert (await temporary.patch(f"{V1}/services/ci", json={"scopes": ["administer"]})).status_code == 403
    project_admin = await login_as("bob@example.com", (Role.ADMIN, Scope(shop)))
    assert (await project_admin.post(f"{V1}/services/ci/secrets", json={})).status_code == 403


@pytest.mark.parametrize(
    "form",
    [
        {"name": "CI"},
        {"name": "ci", "scopes": []},
        {"name": "ci", "scopes": ["root"]},
        {"name": "ci", "networks": ["everywhere"]},
        {"name": "ci", "networks": ["192.0.2.1/24"]},
        {"name": "ci", "duration": "soon"},
        {"name": "ci", "roles": ["admin"]},
    ],
)
async def test_a_bad_form_makes_nothing(control: Any, admin: Client, form: dict[str, Any]) -> None:
    assert (await admin.post(f"{V1}/services", json=form)).status_code == 422
    assert await control.count("services") == 0


@pytest.mark.parametrize(
    "body",
    [{}, {"secret": "a", "workload_token": "b", "service": "ci"}, {"workload_token": "b"}, {"secret": ""}],
)
async def test_a_bad_exchange(control: Any, body: dict[str, str]) -> None:
    assert (await exchange(control, **body)).status_code == 422


async def test_guessing_is_slowed_and_right_secrets_cost_nothing(control: Any, admin: Client, shop: str) -> None:
    made = await make(admin, shop)
    for _ in range(60):
        assert (await exchange(control, secret=made["secret"])).status_code == 200
    for _ in range(50):
        assert (await exchange(control, secret="wgk1_wrong")).status_code == 401
    slowed = await exchange(control, secret="wgk1_wrong")
    assert (slowed.status_code, slowed.json()["code"]) == (429, "rate_limited")
    assert (await exchange(control, address="198.51.100.9", secret=made["secret"])).status_code == 200


async def test_what_is_over_is_forgotten(control: Any, admin: Client, shop: str) -> None:
    await acting(control, await make(admin, shop))
    control.clock.forward(hours=2)
    await control.services.exchange.sweep()
    assert await control.count("service_tokens") == 0


async def test_everything_is_an_event(control: Any, admin: Client, shop: str) -> None:
    made = await make(admin, shop)
    await exchange(control, secret=made["secret"])
    await admin.patch(f"{V1}/services/ci", json={"description": "builds"})
    await admin.post(f"{V1}/services/ci/disable")
    await exchange(control, secret=made["secret"])
    await admin.post(f"{V1}/services/ci/enable")
    await admin.delete(f"{V1}/services/ci/secrets/{made['id']}")
    await admin.delete(f"{V1}/services/ci")
    events = [event for event in await control.events() if event.event.startswith("service.")]
    assert [event.event.removeprefix("service.") for event in events] == [
        "created",
        "secret_created",
        "token_issued",
        "updated",
        "disabled",
        "refused",
        "enabled",
        "secret_revoked",
        "deleted",
    ]
    assert events[3].details["before"]["description"] == ""
    assert events[3].details["after"]["description"] == "builds"
    found = (await admin.get(f"{V1}/audit-events", params={"event": "service", "by": "ci"})).json()["items"]
    assert [each["event"] for each in found] == ["service.token_issued"]


async def test_a_service_sees_its_own_sessions_only(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    ci = await acting(control, await make(admin, shop))
    theirs = (await granted(admin, shop))["session"]["id"]
    own = (await granted(ci, shop))["session"]["id"]
    listed = (await ci.get(f"{V1}/projects/{shop}/sessions")).json()["items"]
    assert [each["id"] for each in listed] == [own]
    assert (await ci.get(f"{V1}/sessions/{theirs}")).status_code == 404
