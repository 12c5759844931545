"""Access requests: asked, decided by somebody else, good for what was asked, and over when they are over."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from itertools import product
from typing import Any

import httpx2
import pytest

from wardgate.api.approvals import RequestStatus
from wardgate.control.approvals.states import TRANSITIONS, allowed, effective
from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role

from ..access.test_sessions import account, active, ask, lease, relay, relay_beat, sweep
from ..machines import Machine

__all__ = ["account", "relay"]  # fixtures

Client = httpx2.AsyncClient
V1 = "/api/v1"
ANN, BOB = "ann@example.com", "bob@example.com"


@pytest.fixture
async def ann(control: Any, shop: str, account: dict[str, Any], admin: Client) -> AsyncIterator[Client]:
    """Somebody who may connect to `ro`, which asks for an approval."""
    changed = await admin.patch(f"{V1}/projects/{shop}/resources/mongo/accounts/ro", json={"require_approval": True})
    assert changed.json()["require_approval"] is True
    async with await control.user(ANN, (Role.CONNECTOR, Scope(shop))) as client:
        yield client


async def wish(client: Client, shop: str, **changes: str) -> httpx2.Response:
    form = {"resource": "mongo", "account": "ro", "duration": "1h", "reason": "ticket 42", **changes}
    return await client.post(f"{V1}/projects/{shop}/requests", json=form)


async def wished(client: Client, shop: str, **changes: str) -> str:
    made = await wish(client, shop, **changes)
    assert made.status_code == 201, made.text
    request_id: str = made.json()["id"]
    return request_id


async def decide(client: Client, request_id: str, verb: str, note: str = "") -> httpx2.Response:
    body = None if verb == "cancel" else {"note": note}
    return await client.post(f"{V1}/requests/{request_id}/{verb}", json=body)


async def online(gateway: Machine, relay: Machine) -> None:
    """After a jump of the clock: the machines are heard of again."""
    await gateway.beat()
    await relay_beat(relay)


async def test_from_the_wish_to_the_session(control: Any, ann: Client, admin: Client, shop: str) -> None:
    refused = await ask(ann, shop)
    assert (refused.status_code, refused.json()["code"]) == (403, "approval_required")
    assert "wardgate pam request create" in refused.json()["detail"]
    request_id = await wished(ann, shop)
    waiting = await ask(ann, shop)
    assert waiting.json()["context"] == {"request_id": request_id}
    seen = (await admin.get(f"{V1}/projects/{shop}/requests", params={"pending": "true"})).json()["items"]
    assert [(item["id"], item["user"], item["reason"], item["status"]) for item in seen] == [
        (request_id, ANN, "ticket 42", "pending")
    ]
    approved = (await decide(admin, request_id, "approve", "go ahead")).json()
    assert (approved["status"], approved["decided_by"], approved["note"]) == (
        "approved",
        "admin@example.com",
        "go ahead",
    )
    assert (await ask(ann, shop)).status_code == 201
    assert (await ask(ann, shop)).status_code == 201  # the window is open, not a single door
    assert (await admin.get(f"{V1}/projects/{shop}/requests", params={"pending": "true"})).json()["items"] == []


async def test_nobody_decides_on_their_own(control: Any, admin: Client, ann: Client, shop: str) -> None:
    chief = await control.user(BOB, (Role.ADMIN, Scope(shop)))
    request_id = await wished(chief, shop)
    for verb in ("approve", "deny"):
        refused = await decide(chief, request_id, verb)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert (await ask(chief, shop)).json()["code"] == "approval_required"  # an administrator needs one as well
    assert (await decide(admin, request_id, "approve")).status_code == 200
    assert (await ask(chief, shop)).status_code == 201


async def test_who_may_not_decide_can_not(control: Any, ann: Client, shop: str) -> None:
    request_id = await wished(ann, shop)
    other = await control.user(BOB, (Role.CONNECTOR, Scope(shop)))
    reader = await control.user("reader@example.com", (Role.AUDITOR, Scope(shop)))
    elsewhere = await control.user("eve@example.com", (Role.ADMIN, Scope("prj_elsewhere")))
    assert [
        (await decide(client, request_id, "approve")).status_code for client in (ann, other, reader, elsewhere)
    ] == [
        403,
        404,
        403,
        404,
    ]
    assert (await decide(reader, request_id, "cancel")).status_code == 403
    assert (await ask(ann, shop)).json()["code"] == "approval_required"


async def test_a_grant_is_for_one_user_one_account_and_its_duration(
    control: Any, ann: Client, admin: Client, shop: str
) -> None:
    form = {"name": "rw", "username": "writer", "password": "database secret", "require_approval": True}
    assert (await admin.post(f"{V1}/projects/{shop}/resources/mongo/accounts", json=form)).status_code == 201
    bob = await control.user(BOB, (Role.CONNECTOR, Scope(shop)))
    await decide(admin, await wished(ann, shop, duration="30m"), "approve")
    assert (await ask(bob, shop)).json()["code"] == "approval_required"
    assert (await ask(ann, shop, account="rw")).json()["code"] == "approval_required"
    granted = (await ask(ann, shop, duration="2h")).json()
    assert granted["granted_s"] == 1_800
    assert len(granted["notices"]) == 1


async def test_no_session_outlives_the_window(
    control: Any, ann: Client, admin: Client, shop: str, gateway: Machine, relay: Machine
) -> None:
    await decide(admin, await wished(ann, shop, duration="1h", window="80m"), "approve")
    control.clock.at += timedelta(minutes=50)
    await online(gateway, relay)
    assert (await ask(ann, shop)).json()["granted_s"] == 1_800
    control.clock.at += timedelta(minutes=30)
    await online(gateway, relay)
    ann = await control.login(ANN)  # tokens last an hour
    assert (await ask(ann, shop)).json()["code"] == "approval_required"


async def test_a_window_that_closes_while_the_gateway_is_waited_for_opens_nothing(
    control: Any, ann: Client, admin: Client, shop: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await decide(admin, await wished(ann, shop, window="10s"), "approve")
    fleet = control.services.fleet
    is_online = fleet.gateway_online

    async def slow(gateway_id: str, *, wait: bool = False) -> bool:
        control.clock.forward(seconds=10)
        found: bool = await is_online(gateway_id, wait=wait)
        return found

    monkeypatch.setattr(fleet, "gateway_online", slow)
    assert (await ask(ann, shop)).json()["code"] == "approval_required"
    assert await control.count("sessions") == 0


async def test_a_wish_waits_a_day(control: Any, ann: Client, admin: Client, shop: str) -> None:
    request_id = await wished(ann, shop)
    again = await wish(ann, shop)
    assert (again.status_code, again.json()["context"]) == (409, {"request_id": request_id})
    control.clock.at += timedelta(hours=24)
    ann, admin = await control.login(ANN), await control.login("admin@example.com")  # tokens last an hour
    assert (await ann.get(f"{V1}/requests/{request_id}")).json()["status"] == "expired"
    late = await decide(admin, request_id, "approve")
    assert (late.status_code, late.json()["code"]) == (409, "conflict")
    assert (await wish(ann, shop)).status_code == 201


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"account": "none"}, 404, "not_found"),
        ({"resource": "none"}, 404, "not_found"),
        ({"reason": ""}, 422, "invalid_request"),
        ({"duration": "soon"}, 422, "invalid_duration"),
        ({"window": "31d"}, 422, "invalid_duration"),
    ],
)
async def test_a_bad_wish_changes_nothing(
    control: Any, ann: Client, shop: str, changes: dict[str, str], status: int, code: str
) -> None:
    refused = await wish(ann, shop, **changes)
    assert (refused.status_code, refused.json()["code"]) == (status, code)
    assert await control.count("access_requests") == 0


async def test_asking_needs_the_role_too(control: Any, ann: Client, shop: str) -> None:
    assert (await wish(await control.user(BOB, (Role.AUDITOR, Scope(shop))), shop)).status_code == 403
    assert (await wish(await control.user("eve@example.com"), shop)).status_code == 404


async def test_people_see_their_own_wishes_only(control: Any, ann: Client, shop: str) -> None:
    request_id = await wished(ann, shop)
    bob = await control.user(BOB, (Role.CONNECTOR, Scope(shop)))
    assert (await bob.get(f"{V1}/projects/{shop}/requests")).json()["items"] == []
    assert (await bob.get(f"{V1}/requests/{request_id}")).status_code == 404
    reader = await control.user("reader@example.com", (Role.AUDITOR, Scope(shop)))
    assert [item["id"] for item in (await reader.get(f"{V1}/projects/{shop}/requests")).json()["items"]] == [request_id]


async def test_pages_newest_first(control: Any, ann: Client, shop: str) -> None:
    made = []
    for _ in range(3):
        made.append(await wished(ann, shop))
        assert (await decide(ann, made[-1], "cancel")).json()["status"] == "cancelled"
        control.clock.at += timedelta(seconds=1)
    first = (await ann.get(f"{V1}/projects/{shop}/requests", params={"limit": "2"})).json()
    rest = (await ann.get(f"{V1}/projects/{shop}/requests", params={"after": first["next"]})).json()
    assert [item["id"] for item in first["items"] + rest["items"]] == made[::-1]


@pytest.mark.parametrize("how", ["denied", "given up", "asked for anew"])
async def test_a_session_ends_with_its_grant(
    control: Any, ann: Client, admin: Client, shop: str, gateway: Machine, how: str
) -> None:
    place = f"{V1}/projects/{shop}/resources/mongo/accounts/ro"
    if how == "asked for anew":
        await admin.patch(place, json={"require_approval": False})
        session_id = await active(ann, shop, gateway)
        await admin.patch(place, json={"require_approval": True})
    else:
        request_id = await wished(ann, shop)
        await decide(admin, request_id, "approve")
        session_id = await active(ann, shop, gateway)
        await sweep(control)
        assert (await gateway.beat(f'{{"sessions": [{{"session_id": "{session_id}", "epoch": 1}}]}}'.encode()))[
            "end"
        ] == []
        over = await (decide(admin, request_id, "deny") if how == "denied" else decide(ann, request_id, "cancel"))
        assert over.json()["status"] == "revoked"
        assert next(job for job in control.services.background if job.name == "access").wake.is_set()
    await sweep(control)
    told = await gateway.beat(f'{{"sessions": [{{"session_id": "{session_id}", "epoch": 1}}]}}'.encode())
    assert [order["reason"] for order in told["end"]] == ["rights_lost"]
    assert (await lease(gateway, session_id))[0].json()["code"] == "lease_refused"
    assert (await ask(ann, shop)).json()["code"] == "approval_required"


async def test_all_of_it_is_written_down(control: Any, ann: Client, admin: Client, shop: str) -> None:
    request_id = await wished(ann, shop)
    await decide(admin, request_id, "approve", "go")
    await decide(admin, request_id, "deny", "stop")
    rows = [row for row in await control.events() if row.target == request_id]
    assert [(row.event, row.actor, row.details["note"]) for row in rows] == [
        ("request.created", ANN, ""),
        ("request.approved", "admin@example.com", "go"),
        ("request.revoked", "admin@example.com", "stop"),
    ]


# --- the table --------------------------------------------------------------------------------------------------------


def test_what_was_decided_is_not_decided_again() -> None:
    for before, after in product(RequestStatus, RequestStatus):
        if before not in (RequestStatus.PENDING, RequestStatus.APPROVED):
            assert not allowed(before, after)
        assert not allowed(before, before)
        assert not allowed(before, RequestStatus.PENDING)
    assert set(TRANSITIONS) == set(RequestStatus)
    assert TRANSITIONS[RequestStatus.APPROVED] == {RequestStatus.REVOKED}


def test_only_what_waits_expires(clock: Any) -> None:
    now = clock()
    for status in RequestStatus:
        late = effective(status, now, now)
        assert late is (RequestStatus.EXPIRED if status is RequestStatus.PENDING else status)
        assert effective(status, now + timedelta(seconds=1), now) is status
