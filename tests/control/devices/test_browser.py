"""Letting a device in from its own browser: a one-time code on loopback, bound to what the device had at the start."""

from __future__ import annotations

import asyncio
import base64
import hashlib
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

V1 = "/api/v1"
REQUESTS = f"{V1}/auth/browser-requests"
REDIRECT = "http://127.0.0.1:53211/callback"
STATE = "s" * 43


@dataclass
class Terminal:
    """A device that asks."""

    client: httpx2.AsyncClient
    verifier: str = "v" * 43
    redirect: str = REDIRECT
    asked: dict[str, Any] = field(default_factory=dict)

    async def ask(self, **changed: Any) -> httpx2.Response:
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self.verifier.encode()).digest()).rstrip(b"=").decode()
        body = {"code_challenge": challenge, "redirect_uri": self.redirect, "state": STATE, "device": "ann's laptop"}
        answer = await self.client.post(REQUESTS, json=body | changed)
        if answer.status_code == 201:
            self.asked = answer.json()
        return answer

    async def redeem(self, one_time: str, **changed: Any) -> httpx2.Response:
        body = {"code": one_time, "code_verifier": self.verifier, "redirect_uri": self.redirect}
        return await self.client.post(f"{REQUESTS}/{self.asked['request_id']}/token", json=body | changed)

    @property
    def place(self) -> str:
        return f"{V1}/auth/waiting-devices/{self.asked['request_id']}"


@pytest.fixture
async def terminal(nobody: httpx2.AsyncClient) -> Terminal:
    made = Terminal(nobody)
    assert (await made.ask()).status_code == 201
    return made


async def approve(person: httpx2.AsyncClient, terminal: Terminal) -> str:
    """The one-time code that the browser brings."""
    answer = await person.post(f"{terminal.place}/approve")
    assert answer.status_code == 200, answer.text
    parts = urlsplit(answer.json()["redirect"])
    query = parse_qs(parts.query)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == terminal.redirect
    assert query["state"] == [STATE]
    code: str = query["code"][0]
    return code


async def whoami(control: Any, token: str) -> int:
    async with control.client(token) as client:
        status: int = (await client.get(f"{V1}/auth/whoami")).status_code
        return status


async def test_a_device_is_let_in(control: Any, terminal: Terminal, admin: httpx2.AsyncClient) -> None:
    shown = (await admin.get(terminal.place)).json()
    assert shown["name"] == "ann's laptop"
    assert shown["code"] == terminal.asked["short_code"]
    assert (shown["flow"], shown["address"], shown["same_address"]) == ("browser", "192.0.2.1", True)
    tokens = await terminal.redeem(await approve(admin, terminal))
    assert tokens.status_code == 200
    assert tokens.json()["user"]["email"] == "admin@example.com"
    assert await whoami(control, tokens.json()["access_token"]) == 200
    devices = (await admin.get(f"{V1}/auth/sign-ins")).json()["items"]
    assert {(d["kind"], d["name"], d["method"]) for d in devices} == {
        ("command_line", "", "password"),
        ("command_line", "ann's laptop", "password"),
    }
    assert [e.event for e in await control.events()][-2:] == ["device.approved", "user.logged_in"]


async def test_a_code_without_its_verifier_ends_the_request(
    control: Any, terminal: Terminal, admin: httpx2.AsyncClient
) -> None:
    code = await approve(admin, terminal)
    stolen = await terminal.redeem(code, code_verifier="w" * 43)
    assert (stolen.status_code, stolen.json()["code"]) == (400, "access_denied")
    assert (await terminal.redeem(code)).status_code == 400
    assert await control.count("sign_ins") == 1


@pytest.mark.parametrize(
    "changed", [{"redirect_uri": "http://127.0.0.1:53212/callback"}, {"code": "wgc1_wrong"}, {"code": "x"}]
)
async def test_a_code_is_for_its_redirect_address_and_is_that_code(
    control: Any, terminal: Terminal, admin: httpx2.AsyncClient, changed: dict[str, str]
) -> None:
    code = await approve(admin, terminal)
    answer = await terminal.redeem(code, **changed)
    assert (answer.status_code, answer.json()["code"]) == (400, "access_denied")
    assert await control.count("sign_ins") == 1


async def test_a_code_of_one_request_opens_no_other(terminal: Terminal, admin: httpx2.AsyncClient) -> None:
    code = await approve(admin, terminal)
    other = Terminal(terminal.client)
    await other.ask()
    assert (await other.redeem(code)).json()["code"] == "access_denied"
    assert (await terminal.redeem(code)).status_code == 200


