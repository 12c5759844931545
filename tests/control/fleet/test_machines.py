"""Gateways and relays over their lives: names, revocation, restarts of the control plane, relays that come and go."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from wardgate.api.machine import LinkEvent
from wardgate.control.fleet import MachineGuard
from wardgate.net import certs

from ..machines import PREFIX, Machine, enrol

Client = httpx2.AsyncClient


async def new_gateway(admin: Client, shop: str, name: str = "near-db") -> httpx2.Response:
    return await admin.post(f"{PREFIX}/projects/{shop}/gateways", json={"name": name})


async def new_relay(admin: Client, name: str = "east") -> httpx2.Response:
    return await admin.post(f"{PREFIX}/relays", json={"name": name})


async def relay_beat(relay: Machine, address: str = "relay.example:443", *gateways: str) -> dict[str, Any]:
    listed = ", ".join(f'"{gateway}"' for gateway in gateways)
    answer = await relay.send(
        "POST", "/relay/heartbeat", f'{{"address": "{address}", "gateways": [{listed}]}}'.encode()
    )
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def events_of(control: Any, gateway: Machine, doing: Any) -> list[LinkEvent]:
    """What a link of the gateway hears while `doing` is awaited."""
    with control.services.hub.connected(gateway.id, gateway.instance_id) as link:
        await doing
        link.close()
        lines = [line async for line in link.lines(asyncio.Event())]
    return [LinkEvent.model_validate_json(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


# --- names ------------------------------------------------------------------------------------------------------------


async def test_a_name_is_taken_until_it_is_revoked(control: Any, admin: Client, nobody: Client, shop: str) -> None:
    first = (await new_gateway(admin, shop)).json()
    taken = await new_gateway(admin, shop)
    assert taken.status_code == 409
    assert "revoke it" in taken.json()["detail"]
    assert (await admin.post(f"{PREFIX}/projects/{shop}/gateways/near-db/revoke")).json()["id"] == first["id"]
    # The token of what was revoked is worth nothing, and revoking again changes nothing.
    assert (await enrol(nobody, first["token"], certs.make_key())).status_code == 403
    assert (await admin.post(f"{PREFIX}/projects/{shop}/gateways/near-db/revoke")).json()["status"] == "revoked"
    control.clock.forward(seconds=1)
    second = (await new_gateway(admin, shop)).json()
    assert second["id"] != first["id"]
    listed = (await admin.get(f"{PREFIX}/projects/{shop}/gateways")).json()["items"]
    assert [item["status"] for item in listed] == ["revoked", "pending"]
    assert (await admin.post(f"{PREFIX}/projects/{shop}/gateways/near-db/revoke")).json()["id"] == second["id"]


async def test_relays_likewise(admin: Client) -> None:
    first = (await new_relay(admin)).json()
    assert (await new_relay(admin)).status_code == 409
    assert (await admin.post(f"{PREFIX}/relays/east/revoke")).json()["status"] == "revoked"
    second = (await new_relay(admin)).json()
    assert second["id"] != first["id"]
    assert (await admin.post(f"{PREFIX}/relays/west/revoke")).status_code == 404
    assert (await new_relay(admin, "embedded")).status_code == 409


@pytest.mark.parametrize("name", ["", "Near", "a b", "-a", "a" * 64, "a/b"])
async def test_a_name_has_a_form(admin: Client, shop: str, name: str) -> None:
    assert (await new_gateway(admin, shop, name)).status_code == 422


async def test_a_gateway_belongs_to_a_project_that_exists(admin: Client) -> None:
    assert (await new_gateway(admin, "prj_" + "0" * 26)).status_code == 404
    assert (await admin.post(f"{PREFIX}/projects/prj_{'0' * 26}/gateways/x/revoke")).status_code == 404


# --- joining ----------------------------------------------------------------------------------------------------------


async def test_of_many_at_once_one_joins(control: Any, admin: Client, shop: str) -> None:
    token = (await new_gateway(admin, shop)).json()["token"]

    async def attempt() -> int:
        async with control.client() as http:
            return (await enrol(http, token, certs.make_key())).status_code

    outcomes = await asyncio.gather(*(attempt() for _ in range(8)))
    assert sorted(outcomes) == [200] + [403] * 7


async def test_the_embedded_relay_is_one_relay_under_new_keys(control: Any, admin: Client, nobody: Client) -> None:
    fleet = control.services.fleet
    _, first = await fleet.embedded_relay_token("127.0.0.1:9443")
    _, second = await fleet.embedded_relay_token("127.0.0.1:9443")
    assert (await enrol(nobody, first, certs.make_key(), kind="relay")).status_code == 403
    relay = await Machine.join(control, {"token": second}, kind="relay")
    await relay_beat(relay, "127.0.0.1:9443")
    again = await Machine.join(
        control, {"token": (await fleet.embedded_relay_token("127.0.0.1:9443"))[1]}, kind="relay"
    )
    assert again.id == relay.id
    assert (await relay.send("POST", "/relay/heartbeat", b'{"address": "x:1"}')).status_code == 401
    await relay_beat(again)
    assert [item["embedded"] for item in (await admin.get(f"{PREFIX}/relays")).json()["items"]] == [True]


async def test_each_node_has_an_embedded_relay_of_its_own(control: Any, admin: Client) -> None:
    """Known by its address; a node that is alone keeps the one it has, wherever it listens."""
    for address in ("10.0.0.1:8443", "10.0.0.2:8443", "10.0.0.1:8443"):
        await control.services.fleet.embedded_relay_token(address)
    names = [item["name"] for item in (await admin.get(f"{PREFIX}/relays")).json()["items"]]
    assert "embedded" in names
    assert len(set(names)) == len(names) == (1 if control.cluster is None else 2)


async def test_an_embedded_relay_that_was_revoked_stays_so(control: Any, admin: Client) -> None:
    fleet = control.services.fleet
    relay = await Machine.join(
        control, {"token": (await fleet.embedded_relay_token("127.0.0.1:8443"))[1]}, kind="relay"
    )
    await admin.post(f"{PREFIX}/relays/embedded/revoke")
    successor = await Machine.join(
        control, {"token": (await fleet.embedded_relay_token("127.0.0.1:8443"))[1]}, kind="relay"
    )
    assert successor.id != relay.id
    assert (await relay.send("POST", "/relay/heartbeat", b'{"address": "x:1"}')).status_code == 403


# --- signatures -------------------------------------------------------------------------------------------------------


async def test_what_was_used_is_not_accepted_after_a_restart(control: Any, gateway: Machine) -> None:
    header = gateway.sign("POST", f"{PREFIX}/gateway/heartbeat", b"{}")
    assert (await gateway.send("POST", "/gateway/heartbeat", b"{}", header)).status_code == 200
    control.clock.forward(seconds=2)
    services = control.services
    control.app.state.machine_guard = MachineGuard(services.database, services.sources, services.settings.public_url)
    assert (await gateway.send("POST", "/gateway/heartbeat", b"{}", header)).status_code == 401
    await gateway.beat()


async def test_a_renewed_certificate_is_for_the_same_machine(control: Any, gateway: Machine) -> None:
    control.clock.forward(days=5)
    body = f'{{"csr": "{base64.b64encode(certs.make_csr(gateway.key)).decode()}"}}'.encode()
    answer = await gateway.send("POST", "/gateway/renew", body)
    assert answer.status_code == 200
    assert (await gateway.beat())["certificate_expires_at"].startswith("2030-01-13")
    broken = await gateway.send("POST", "/gateway/renew", b'{"csr": "AAAA"}')
    assert broken.status_code == 422
    assert "signing request" in broken.json()["detail"]


@pytest.mark.parametrize("key", [b"", bytes(32), b"x" * 31])
async def test_an_answer_is_sealed_to_a_real_key_or_not_at_all(control: Any, admin: Client, key: bytes) -> None:
    relay = await Machine.join(control, (await new_relay(admin)).json(), kind="relay")
    answer = await relay.send("POST", "/relay/config", f'{{"public_key": "{base64.b64encode(key).decode()}"}}'.encode())
    assert answer.status_code == 422
    assert "public_key" in answer.text


# --- relays and gateways ----------------------------------------------------------------------------------------------


async def test_gateways_hear_of_relays_that_come_move_and_go(
    control: Any, admin: Client, shop: str, gateway: Machine
) -> None:
    relay = await Machine.join(control, (await new_relay(admin)).json(), kind="relay")
    assert (await gateway.beat())["relays"] == []  # nobody knows its address yet
    [event] = await events_of(control, gateway, relay_beat(relay))
    assert [each.address for each in event.relays or []] == ["relay.example:443"]
    assert await events_of(control, gateway, relay_beat(relay)) == []
    [event] = await events_of(control, gateway, relay_beat(relay, "relay.example:444"))
    assert [each.address for each in event.relays or []] == ["relay.example:444"]
    assert [each["name"] for each in (await gateway.beat())["relays"]] == ["east"]
    [event] = await events_of(control, gateway, admin.post(f"{PREFIX}/relays/east/revoke"))
    assert event.relays == []
    assert (await gateway.beat())["relays"] == []


async def test_gateways_keep_their_relays_over_an_outage_of_the_control_plane(
    control: Any, admin: Client, gateway: Machine
) -> None:
    relay = await Machine.join(control, (await new_relay(admin)).json(), kind="relay")
    await relay_beat(relay)
    control.clock.forward(minutes=9)
    assert [each["name"] for each in (await gateway.beat())["relays"]] == ["east"]
    control.clock.forward(hours=2)
    assert (await gateway.beat())["relays"] == []


async def test_relays_are_told_whom_not_to_let_in(control: Any, admin: Client, shop: str, gateway: Machine) -> None:
    relay = await Machine.join(control, (await new_relay(admin)).json(), kind="relay")
    await new_gateway(admin, shop, "never-enrolled")
    await admin.post(f"{PREFIX}/projects/{shop}/gateways/never-enrolled/revoke")
    assert (await relay_beat(relay))["revoked"] == []
    await admin.post(f"{PREFIX}/projects/{shop}/gateways/near-db/revoke")
    assert (await relay_beat(relay))["revoked"] == [gateway.id]
    control.clock.forward(days=8)  # its certificate has expired: nothing to keep out any more
    assert (await relay_beat(relay))["revoked"] == []


async def test_the_list_of_gateways_counts_their_sessions(admin: Client, shop: str, gateway: Machine) -> None:
    listed = b'{"sessions": [{"session_id": "ses_x", "epoch": 1}, {"session_id": "ses_y", "epoch": 1}]}'
    await gateway.beat(listed)
    [item] = (await admin.get(f"{PREFIX}/projects/{shop}/gateways")).json()["items"]
    assert (item["status"], item["sessions"]) == ("online", 2)


# --- strangers --------------------------------------------------------------------------------------------------------


async def test_a_strangers_body_is_not_read(control: Any, gateway: Machine) -> None:
    """A batch of records may be 16 MiB: who has not signed must not have them kept in memory."""
    read: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        read.append(b"x")
        yield b"x"

    forged = replace(gateway, key=certs.make_key()).sign("POST", f"{PREFIX}/gateway/records", b"x")
    async with control.client() as http:
        answer = await http.post(f"{PREFIX}/gateway/records", content=body(), headers={"authorization": forged})
    assert answer.status_code == 401
    assert read == []
