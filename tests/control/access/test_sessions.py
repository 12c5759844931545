"""A session's life in the control plane: granted, leased, active, ended, and every way it may be refused."""

from __future__ import annotations

import base64
from datetime import timedelta
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import text

from wardgate import sealing
from wardgate.api.machine import LeaseSecrets
from wardgate.control.access.model import SessionRow
from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role
from wardgate.net import certs

from ..machines import PREFIX, Machine

Client = httpx2.AsyncClient
PASSWORD = "database secret"


@pytest.fixture
async def relay(control: Any, admin: Client) -> Machine:
    """A relay that is online."""
    created = (await admin.post(f"{PREFIX}/relays", json={"name": "east"})).json()
    machine = await Machine.join(control, created, kind="relay")
    await relay_beat(machine)
    return machine


async def relay_beat(machine: Machine) -> None:
    assert (await machine.send("POST", "/relay/heartbeat", b'{"address": "relay.example:443"}')).status_code == 200


@pytest.fixture
async def account(admin: Client, shop: str, gateway: Machine, relay: Machine) -> dict[str, Any]:
    """The account `ro` on the resource `mongo`."""
    base = f"{PREFIX}/projects/{shop}/resources"
    form = {"name": "mongo", "gateway": "near-db", "connection_string": "mongodb://db1"}
    assert (await admin.post(base, json=form)).status_code == 201
    form = {"name": "ro", "username": "reader", "password": PASSWORD, "max_duration": "2h"}
    created = await admin.post(f"{base}/mongo/accounts", json=form)
    assert created.status_code == 201, created.text
    document: dict[str, Any] = created.json()
    return document


async def ask(client: Client, shop: str, key: certs.PrivateKey | None = None, /, **changes: Any) -> httpx2.Response:
    csr = x509.load_der_x509_csr(certs.make_csr(key or certs.make_key())).public_bytes(Encoding.PEM).decode()
    body = {"resource": "mongo", "account": "ro", "duration": "1h", "csr": csr, **changes}
    return await client.post(f"{PREFIX}/projects/{shop}/sessions", json=body)


async def granted(client: Client, shop: str, key: certs.PrivateKey | None = None, /, **changes: Any) -> dict[str, Any]:
    answer = await ask(client, shop, key, **changes)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def lease(gateway: Machine, session_id: str) -> tuple[httpx2.Response, LeaseSecrets | None]:
    private, public = sealing.generate()
    body = f'{{"session_id": "{session_id}", "public_key": "{base64.b64encode(public).decode()}"}}'.encode()
    answer = await gateway.send("POST", "/gateway/leases", body)
    if answer.status_code != 200:
        return answer, None
    sealed = base64.b64decode(answer.json()["sealed"])
    plain = sealing.open_(private, sealing.lease_info(session_id, gateway.id), sealed)
    return answer, LeaseSecrets.model_validate_json(plain)


async def report(gateway: Machine, session_id: str, epoch: int, status: str, reason: str | None = None) -> int:
    ended = f', "end_reason": "{reason}"' if reason else ""
    body = f'{{"epoch": {epoch}, "status": "{status}"{ended}}}'.encode()
    return (await gateway.send("POST", f"/gateway/sessions/{session_id}/state", body)).status_code


async def active(client: Client, shop: str, gateway: Machine) -> str:
    """A session that is active in epoch 1."""
    session_id: str = (await granted(client, shop))["session"]["id"]
    assert (await lease(gateway, session_id))[0].status_code == 200
    assert await report(gateway, session_id, 1, "active") == 204
    return session_id


async def show(client: Client, session_id: str) -> dict[str, Any]:
    document: dict[str, Any] = (await client.get(f"{PREFIX}/sessions/{session_id}")).json()
    return document


async def sweep(control: Any) -> None:
    for job in control.services.background:
        if job.name == "access":
            await job.work()


async def test_a_grant_names_the_session_its_end_and_the_way(
    control: Any, admin: Client, shop: str, gateway: Machine, relay: Machine, account: dict[str, Any]
) -> None:
    key = certs.make_key()
    grant = await granted(admin, shop, key)
    session = grant["session"]
    assert (session["status"], session["user"], session["gateway"]) == ("starting", "admin@example.com", "near-db")
    assert grant["gateway_id"] == gateway.id
    leaf = x509.load_pem_x509_certificate(grant["certificate"].encode())
    assert leaf.public_key() == key.public_key()
    assert leaf.not_valid_after_utc == control.clock() + timedelta(hours=1, seconds=60)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uri = f"wardgate:session/{session['id']}/gateway/{gateway.id}"
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [uri]
    (way,) = grant["routes"]
    assert (way["kind"], way["address"]) == ("relay", "relay.example:443")
    assert way["sni"].endswith(f".{gateway.id.replace('_', '-')}.wardgate.internal")
    assert PASSWORD not in str(grant)


