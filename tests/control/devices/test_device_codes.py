"""Letting a device in from a browser elsewhere: somebody types its code in, and it asks again and again."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.control.devices import codes

V1 = "/api/v1"
WAITING = f"{V1}/auth/waiting-devices"


async def begin(client: httpx2.AsyncClient) -> dict[str, Any]:
    answer = await client.post(f"{V1}/auth/device-requests", json={"device": "server-7"})
    assert answer.status_code == 201
    made: dict[str, Any] = answer.json()
    return made


async def poll(client: httpx2.AsyncClient, begun: dict[str, Any]) -> httpx2.Response:
    return await client.post(f"{V1}/auth/device-requests/token", json={"device_code": begun["device_code"]})


async def code_of(client: httpx2.AsyncClient, begun: dict[str, Any]) -> str:
    code: str = (await poll(client, begun)).json()["code"]
    return code


async def test_a_device_is_let_in_by_its_code(control: Any, nobody: httpx2.AsyncClient) -> None:
    begun = await begin(nobody)
    assert begun["verification_uri"] == "http://localhost:8400/device"
    assert await code_of(nobody, begun) == "authorization_pending"
    async with await control.user("ann@example.com") as ann:
        typed = begun["user_code"].lower().replace("-", " ")
        shown = (await ann.get(f"{WAITING}/{typed}")).json()
        assert (shown["code"], shown["name"], shown["flow"]) == (begun["user_code"], "server-7", "code")
        assert (await ann.post(f"{WAITING}/{typed}/approve")).json() == {"redirect": None}
    control.clock.forward(seconds=5)
    tokens = await poll(nobody, begun)
    assert tokens.status_code == 200
    assert tokens.json()["user"]["email"] == "ann@example.com"
    control.clock.forward(seconds=5)
    assert await code_of(nobody, begun) == "expired_token"


async def test_who_asks_too_often_is_slowed_down(control: Any, nobody: httpx2.AsyncClient) -> None:
    begun = await begin(nobody)
    assert await code_of(nobody, begun) == "authorization_pending"
    control.clock.forward(seconds=2)
    early = await poll(nobody, begun)
    assert (early.status_code, early.json()["code"], early.json()["context"]) == (400, "slow_down", {"interval": 10})
    control.clock.forward(seconds=6)
    assert (await poll(nobody, begun)).json()["context"] == {"interval": 15}
    async with await control.user("ann@example.com") as ann:
        assert (await ann.post(f"{WAITING}/{begun['user_code']}/approve")).status_code == 200
    control.clock.forward(seconds=5)
    assert await code_of(nobody, begun) == "slow_down", "an early question is never answered"
    control.clock.forward(seconds=20)
    assert (await poll(nobody, begun)).status_code == 200


async def test_a_poll_that_the_network_brings_a_little_early_is_on_time(
    control: Any, nobody: httpx2.AsyncClient
) -> None:
    begun = await begin(nobody)
    for _ in range(3):
        assert await code_of(nobody, begun) == "authorization_pending"
        control.clock.forward(seconds=4.5)


async def test_a_device_is_turned_away(control: Any, nobody: httpx2.AsyncClient, admin: httpx2.AsyncClient) -> None:
    begun = await begin(nobody)
    assert (await admin.post(f"{WAITING}/{begun['user_code']}/deny")).json() == {"redirect": None}
    assert await code_of(nobody, begun) == "access_denied"
    assert (await admin.post(f"{WAITING}/{begun['user_code']}/approve")).status_code == 404
    assert (await control.events())[-1].event == "device.denied"


async def test_a_code_expires(control: Any, nobody: httpx2.AsyncClient, admin: httpx2.AsyncClient) -> None:
    begun = await begin(nobody)
    control.clock.forward(minutes=10)
    assert await code_of(nobody, begun) == "expired_token"
    assert (await admin.get(f"{WAITING}/{begun['user_code']}")).status_code == 404
    control.clock.forward(days=1)
    await control.services.devices.sweep()
    assert await control.count("device_requests") == 0


async def test_an_unknown_device_code_looks_like_an_expired_one(nobody: httpx2.AsyncClient) -> None:
    assert await code_of(nobody, {"device_code": "wgd1_unknown"}) == "expired_token"


async def test_a_device_code_redeems_no_request_of_a_browser(nobody: httpx2.AsyncClient) -> None:
    begun = await begin(nobody)
    body = {"code": begun["device_code"], "code_verifier": "v" * 43, "redirect_uri": "http://127.0.0.1:1/callback"}
    answer = await nobody.post(f"{V1}/auth/browser-requests/{begun['user_code']}/token", json=body)
    assert answer.json()["code"] == "access_denied"


async def test_guessing_codes_is_rationed(control: Any, nobody: httpx2.AsyncClient, admin: httpx2.AsyncClient) -> None:
    begun = await begin(nobody)
    answers = [(await admin.get(f"{WAITING}/BBBB-BBB{char}")).status_code for char in "BCDFGHJKLMN"]
    assert answers == [404] * 10 + [429]
    async with await control.user("ann@example.com") as ann:
        for _ in range(20):
            assert (await ann.get(f"{WAITING}/{begun['user_code']}")).status_code == 200
    control.clock.forward(seconds=31)
    assert (await admin.get(f"{WAITING}/{begun['user_code']}")).status_code == 200


@pytest.mark.parametrize("code", ["", "AAAA-AAAA", "BCDF", "BCDFGHJKL", "dvr_0", "ｂｃｄｆｇｈｊｋ"])
async def test_what_can_be_no_code_is_not_found(admin: httpx2.AsyncClient, code: str) -> None:
    assert (await admin.get(f"{WAITING}/{code}")).status_code == 404


@given(st.binary(min_size=codes.RANDOM_BYTES, max_size=codes.RANDOM_BYTES))
def test_a_shown_code_is_read_back_however_it_is_typed(randomness: bytes) -> None:
    code = codes.user_code(randomness)
    assert len(code) == 8
    assert not set(code) & set("AEIOUY0123456789")
    assert codes.typed(codes.shown(code)) == code
    assert codes.typed(f" {code[:3].lower()} {code[3:]} ") == code


def test_the_challenge_of_the_specification() -> None:
    """RFC 7636, appendix B."""
    verifier = b"dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert codes.challenge_of(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