async def test_a_second_use_ends_the_sign_in_that_came_of_the_first(
    control: Any, terminal: Terminal, admin: httpx2.AsyncClient
) -> None:
    code = await approve(admin, terminal)
    tokens = (await terminal.redeem(code)).json()
    assert (await terminal.redeem(code, code_verifier="w" * 43)).status_code == 400
    assert await whoami(control, tokens["access_token"]) == 401
    refreshed = await terminal.client.post(f"{V1}/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert refreshed.status_code == 401
    assert (await control.events())[-1].event == "user.token_reused"
    assert (await terminal.redeem(code)).status_code == 400
    assert [e.event for e in await control.events()].count("user.token_reused") == 1


async def test_of_two_uses_at_once_none_stays(control: Any, terminal: Terminal, admin: httpx2.AsyncClient) -> None:
    code = await approve(admin, terminal)
    answers = await asyncio.gather(terminal.redeem(code), terminal.redeem(code))
    assert sorted(answer.status_code for answer in answers) == [200, 400]
    tokens = next(answer.json() for answer in answers if answer.status_code == 200)
    assert await whoami(control, tokens["access_token"]) == 401


async def test_a_code_lasts_a_minute_and_a_request_ten(
    control: Any, terminal: Terminal, admin: httpx2.AsyncClient
) -> None:
    code = await approve(admin, terminal)
    control.clock.forward(seconds=60)
    assert (await terminal.redeem(code)).status_code == 400
    await terminal.ask()
    control.clock.forward(minutes=10)
    assert (await admin.post(f"{terminal.place}/approve")).status_code == 404


async def test_a_device_is_turned_away(terminal: Terminal, admin: httpx2.AsyncClient) -> None:
    answer = await admin.post(f"{terminal.place}/deny")
    assert answer.json()["redirect"] == f"{REDIRECT}?error=access_denied&state={STATE}"
    assert (await admin.post(f"{terminal.place}/approve")).status_code == 404
    assert (await terminal.redeem("wgc1_x")).status_code == 400


@pytest.mark.parametrize(
    "changed",
    [
        {"code_challenge_method": "plain"},
        {"code_challenge": "short"},
        {"code_challenge": None},
        {"state": "short"},
        {"state": "s" * 30 + "&x=y"},
        {"redirect_uri": "http://localhost:5000/callback"},
        {"redirect_uri": "https://127.0.0.1:5000/callback"},
        {"redirect_uri": "http://127.0.0.1/callback"},
        {"redirect_uri": "http://127.0.0.1:5000/elsewhere"},
        {"redirect_uri": "http://127.0.0.1:5000/callback?x=y"},
        {"redirect_uri": "http://127.0.0.1:5000/callback\n"},
        {"redirect_uri": "http://127.0.0.1:5000@evil.example/callback"},
        {"redirect_uri": "http://127.0.0.1.evil.example:5000/callback"},
        {"redirect_uri": "http://0.0.0.0:5000/callback"},
        {"redirect_uri": "http://127.0.0.1:99999/callback"},
    ],
)
async def test_what_is_not_loopback_with_pkce_is_refused(
    control: Any, nobody: httpx2.AsyncClient, changed: dict[str, Any]
) -> None:
    assert (await Terminal(nobody).ask(**changed)).status_code == 422
    assert await control.count("device_requests") == 0


async def test_only_a_fresh_sign_in_lets_in(control: Any, terminal: Terminal, admin: httpx2.AsyncClient) -> None:
    control.clock.forward(minutes=15, seconds=1)
    await terminal.ask()
    old = await admin.post(f"{terminal.place}/approve")
    assert (old.status_code, old.json()["code"]) == (403, "fresh_sign_in_required")
    async with await control.login("admin@example.com") as again:
        assert (await again.post(f"{terminal.place}/approve")).status_code == 200


async def test_who_was_let_in_lets_nobody_in(control: Any, terminal: Terminal, admin: httpx2.AsyncClient) -> None:
    tokens = (await terminal.redeem(await approve(admin, terminal))).json()
    await terminal.ask()
    async with control.client(tokens["access_token"]) as let_in:
        assert (await let_in.post(f"{terminal.place}/approve")).json()["code"] == "fresh_sign_in_required"


async def test_where_a_second_factor_is_asked_for_it_must_have_been_shown(
    control: Any, terminal: Terminal, admin: httpx2.AsyncClient
) -> None:
    await control.execute("INSERT INTO mfa_policy (id, enforced, at_sign_in) VALUES (1, NULL, true)")
    refused = await admin.post(f"{terminal.place}/approve")
    assert refused.json()["code"] == "fresh_sign_in_required"
    assert "second factor" in refused.json()["detail"]
    await control.execute("UPDATE sign_ins SET second_factor = true")
    tokens = await terminal.redeem(await approve(admin, terminal))
    assert tokens.status_code == 200
    devices = (await admin.get(f"{V1}/auth/sign-ins")).json()["items"]
    assert all(device["second_factor"] for device in devices)


async def test_who_approved_must_still_stand(control: Any, terminal: Terminal, admin: httpx2.AsyncClient) -> None:
    code = await approve(admin, terminal)
    await admin.post(f"{V1}/auth/logout")
    assert (await terminal.redeem(code)).json()["code"] == "access_denied"
    ann = await control.user("ann@example.com")
    await terminal.ask()
    code = await approve(ann, terminal)
    await control.execute("UPDATE users SET disabled_at = created_at WHERE email = 'ann@example.com'")
    assert (await terminal.redeem(code)).json()["code"] == "access_denied"


async def test_nothing_that_opens_anything_is_in_the_database(
    control: Any, terminal: Terminal, admin: httpx2.AsyncClient
) -> None:
    code = await approve(admin, terminal)
    everything = control.dump()
    assert code.partition("_")[2].encode() not in everything
    assert terminal.verifier.encode() not in everything


async def test_asking_is_rationed_by_address(control: Any, nobody: httpx2.AsyncClient) -> None:
    terminal = Terminal(nobody)
    answers = [(await terminal.ask()).status_code for _ in range(21)]
    assert answers == [201] * 20 + [429]
    async with control.client(address="198.51.100.9") as other:
        assert (await Terminal(other).ask()).status_code == 201


async def test_a_name_is_one_line_that_can_be_read(terminal: Terminal, admin: httpx2.AsyncClient) -> None:
    await terminal.ask(device="ok\n\x1b[2Jmine\u202e")
    assert (await admin.get(terminal.place)).json()["name"] == "ok [2Jmine"