async def test_a_longer_wish_gets_the_longest_with_a_notice(admin: Client, shop: str, account: dict[str, Any]) -> None:
    grant = await granted(admin, shop, duration="1d")
    assert grant["granted_s"] == 7_200
    assert any("at most 2h" in notice for notice in grant["notices"])


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"duration": "soon"}, 422, "invalid_duration"),
        ({"duration": "31d"}, 422, "invalid_duration"),
        ({"csr": "no csr"}, 422, "invalid_request"),
        ({"resource": "nothing"}, 404, "not_found"),
        ({"account": "nobody"}, 404, "not_found"),
    ],
)
async def test_a_wrong_wish_is_refused(
    admin: Client, shop: str, account: dict[str, Any], changes: dict[str, Any], status: int, code: str
) -> None:
    refused = await ask(admin, shop, **changes)
    assert (refused.status_code, refused.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("change", "code"),
    [({"require_mfa": True}, "mfa_unavailable"), ({"require_reason": True}, "reason_required")],
)
async def test_gates_of_the_account(
    admin: Client, shop: str, account: dict[str, Any], change: dict[str, Any], code: str
) -> None:
    path = f"{PREFIX}/projects/{shop}/resources/mongo/accounts/ro"
    assert (await admin.patch(path, json=change)).status_code == 200
    refused = await ask(admin, shop)
    assert refused.status_code == 403
    assert refused.json()["code"] == code
    if code == "reason_required":
        assert (await ask(admin, shop, reason="   ")).status_code == 403
        assert (await ask(admin, shop, reason="ticket 12")).status_code == 201


async def test_only_connectors_of_the_account_get_in(
    control: Any, admin: Client, shop: str, account: dict[str, Any]
) -> None:
    (resource,) = (await admin.get(f"{PREFIX}/projects/{shop}/resources")).json()["items"]
    place = Scope(shop, resource["id"], account["id"])
    async with await control.user("ann@example.com", (Role.CONNECTOR, place)) as ann:
        session_id = (await granted(ann, shop))["session"]["id"]
        assert (await show(ann, session_id))["user"] == "ann@example.com"
    async with await control.user("aud@example.com", (Role.AUDITOR, Scope(shop))) as auditor:
        assert (await ask(auditor, shop)).status_code == 403
        assert (await show(auditor, session_id))["id"] == session_id
        assert (await auditor.post(f"{PREFIX}/sessions/{session_id}/terminate")).status_code == 403
    async with await control.user("eve@example.com", (Role.CONNECTOR, Scope(shop, "res_other"))) as eve:
        assert (await ask(eve, shop)).status_code == 404
        assert (await eve.get(f"{PREFIX}/sessions/{session_id}")).status_code == 404
        assert (await eve.post(f"{PREFIX}/sessions/{session_id}/terminate")).status_code == 404
        assert (await eve.get(f"{PREFIX}/projects/{shop}/sessions")).json()["items"] == []


async def test_an_offline_gateway_and_a_missing_relay_are_said(
    control: Any, admin: Client, shop: str, gateway: Machine, relay: Machine, account: dict[str, Any]
) -> None:
    control.clock.forward(minutes=5)
    assert (await ask(admin, shop)).json()["code"] == "gateway_offline"
    await gateway.beat()
    assert (await ask(admin, shop)).json()["code"] == "relay_unavailable"
    assert await control.count("sessions") == 0
    await relay_beat(relay)
    await granted(admin, shop)


