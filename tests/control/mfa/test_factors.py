"""Setting factors up and taking them away; and the sign-in that asks for one."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx2
import pytest

from .conftest import PASSWORD, V1, Postbox, set_up

Client = httpx2.AsyncClient
EMAIL = "bob@example.com"


@pytest.fixture
async def bob(control: Any) -> Any:
    async with await control.user(EMAIL) as client:
        yield client


async def status(client: Client) -> dict[str, Any]:
    document: dict[str, Any] = (await client.get(f"{V1}/mfa")).json()
    return document


async def log_in(client: Client, **more: str) -> httpx2.Response:
    return await client.post(f"{V1}/auth/login", json={"email": EMAIL, "password": PASSWORD, **more})


async def test_the_first_app_needs_the_password(control: Any, bob: Client) -> None:
    refused = await bob.post(f"{V1}/mfa/totp", json={"password": "wrong"})
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_credentials")
    assert (await status(bob))["kind"] is None
    app = await set_up(control, bob)
    seen = await status(bob)
    assert (seen["kind"], seen["recovery_codes_left"]) == ("totp", 10)
    assert [method["id"] for method in seen["methods"]] == [app.id]


async def test_an_app_counts_only_after_its_first_code(control: Any, bob: Client) -> None:
    begun = (await bob.post(f"{V1}/mfa/totp", json={"password": PASSWORD})).json()
    place = f"{V1}/mfa/totp/{begun['id']}/confirm"
    wrong = await bob.post(place, json={"code": "000"})
    assert (wrong.status_code, wrong.json()["code"]) == (403, "mfa_code_wrong")
    assert (await status(bob))["methods"] == []
    control.clock.at += timedelta(minutes=10)
    assert (await bob.post(place, json={"code": "000"})).status_code == 404
    await control.services.mfa.sweep()
    control.clock.at += timedelta(seconds=1)
    await control.services.mfa.sweep()
    assert await control.count("mfa_methods") == 0


async def test_the_secret_is_sealed(control: Any, bob: Client) -> None:
    app = await set_up(control, bob)
    assert app.secret not in control.dump()


async def test_a_stolen_token_changes_no_factor(control: Any, bob: Client) -> None:
    """Even with the password: a change needs a code of the present app."""
    app = await set_up(control, bob)
    for more in ({}, {"code": "000000"}):
        refused = await bob.post(f"{V1}/mfa/totp", json={"password": PASSWORD, **more})
        assert (refused.status_code, refused.json()["code"]) == (403, "mfa_code_wrong")
    assert (await bob.post(f"{V1}/mfa/methods/{app.id}/remove", json={"code": "0"})).status_code == 403
    assert (await bob.post(f"{V1}/mfa/recovery-codes", json={"code": "0"})).status_code == 403
    assert [method["id"] for method in (await status(bob))["methods"]] == [app.id]
    assert [row.event for row in await control.events()][-3:] == ["mfa.failed"] * 3  # every guess is on record


async def test_a_new_app_takes_the_place_of_the_old_one(control: Any, bob: Client) -> None:
    old = await set_up(control, bob)
    new = await set_up(control, bob, code=old.next_code())
    assert [method["id"] for method in (await status(bob))["methods"]] == [new.id]
    place = f"{V1}/mfa/recovery-codes"
    assert (await bob.post(place, json={"code": old.next_code()})).status_code == 403
    assert (await bob.post(place, json={"code": old.recovery[0]})).status_code == 403  # they went with it
    assert (await bob.post(place, json={"code": new.code()})).status_code == 200


async def test_new_recovery_codes_make_the_old_ones_void(control: Any, bob: Client) -> None:
    app = await set_up(control, bob)
    made = await bob.post(f"{V1}/mfa/recovery-codes", json={"code": app.recovery[3]})
    assert len(set(made.json()["codes"]) - set(app.recovery)) == 10
    assert (await bob.post(f"{V1}/mfa/recovery-codes", json={"code": app.recovery[4]})).status_code == 403
    removed = await bob.post(f"{V1}/mfa/methods/{app.id}/remove", json={"code": made.json()["codes"][0]})
    assert removed.status_code == 204
    seen = await status(bob)
    assert (seen["kind"], seen["methods"], seen["recovery_codes_left"]) == (None, [], 0)


async def test_an_administrator_takes_a_lost_factor_away(control: Any, admin: Client, bob: Client) -> None:
    await set_up(control, bob)
    assert (await bob.post(f"{V1}/users/{EMAIL}/mfa/reset")).status_code == 403
    assert (await admin.post(f"{V1}/users/{EMAIL}/mfa/reset")).status_code == 204
    assert (await status(bob))["methods"] == []
    assert "mfa.reset" in [row.event for row in await control.events()]


async def test_who_is_removed_takes_their_factors_along(control: Any, admin: Client, bob: Client) -> None:
    await set_up(control, bob)
    assert (await admin.delete(f"{V1}/users/{EMAIL}")).status_code == 204
    assert await control.count("mfa_methods") == await control.count("mfa_recovery_codes") == 0


# --- at sign-in -------------------------------------------------------------------------------------------------------


async def insist(admin: Client, enforced: str | None = None) -> httpx2.Response:
    return await admin.put(f"{V1}/mfa/policy", json={"enforced": enforced, "at_sign_in": True})


async def test_a_sign_in_asks_after_the_password(control: Any, admin: Client, bob: Client, nobody: Client) -> None:
    app = await set_up(control, bob)
    await set_up(control, admin)
    assert (await insist(admin)).status_code == 200
    wrong = await nobody.post(f"{V1}/auth/login", json={"email": EMAIL, "password": "wrong"})
    assert wrong.json()["code"] == "invalid_credentials"
    problem = (await log_in(nobody)).json()
    assert problem["code"] == "mfa_required"
    challenge = problem["context"]["challenge_id"]
    refused = await log_in(nobody, challenge_id=challenge, code="000")
    assert (refused.json()["code"], refused.json()["context"]) == ("mfa_code_wrong", {"attempts_left": 4})
    code = app.next_code()
    stolen = {"email": EMAIL, "password": "wrong", "challenge_id": challenge, "code": code}
    assert (await nobody.post(f"{V1}/auth/login", json=stolen)).json()["code"] == "invalid_credentials"
    tokens = await log_in(nobody, challenge_id=challenge, code=code)
    assert tokens.status_code == 200, tokens.text
    again = await log_in(nobody, challenge_id=challenge, code=app.next_code())
    assert again.json()["code"] == "mfa_challenge_over"


async def test_a_challenge_of_a_sign_in_opens_no_access_and_the_other_way_round(
    control: Any, admin: Client, bob: Client, nobody: Client
) -> None:
    app = await set_up(control, bob)
    await set_up(control, admin)
    await insist(admin)
    challenge = (await log_in(nobody)).json()["context"]["challenge_id"]
    verified = await bob.post(f"{V1}/mfa/challenges/{challenge}/verify", json={"code": app.next_code()})
    assert verified.status_code == 404  # it belongs to no sign-in yet


async def test_nobody_locks_themselves_out(control: Any, admin: Client) -> None:
    refused = await insist(admin, "totp")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    rule = {"enforced": None, "at_sign_in": False, "user_verification": False}
    assert (await admin.get(f"{V1}/mfa/policy")).json() == rule


async def test_who_has_not_set_the_enforced_kind_up_comes_in_by_mail(
    control: Any, admin: Client, bob: Client, nobody: Client, postbox: Postbox
) -> None:
    assert (await insist(admin, "totp")).status_code == 200
    problem = (await log_in(nobody)).json()
    assert problem["context"]["kind"] == "email"
    challenge = problem["context"]["challenge_id"]
    assert (await log_in(nobody, challenge_id=challenge, code=postbox.code())).status_code == 200
    await set_up(control, bob)
    assert (await log_in(nobody)).json()["context"]["kind"] == "totp"
