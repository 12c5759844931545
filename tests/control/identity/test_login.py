"""Logging in, staying logged in, and being thrown out."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

EMAIL, PASSWORD = "admin@example.com", "correct horse battery staple"
LOGIN, REFRESH, WHOAMI = "/api/v1/auth/login", "/api/v1/auth/refresh", "/api/v1/auth/whoami"


async def login(client: httpx2.AsyncClient, email: str = EMAIL, password: str = PASSWORD) -> httpx2.Response:
    return await client.post(LOGIN, json={"email": email, "password": password})


async def whoami(control: Any, token: str) -> int:
    async with control.client(token) as client:
        status: int = (await client.get(WHOAMI)).status_code
        return status


async def test_the_right_password_gives_tokens_that_work(control: Any, nobody: httpx2.AsyncClient) -> None:
    answer = await login(nobody, "  Admin@Example.COM ")
    assert answer.status_code == 200
    tokens = answer.json()
    assert tokens["access_token"].startswith("wga1_")
    assert tokens["refresh_token"].startswith("wgr1_")
    assert tokens["user"]["email"] == EMAIL
    assert tokens["user"]["roles"] == [{"role": "admin", "scope": "organisation", "group": None}]
    assert answer.headers["cache-control"] == "no-store"
    assert await whoami(control, tokens["access_token"]) == 200
    assert await whoami(control, tokens["refresh_token"]) == 401


async def test_wrong_unknown_and_disabled_are_one_answer(control: Any, nobody: httpx2.AsyncClient) -> None:
    await control.user("off@example.com")
    await control.execute("UPDATE users SET disabled_at = created_at WHERE email = 'off@example.com'")
    answers = [
        await login(nobody, EMAIL, "wrong"),
        await login(nobody, "unknown@example.com", "wrong"),
        await login(nobody, "off@example.com"),
        await login(nobody, "", "wrong"),
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1
    assert answers[0].json()["code"] == "invalid_credentials"


async def test_every_failed_login_hashes_and_is_written_down(control: Any, nobody: httpx2.AsyncClient) -> None:
    """The work behind the answer must not tell accounts apart either."""
    hasher, seen = control.services.identity._hasher, []
    real = hasher.verify

    async def watched(password: Any, phc: str | None, **more: bool) -> bool:
        seen.append(phc is None)
        return bool(await real(password, phc, **more))

    hasher.verify = watched
    before = await control.count("audit_events")
    await login(nobody, EMAIL, "wrong")
    await login(nobody, "unknown@example.com", "wrong")
    assert seen == [False, True]
    assert await control.count("audit_events") == before + 2


async def test_an_access_token_lasts_an_hour(control: Any, nobody: httpx2.AsyncClient) -> None:
    token = (await login(nobody)).json()["access_token"]
    control.clock.forward(minutes=59, seconds=59)
    assert await whoami(control, token) == 200
    control.clock.forward(seconds=1)
    assert await whoami(control, token) == 401


async def test_a_refresh_token_gives_the_next_pair(control: Any, nobody: httpx2.AsyncClient) -> None:
    first = (await login(nobody)).json()
    control.clock.forward(days=29)
    second = await nobody.post(REFRESH, json={"refresh_token": first["refresh_token"]})
    assert second.status_code == 200
    assert await whoami(control, second.json()["access_token"]) == 200
    control.clock.forward(days=29)
    third = await nobody.post(REFRESH, json={"refresh_token": second.json()["refresh_token"]})
    assert third.status_code == 200
    control.clock.forward(days=30)
    late = await nobody.post(REFRESH, json={"refresh_token": third.json()["refresh_token"]})
    assert late.status_code == 401


async def test_a_refresh_token_that_is_used_twice_ends_the_sign_in(control: Any, nobody: httpx2.AsyncClient) -> None:
    first = (await login(nobody)).json()
    other = (await login(nobody)).json()
    second = (await nobody.post(REFRESH, json={"refresh_token": first["refresh_token"]})).json()
    again = await nobody.post(REFRESH, json={"refresh_token": first["refresh_token"]})
    assert again.status_code == 401
    assert await whoami(control, second["access_token"]) == 401
    assert (await nobody.post(REFRESH, json={"refresh_token": second["refresh_token"]})).status_code == 401
    assert await whoami(control, other["access_token"]) == 200


async def test_of_two_refreshes_at_once_one_wins(control: Any, nobody: httpx2.AsyncClient) -> None:
    token = (await login(nobody)).json()["refresh_token"]
    answers = await asyncio.gather(*(nobody.post(REFRESH, json={"refresh_token": token}) for _ in range(2)))
    assert sorted(answer.status_code for answer in answers) == [200, 401]


async def test_logout_ends_both_tokens(control: Any, nobody: httpx2.AsyncClient) -> None:
    tokens = (await login(nobody)).json()
    async with control.client(tokens["access_token"]) as client:
        assert (await client.post("/api/v1/auth/logout")).status_code == 204
        assert (await client.get(WHOAMI)).status_code == 401
    assert (await nobody.post(REFRESH, json={"refresh_token": tokens["refresh_token"]})).status_code == 401


async def test_guessing_is_slowed_for_the_guesser_only(control: Any, nobody: httpx2.AsyncClient) -> None:
    for _ in range(10):
        assert (await login(nobody, EMAIL, "wrong")).status_code == 401
    slowed = await login(nobody)
    assert slowed.status_code == 429
    assert int(slowed.headers["retry-after"]) >= 1
    async with control.client(address="198.51.100.9") as owner:
        assert (await login(owner)).status_code == 200
    control.clock.forward(seconds=7)
    assert (await login(nobody)).status_code == 200


async def test_right_passwords_cost_nothing(control: Any, nobody: httpx2.AsyncClient) -> None:
    for _ in range(60):
        assert (await login(nobody)).status_code == 200


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer wga1_nonsense", "Bearer  x y"])
async def test_no_token_or_a_wrong_one_is_not_logged_in(nobody: httpx2.AsyncClient, header: str) -> None:
    answer = await nobody.get(WHOAMI, headers={"authorization": header})
    assert answer.status_code == 401
    assert answer.json()["code"] == "not_logged_in"
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_expired_tokens_are_forgotten(control: Any, nobody: httpx2.AsyncClient) -> None:
    await login(nobody)
    control.clock.forward(days=31)
    await control.services.sign_ins.sweep()
    assert await control.count("tokens") == 0


async def test_nothing_secret_is_in_the_database(control: Any, nobody: httpx2.AsyncClient) -> None:
    tokens = (await login(nobody)).json()
    await login(nobody, "someone@example.com", "their own secret")
    everything = control.dump()
    for secret in (PASSWORD, "their own secret", tokens["access_token"], tokens["refresh_token"]):
        assert secret.encode() not in everything
        assert secret.partition("_")[2].encode() not in everything or "_" not in secret
