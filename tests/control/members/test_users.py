"""Users: made, shown, kept out, removed, and their passwords."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from wardgate.control.identity.actor import ORGANISATION
from wardgate.control.identity.permissions import Role
from wardgate.secret import Secret

Client = httpx2.AsyncClient
V1 = "/api/v1"
PASSWORD = "correct horse battery staple"
ANN = "ann@example.com"


async def make(admin: Client, email: str = ANN) -> dict[str, Any]:
    answer = await admin.post(f"{V1}/users", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def log_in(client: Client, email: str = ANN, password: str = PASSWORD) -> httpx2.Response:
    return await client.post(f"{V1}/auth/login", json={"email": email, "password": password})


async def test_a_new_user_logs_in_and_may_do_nothing(control: Any, admin: Client, nobody: Client, shop: str) -> None:
    made = await make(admin, "Ann@Example.com")
    assert (made["email"], made["status"], made["roles"]) == (ANN, "active", [])
    assert made["id"].startswith("usr_")
    tokens = (await log_in(nobody)).json()
    async with control.client(tokens["access_token"]) as ann:
        assert (await ann.get(f"{V1}/projects")).json()["items"] == []
        assert (await ann.get(f"{V1}/projects/{shop}")).status_code == 404
        assert (await ann.get(f"{V1}/users")).status_code == 403


async def test_a_user_is_found_by_id_and_by_address(admin: Client) -> None:
    made = await make(admin)
    for name in (made["id"], ANN, "ANN@example.com"):
        assert (await admin.get(f"{V1}/users/{name}")).json() == made
    listed = (await admin.get(f"{V1}/users", params={"limit": "1"})).json()
    rest = (await admin.get(f"{V1}/users", params={"after": listed["next"]})).json()
    assert {user["email"] for user in listed["items"] + rest["items"]} == {ANN, "admin@example.com"}
    missing = await admin.get(f"{V1}/users/bob@example.com")
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"email": "admin@example.com", "password": PASSWORD}, 409),
        ({"email": "no address", "password": PASSWORD}, 422),
        ({"email": ANN, "password": "short"}, 422),
        ({"email": ANN}, 422),
        ({"email": ANN, "password": PASSWORD, "role": "admin"}, 422),
    ],
)
async def test_a_bad_form_makes_nobody(control: Any, admin: Client, form: dict[str, str], status: int) -> None:
    before = await control.count("users")
    answer = await admin.post(f"{V1}/users", json=form)
    assert answer.status_code == status
    assert PASSWORD not in answer.text
    assert await control.count("users") == before


async def test_who_is_disabled_is_out_until_enabled(control: Any, admin: Client, nobody: Client, shop: str) -> None:
    made = await make(admin)
    binding = {"user": ANN, "role": "connector", "scope": shop}
    assert (await admin.post(f"{V1}/bindings", json=binding)).status_code == 201
    token = (await log_in(nobody)).json()["access_token"]
    disabled = (await admin.post(f"{V1}/users/{ANN}/disable")).json()
    assert disabled["status"] == "disabled"
    assert disabled["disabled_at"] is not None
    async with control.client(token) as ann:
        assert (await ann.get(f"{V1}/auth/whoami")).status_code == 401
    assert (await log_in(nobody)).status_code == 401
    assert (await admin.post(f"{V1}/users/{ANN}/disable")).json() == disabled  # again: nothing changes
    enabled = (await admin.post(f"{V1}/users/{made['id']}/enable")).json()
    assert (enabled["status"], enabled["roles"]) == ("active", [{"role": "connector", "scope": shop, "group": None}])
    async with control.client(token) as ann:
        assert (await ann.get(f"{V1}/auth/whoami")).status_code == 401  # the old sign-in stays dead
    assert (await log_in(nobody)).status_code == 200


async def test_who_is_removed_leaves_no_role_and_no_login(control: Any, admin: Client, nobody: Client) -> None:
    await make(admin)
    await admin.post(f"{V1}/bindings", json={"user": ANN, "role": "auditor", "scope": "organisation"})
    token = (await log_in(nobody)).json()["access_token"]
    assert (await admin.delete(f"{V1}/users/{ANN}")).status_code == 204
    async with control.client(token) as ann:
        assert (await ann.get(f"{V1}/auth/whoami")).status_code == 401
    assert (await admin.get(f"{V1}/users/{ANN}")).status_code == 404
    assert await control.count("role_bindings") == 1
    again = await make(admin)
    assert again["roles"] == []


async def test_the_organisation_keeps_an_administrator(control: Any, admin: Client, login_as: Any) -> None:
    me = "admin@example.com"
    own = (await admin.get(f"{V1}/bindings", params={"user": me})).json()["items"][0]["id"]
    tries = [("POST", f"/users/{me}/disable"), ("DELETE", f"/users/{me}"), ("DELETE", f"/bindings/{own}")]
    for method, path in tries:
        answer = await admin.request(method, V1 + path)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    # One for a while, one who is disabled, and one of a project do not count.
    await make(admin, "bob@example.com")
    week = {"user": "bob@example.com", "role": "admin", "scope": "organisation", "duration": "7d"}
    assert (await admin.post(f"{V1}/bindings", json=week)).status_code == 201
    await login_as("eve@example.com", (Role.ADMIN, ORGANISATION))
    assert (await admin.post(f"{V1}/users/eve@example.com/disable")).status_code == 200
    assert (await admin.delete(f"{V1}/users/{me}")).status_code == 409
    assert (await admin.post(f"{V1}/users/eve@example.com/enable")).status_code == 200
    assert (await admin.delete(f"{V1}/bindings/{own}")).status_code == 204
    assert (await admin.get(f"{V1}/users")).status_code == 403


async def test_ones_own_password(control: Any, admin: Client, nobody: Client) -> None:
    await make(admin)
    here, there = [(await log_in(nobody)).json()["access_token"] for _ in range(2)]
    form = {"current_password": PASSWORD, "new_password": "another long enough one"}
    async with control.client(here) as ann, control.client(there) as other:
        wrong = await ann.post(f"{V1}/auth/password", json={**form, "current_password": "wrong"})
        assert (wrong.status_code, wrong.json()["code"]) == (401, "invalid_credentials")
        assert (await other.get(f"{V1}/auth/whoami")).status_code == 200
        assert (await ann.post(f"{V1}/auth/password", json=form)).status_code == 204
        assert (await ann.get(f"{V1}/auth/whoami")).status_code == 200
        assert (await other.get(f"{V1}/auth/whoami")).status_code == 401
    assert (await log_in(nobody)).status_code == 401
    assert (await log_in(nobody, password="another long enough one")).status_code == 200


async def test_a_stolen_token_can_not_guess_the_password_for_long(control: Any, admin: Client, nobody: Client) -> None:
    await make(admin)
    token = (await log_in(nobody)).json()["access_token"]
    form = {"current_password": "guess", "new_password": "another long enough one"}
    async with control.client(token) as thief:
        seen = [(await thief.post(f"{V1}/auth/password", json=form)).status_code for _ in range(12)]
    assert seen[0] == 401
    assert seen[-1] == 429


async def test_a_reset_ends_the_sign_ins(control: Any, admin: Client, nobody: Client) -> None:
    await make(admin)
    token = (await log_in(nobody)).json()["access_token"]
    form = {"password": "another long enough one"}
    assert (await admin.post(f"{V1}/users/{ANN}/password", json=form)).status_code == 204
    async with control.client(token) as ann:
        assert (await ann.get(f"{V1}/auth/whoami")).status_code == 401
    assert (await log_in(nobody, password="another long enough one")).status_code == 200


async def test_all_of_it_is_written_down(control: Any, admin: Client) -> None:
    await make(admin)
    await admin.post(f"{V1}/users/{ANN}/disable")
    await admin.post(f"{V1}/users/{ANN}/enable")
    await admin.post(f"{V1}/users/{ANN}/password", json={"password": "another long enough one"})
    bound = await admin.post(f"{V1}/bindings", json={"user": ANN, "role": "auditor", "scope": "organisation"})
    await admin.delete(f"{V1}/bindings/{bound.json()['id']}")
    await admin.delete(f"{V1}/users/{ANN}")
    rows = await control.events()
    events = [row.event for row in rows if row.actor == "admin@example.com" and row.event[:5] in ("user.", "role.")]
    assert [event for event in events if event != "user.logged_in"] == [
        "user.created",
        "user.disabled",
        "user.enabled",
        "user.password_changed",
        "role.granted",
        "role.revoked",
        "user.deleted",
    ]
    assert "long enough" not in str([row.details for row in rows])


async def test_a_reset_counts_for_whoever_is_just_logging_in(
    control: Any, admin: Client, nobody: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checking a password is slow: what was right when it began may be wrong when it ends."""
    await make(admin)
    new = "another long enough one"
    hasher = control.services.identity._hasher
    verify = hasher.verify

    async def slow(password: Secret, phc: str | None, **more: bool) -> bool:
        right: bool = await verify(password, phc, **more)
        monkeypatch.undo()
        await admin.post(f"{V1}/users/{ANN}/password", json={"password": new})
        return right

    monkeypatch.setattr(hasher, "verify", slow)
    refused = await log_in(nobody)
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_credentials")
    assert await control.count("sign_ins WHERE revoked_at IS NULL") == 1  # the administrator's

    token = (await log_in(nobody, password=new)).json()["access_token"]
    monkeypatch.setattr(hasher, "verify", slow)
    async with control.client(token) as ann:
        form = {"current_password": new, "new_password": "the thief's own password"}
        new = "yet another long enough one"
        refused = await ann.post(f"{V1}/auth/password", json=form)
        assert (refused.status_code, refused.json()["code"]) == (401, "invalid_credentials")
    assert (await log_in(nobody, password=new)).status_code == 200