async def test_a_lease_gives_the_credentials_sealed_and_each_is_an_epoch(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    session_id = (await granted(admin, shop))["session"]["id"]
    control.clock.forward(seconds=10)
    answer, secrets = await lease(gateway, session_id)
    document = answer.json()
    assert secrets is not None
    assert (secrets.credentials.username, secrets.credentials.password) == ("reader", PASSWORD)
    assert PASSWORD not in answer.text
    assert (document["epoch"], document["expires_in_s"], document["renew_by_s"]) == (1, 3_590, 600)
    assert document["audit_key_id"] == control.services.keys.audit_key_id
    assert document["policy"] == {"allow_admin": False, "idle_timeout_s": 1_800}
    assert (await lease(gateway, session_id))[0].json()["epoch"] == 2
    assert await report(gateway, session_id, 1, "active") == 409
    assert await report(gateway, session_id, 2, "active") == 204
    assert (await show(admin, session_id))["status"] == "active"


async def test_another_gateway_gets_no_lease(control: Any, admin: Client, shop: str, account: dict[str, Any]) -> None:
    created = await admin.post(f"{PREFIX}/projects/{shop}/gateways", json={"name": "other"})
    other = await Machine.join(control, created.json())
    session_id = (await granted(admin, shop))["session"]["id"]
    answer, _ = await lease(other, session_id)
    assert (answer.status_code, answer.json()["code"]) == (403, "lease_refused")
    assert await report(other, session_id, 1, "ended", "expired") == 404


async def test_termination_is_an_order_until_the_gateway_has_done_it(
    admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    session_id = await active(admin, shop, gateway)
    assert (await admin.post(f"{PREFIX}/sessions/{session_id}/terminate")).json()["status"] == "active"
    assert (await lease(gateway, session_id))[0].status_code == 403
    listed = f'{{"sessions": [{{"session_id": "{session_id}", "epoch": 1}}]}}'.encode()
    answer = await gateway.beat(listed)
    assert [(order["session_id"], order["reason"]) for order in answer["end"]] == [(session_id, "terminated")]
    assert answer["renewed"] == []
    assert await report(gateway, session_id, 1, "ended", "client_closed") == 204
    ended = await show(admin, session_id)
    assert (ended["status"], ended["end_reason"]) == ("ended", "terminated")
    assert await report(gateway, session_id, 1, "ended", "expired") == 204
    assert (await show(admin, session_id))["end_reason"] == "terminated"


async def test_what_nobody_serves_ends_at_once(admin: Client, shop: str, account: dict[str, Any]) -> None:
    session_id = (await granted(admin, shop))["session"]["id"]
    assert (await admin.post(f"{PREFIX}/sessions/{session_id}/terminate")).json()["status"] == "ended"
    abandoned = (await granted(admin, shop))["session"]["id"]
    await admin.post(f"{PREFIX}/sessions/{abandoned}/abandon")
    assert (await show(admin, abandoned))["end_reason"] == "failed_to_start"


async def test_what_its_user_is_done_with_ends_even_if_the_gateway_did_not_hear_it(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    session_id = await active(admin, shop, gateway)
    await admin.post(f"{PREFIX}/sessions/{session_id}/abandon")
    assert (await lease(gateway, session_id))[0].status_code == 403
    control.clock.forward(minutes=11)
    await sweep(control)
    assert (await show(admin, session_id))["end_reason"] == "client_closed"


async def test_a_heartbeat_renews_and_orders(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    session_id = await active(admin, shop, gateway)
    unknown = "ses_" + "0" * 26
    control.clock.forward(minutes=5)
    listed = (
        f'{{"sessions": [{{"session_id": "{session_id}", "epoch": 1}}, {{"session_id": "{unknown}", "epoch": 1}}]}}'
    )
    answer = await gateway.beat(listed.encode())
    assert [each["session_id"] for each in answer["renewed"]] == [session_id]
    assert answer["renewed"][0]["expires_in_s"] == 3_300
    assert [each["session_id"] for each in answer["end"]] == [unknown]
    control.clock.forward(minutes=8)
    await sweep(control)
    assert (await show(admin, session_id))["status"] == "active"


async def test_the_older_epoch_must_die(admin: Client, shop: str, gateway: Machine, account: dict[str, Any]) -> None:
    session_id = await active(admin, shop, gateway)
    await lease(gateway, session_id)
    answer = await gateway.beat(f'{{"sessions": [{{"session_id": "{session_id}", "epoch": 1}}]}}'.encode())
    assert [each["session_id"] for each in answer["end"]] == [session_id]


async def test_a_session_that_never_starts_fails_after_a_minute(
    control: Any, admin: Client, shop: str, account: dict[str, Any]
) -> None:
    session_id = (await granted(admin, shop))["session"]["id"]
    control.clock.forward(seconds=59)
    await sweep(control)
    assert (await show(admin, session_id))["status"] == "starting"
    control.clock.forward(seconds=1)
    await sweep(control)
    assert (await show(admin, session_id))["end_reason"] == "failed_to_start"


async def test_a_silent_gateway_is_lost_only_after_its_lease(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    session_id = await active(admin, shop, gateway)
    control.clock.forward(minutes=9, seconds=59)
    await sweep(control)
    shown = await show(admin, session_id)
    assert (shown["status"], shown["link"]) == ("active", "lost")
    control.clock.forward(seconds=1)
    await sweep(control)
    assert (await show(admin, session_id))["end_reason"] == "gateway_lost"


async def test_an_expiry_that_no_gateway_reports_is_written_down(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    session_id = (await granted(admin, shop, duration="1m"))["session"]["id"]
    await lease(gateway, session_id)
    await report(gateway, session_id, 1, "active")
    control.clock.forward(seconds=79)
    await sweep(control)
    assert (await show(admin, session_id))["status"] == "active"
    control.clock.forward(seconds=1)
    await sweep(control)
    assert (await show(admin, session_id))["end_reason"] == "expired"


async def test_withdrawn_rights_end_the_session(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    async with await control.user("ann@example.com", (Role.CONNECTOR, Scope(shop))) as ann:
        session_id = await active(ann, shop, gateway)
        await control.execute("DELETE FROM role_bindings WHERE project_id IS NOT NULL")
        assert (await lease(gateway, session_id))[0].json()["code"] == "lease_refused"
        await sweep(control)
        answer = await gateway.beat(f'{{"sessions": [{{"session_id": "{session_id}", "epoch": 1}}]}}'.encode())
        assert [(each["session_id"], each["reason"]) for each in answer["end"]] == [(session_id, "rights_lost")]
        assert await report(gateway, session_id, 1, "ended", "rights_lost") == 204
        assert (await show(admin, session_id))["end_reason"] == "rights_lost"


async def test_a_removed_account_ends_its_sessions(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    session_id = await active(admin, shop, gateway)
    assert (await admin.delete(f"{PREFIX}/projects/{shop}/resources/mongo")).status_code == 204
    await sweep(control)
    answer = await gateway.beat(f'{{"sessions": [{{"session_id": "{session_id}", "epoch": 1}}]}}'.encode())
    assert answer["end"][0]["reason"] == "rights_lost"
    shown = await show(admin, session_id)
    assert (shown["resource"], shown["account"]) == ("mongo", "ro")


async def test_a_revoked_gateway_ends_its_sessions(
    admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    session_id = await active(admin, shop, gateway)
    await admin.post(f"{PREFIX}/projects/{shop}/gateways/near-db/revoke")
    assert (await show(admin, session_id))["end_reason"] == "gateway_lost"


async def test_a_lost_link_is_shown(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    session_id = await active(admin, shop, gateway)
    assert (await show(admin, session_id))["link"] == "ok"
    control.clock.forward(seconds=31)
    assert (await show(admin, session_id))["link"] == "lost"


async def test_sessions_are_listed_newest_first_and_refusals_are_events(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    made = []
    for _ in range(3):
        control.clock.forward(seconds=1)
        made.append((await granted(admin, shop))["session"]["id"])
    page = (await admin.get(f"{PREFIX}/projects/{shop}/sessions", params={"limit": 2})).json()
    assert [item["id"] for item in page["items"]] == [made[2], made[1]]
    rest = (await admin.get(f"{PREFIX}/projects/{shop}/sessions", params={"after": page["next"]})).json()
    assert [item["id"] for item in rest["items"]] == [made[0]]
    async with await control.user("aud@example.com", (Role.AUDITOR, Scope(shop))) as auditor:
        await ask(auditor, shop)
    async with control.services.database.read() as session:
        assert await control.services.audit_log.first_broken(session) is None


async def listed(client: Client, shop: str, **asked: Any) -> list[str]:
    found = await client.get(f"{PREFIX}/projects/{shop}/sessions", params=asked)
    assert found.status_code == 200, found.text
    return [item["id"] for item in found.json()["items"]]


async def test_a_list_is_narrowed_by_each_of_its_filters(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    started = control.clock().isoformat()
    first = await active(admin, shop, gateway)
    await admin.post(f"{PREFIX}/sessions/{first}/terminate")
    assert await report(gateway, first, 1, "ended", "client_closed") == 204
    control.clock.forward(seconds=10)
    later = control.clock().isoformat()
    second = await active(admin, shop, gateway)
    both = [second, first]
    session = await show(admin, first)
    assert await listed(admin, shop) == both
    assert await listed(admin, shop, state="live") == [second]
    assert await listed(admin, shop, state="ended") == [first]
    assert await listed(admin, shop, end_reason="terminated") == [first]
    assert await listed(admin, shop, end_reason="expired") == []
    for name, right in (("user", session["user"]), ("resource", "mongo"), ("account", "ro")):
        assert await listed(admin, shop, **{name: right}) == both
        assert await listed(admin, shop, **{name: "other"}) == []
    assert await listed(admin, shop, account=account["id"]) == both
    assert await listed(admin, shop, since=later) == [second]
    assert await listed(admin, shop, until=later) == [first]
    assert await listed(admin, shop, since=started, until=later, state="live") == []
    naive = await admin.get(f"{PREFIX}/projects/{shop}/sessions", params={"since": "2026-01-01T00:00:00"})
    assert naive.status_code == 422


async def test_activity_adds_up_what_the_reader_may_see(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    before = await active(admin, shop, gateway)
    await active(admin, shop, gateway)
    async with control.services.database.write() as session:
        row = await session.get_one(SessionRow, before)
        row.created_at -= timedelta(hours=24)
    path = f"{PREFIX}/projects/{shop}/activity"
    found = (await admin.get(path, params={"days": 7})).json()
    assert (found["sessions"], [step["sessions"] for step in found["steps"]][-2:]) == (2, [1, 1])
    assert len(found["steps"]) == 7
    assert [share["name"] for share in found["accounts"]] == ["ro on mongo"]
    assert sum(share["sessions"] for share in found["people"]) == 2
    by_hour = (await admin.get(path, params={"days": 1})).json()
    assert (by_hour["sessions"], len(by_hour["steps"])) == (1, 24)
    async with await control.user("con@example.com", (Role.CONNECTOR, Scope(shop))) as connector:
        assert (await connector.get(path)).json()["sessions"] == 0  # their own ones only


# --- the session password


async def test_every_session_has_a_password_of_its_own_that_leaves_twice(
    control: Any, admin: Client, shop: str, gateway: Machine, relay: Machine, account: dict[str, Any]
) -> None:
    first, second = await granted(admin, shop), await granted(admin, shop, local_auth=True)
    password = second["local_password"]
    assert password.startswith("wgs_")
    assert quote(password, safe="") == password  # it goes into URIs as it is
    assert len({first["local_password"], password}) == 2
    assert [each["session"]["local_auth"] for each in (first, second)] == [False, True]
    session_id = second["session"]["id"]
    answer, secrets = await lease(gateway, session_id)
    assert secrets is not None
    assert secrets.local_password == password
    assert answer.json()["local_auth"] is True
    assert password not in answer.text + repr(secrets)
    assert password not in str(await show(admin, session_id))
    again = (await lease(gateway, session_id))[1]  # the gateway was restarted
    assert again is not None
    assert again.local_password == password


async def test_the_session_password_goes_with_the_session(
    control: Any, admin: Client, shop: str, gateway: Machine, relay: Machine, account: dict[str, Any]
) -> None:
    async def sealed() -> Any:
        query = text("SELECT sealed_local_password FROM sessions WHERE id = :id")
        async with control.services.database.read() as session:
            return await session.scalar(query, {"id": session_id})

    session_id = await active(admin, shop, gateway)
    blob = await sealed()
    assert b"wgs_" not in blob
    await report(gateway, session_id, 1, "ended", "client_closed")
    assert await sealed() is None


async def test_a_session_password_opens_no_other_session(
    control: Any, admin: Client, shop: str, gateway: Machine, relay: Machine, account: dict[str, Any]
) -> None:
    """Whoever can write to the database can't give one session the password of another: it is bound to its row."""
    mine = (await granted(admin, shop, local_auth=True))["session"]["id"]
    other = (await granted(admin, shop, local_auth=True))["session"]["id"]
    change = text(
        "UPDATE sessions SET sealed_local_password = (SELECT sealed_local_password FROM sessions WHERE id = :mine) "
        "WHERE id = :other"
    )
    async with control.services.database.write() as session:
        await session.execute(change, {"mine": mine, "other": other})
    answer, secrets = await lease(gateway, other)
    assert secrets is None
    assert answer.status_code >= 400
