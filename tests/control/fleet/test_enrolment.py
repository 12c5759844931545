"""Joining the fleet, and proving it with every request."""

from __future__ import annotations

import base64
from typing import Any

import httpx2
import pytest

from wardgate import sealing
from wardgate.api import enrolment
from wardgate.net import certs

from ..machines import PREFIX, Machine, enrol

Admin = httpx2.AsyncClient


async def create(admin: Admin, shop: str, name: str = "near-db") -> dict[str, Any]:
    answer = await admin.post(f"{PREFIX}/projects/{shop}/gateways", json={"name": name})
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def test_a_token_works_once(control: Any, admin: Admin, nobody: Admin, shop: str) -> None:
    created = await create(admin, shop)
    assert created["status"] == "pending"
    await Machine.join(control, created)
    again = await enrol(nobody, created["token"], certs.make_key())
    assert again.status_code == 403
    assert again.json()["code"] == "enrolment_refused"


async def test_a_token_lasts_an_hour(control: Any, admin: Admin, nobody: Admin, shop: str) -> None:
    created = await create(admin, shop)
    control.clock.forward(hours=1)
    assert (await enrol(nobody, created["token"], certs.make_key())).status_code == 403


async def test_who_does_not_know_the_secret_does_not_get_in(
    control: Any, admin: Admin, nobody: Admin, shop: str
) -> None:
    token, key = (await create(admin, shop))["token"], certs.make_key()
    for spoiled in (
        {"proof": bytes(32)},
        {"csr": certs.make_csr(certs.make_key())},
        {"csr": b"none"},
        {"token_id": "tok_" + "0" * 26},
        {"kind": "relay"},
        {"name": "another"},
    ):
        refused = await enrol(nobody, token, key, **spoiled)
        assert refused.status_code == 403, spoiled
    await Machine.join(control, {"token": token})


async def test_the_secret_is_in_no_answer_and_not_in_the_database(control: Any, admin: Admin, shop: str) -> None:
    created = await create(admin, shop)
    secret = enrolment.decode(created["token"]).secret.reveal()
    listed = await admin.get(f"{PREFIX}/projects/{shop}/gateways")
    assert "token" not in listed.json()["items"][0]
    everything = control.dump()
    assert secret not in everything
    assert created["token"].encode() not in everything


async def test_a_signed_request_is_accepted_once(gateway: Machine) -> None:
    header = gateway.sign("POST", f"{PREFIX}/gateway/heartbeat", b"{}")
    assert (await gateway.send("POST", "/gateway/heartbeat", b"{}", header)).status_code == 200
    assert (await gateway.send("POST", "/gateway/heartbeat", b"{}", header)).status_code == 401


@pytest.mark.parametrize(
    "changes",
    [
        {"audience": "https://elsewhere.example"},
        {"method": "GET"},
        {"target": f"{PREFIX}/gateway/heartbeat?x=1"},
        {"target": f"{PREFIX}/gateway/leases"},
        {"body": b"{ }"},
        {"key_id": "gw_" + "0" * 26},
        {"key_id": "rly_" + "0" * 26},
    ],
)
async def test_a_signature_is_about_this_request_only(gateway: Machine, changes: dict[str, Any]) -> None:
    claims = {"method": "POST", "target": f"{PREFIX}/gateway/heartbeat", "body": b"{}", **changes}
    method, target, body = claims.pop("method"), claims.pop("target"), claims.pop("body")
    header = gateway.sign(method, target, body, **claims)
    assert (await gateway.send("POST", "/gateway/heartbeat", b"{}", header)).status_code == 401


@pytest.mark.parametrize("shift", [-3_600.0, -95.0, 95.0, 3_600.0])
async def test_a_signature_is_of_this_minute(control: Any, gateway: Machine, shift: float) -> None:
    now = control.clock().timestamp() + shift
    header = gateway.sign("POST", f"{PREFIX}/gateway/heartbeat", b"{}", now=now)
    assert (await gateway.send("POST", "/gateway/heartbeat", b"{}", header)).status_code == 401


async def test_another_key_signs_for_nobody(gateway: Machine) -> None:
    gateway.key = certs.make_key()
    assert (await gateway.send("POST", "/gateway/heartbeat", b"{}")).status_code == 401


async def test_machines_can_not_use_the_doors_of_people(gateway: Machine) -> None:
    assert (await gateway.send("GET", "/projects")).status_code == 401
    assert (await gateway.send("POST", "/relay/heartbeat", b'{"address": "r:1"}')).status_code == 401


async def test_a_certificate_is_renewed_for_the_same_key_only(gateway: Machine) -> None:
    """Relays know a revoked instance by its key: one that could change it would keep certificates nobody knows of."""
    body = f'{{"csr": "{base64.b64encode(certs.make_csr(certs.make_key())).decode()}"}}'.encode()
    refused = await gateway.send("POST", "/gateway/renew", body)
    assert refused.status_code == 422
    assert "same key" in refused.json()["detail"]
    body = f'{{"csr": "{base64.b64encode(certs.make_csr(gateway.key)).decode()}"}}'.encode()
    assert (await gateway.send("POST", "/gateway/renew", body)).status_code == 200
    await gateway.beat()


async def test_a_revoked_gateway_is_cut_off(control: Any, admin: Admin, shop: str, gateway: Machine) -> None:
    revoked = await admin.post(f"{PREFIX}/projects/{shop}/gateways/near-db/revoke")
    assert revoked.json()["status"] == "revoked"
    refused = await gateway.send("POST", "/gateway/heartbeat", b"{}")
    assert refused.status_code == 403
    assert "was revoked" in refused.json()["detail"]


async def test_online_is_a_link_and_a_fresh_heartbeat(control: Any, admin: Admin, shop: str, gateway: Machine) -> None:
    async def status() -> str:
        answer: str = (await admin.get(f"{PREFIX}/projects/{shop}/gateways")).json()["items"][0]["status"]
        return answer

    assert await status() == "online"
    control.clock.forward(seconds=31)
    assert await status() == "offline"
    await gateway.beat()
    assert await status() == "online"


async def test_a_relay_enrols_and_gets_its_route_key_sealed(control: Any, admin: Admin) -> None:
    created = (await admin.post(f"{PREFIX}/relays", json={"name": "east"})).json()
    relay = await Machine.join(control, created, kind="relay")
    private, public = sealing.generate()
    body = f'{{"public_key": "{base64.b64encode(public).decode()}"}}'.encode()
    config = (await relay.send("POST", "/relay/config", body)).json()
    sealed = base64.b64decode(config["sealed_key"])
    assert len(sealing.open_(private, sealing.relay_key_info(relay.id), sealed)) == 32
    beat = await relay.send("POST", "/relay/heartbeat", b'{"address": "relay.example:443"}')
    assert beat.status_code == 200
    listed = (await admin.get(f"{PREFIX}/relays")).json()["items"]
    shown = [(item["name"], item["status"], item["address"]) for item in listed]
    assert shown == [("east", "online", "relay.example:443")]
