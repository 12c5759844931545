"""Passkeys: set up, kept, named and taken away; and what an answer must not be. The key is a double at the level of
CTAP; the client that speaks to it, and with it every byte that the control plane judges, is real."""

from __future__ import annotations

import base64
import copy
import json
from datetime import timedelta
from typing import Any

import httpx2
import pytest
from fido2.client import ClientError

from wardgate.testing.authenticator import SoftKey

from .conftest import PASSWORD, V1, Postbox, set_up

Client = httpx2.AsyncClient
HERE = "http://localhost:8400"
EMAIL = "bob@example.com"


@pytest.fixture
async def bob(control: Any) -> Any:
    async with await control.user(EMAIL) as client:
        yield client


async def begin(client: Client, **more: Any) -> httpx2.Response:
    return await client.post(f"{V1}/mfa/passkeys/options", json={"password": PASSWORD, **more})


async def add(client: Client, key: SoftKey, name: str = "key", origin: str = HERE, **more: Any) -> httpx2.Response:
    begun = await begin(client, **more)
    assert begun.status_code == 201, begun.text
    made = key.create(begun.json()["options"], origin)
    return await client.post(f"{V1}/mfa/passkeys", json={"id": begun.json()["id"], "name": name, "credential": made})


async def added(client: Client, key: SoftKey, name: str = "key", **more: Any) -> dict[str, Any]:
    answer = await add(client, key, name, **more)
    assert answer.status_code == 201, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def proof(client: Client, key: SoftKey, change: str, method: str | None = None) -> str:
    """A met challenge for one change."""
    asked = await client.post(f"{V1}/mfa/challenges", json={"change": change, "method": method})
    assert asked.status_code == 201, asked.text
    challenge: str = asked.json()["challenge_id"]
    answer = key.get(asked.json()["passkey"], HERE)
    met = await client.post(f"{V1}/mfa/challenges/{challenge}/verify", json={"passkey": answer})
    assert met.status_code == 204, met.text
    return challenge


async def status(client: Client) -> dict[str, Any]:
    document: dict[str, Any] = (await client.get(f"{V1}/mfa")).json()
    return document


async def sign_in(control: Any, key: SoftKey, origin: str = HERE) -> httpx2.Response:
    """With the passkey alone."""
    async with control.client() as nobody:
        begun = (await nobody.post(f"{V1}/auth/passkey/options")).json()
        answer = key.get(begun["options"], origin)
        form = {"challenge_id": begun["challenge_id"], "passkey": answer}
        opened: httpx2.Response = await nobody.post(f"{V1}/auth/passkey/verify", json=form)
        return opened


# --- setting up -------------------------------------------------------------------------------------------------------


async def test_the_first_one_needs_the_password_and_brings_recovery_codes(control: Any, bob: Client) -> None:
    refused = await begin(bob, password="wrong")
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_credentials")
    assert (await bob.post(f"{V1}/mfa/passkeys/options", json={})).json()["code"] == "invalid_request"
    made = await added(bob, SoftKey(), "blue one")
    assert made["method"]["name"] == "blue one"
    assert len(made["recovery_codes"]) == 10
    seen = await status(bob)
    assert (seen["kind"], seen["recovery_codes_left"], seen["passkeys_at"]) == ("passkey", 10, HERE)
    assert [method["id"] for method in seen["methods"]] == [made["method"]["id"]]


async def test_what_is_asked_names_this_control_plane_and_asks_for_no_attestation(bob: Client) -> None:
    options = (await begin(bob)).json()["options"]
    assert options["rp"] == {"id": "localhost", "name": "wardgate"}
    assert options["attestation"] == "none"
    assert options["authenticatorSelection"]["residentKey"] == "preferred"
    assert EMAIL.encode() not in base64.urlsafe_b64decode(options["user"]["id"] + "==")


async def test_there_may_be_several_but_no_key_and_no_name_twice(control: Any, bob: Client) -> None:
    first, second = SoftKey(), SoftKey()
    await added(bob, first, "first")
    control.clock.forward(seconds=1)  # the list is in the order of their making
    again = await begin(bob, challenge_id=await proof(bob, first, "add_passkey"))
    with pytest.raises(ClientError):  # the key itself refuses: it is in the list of those to leave out
        first.create(again.json()["options"], HERE)
    taken = await add(bob, second, "first", challenge_id=await proof(bob, first, "add_passkey"))
    assert (taken.status_code, taken.json()["code"]) == (409, "conflict")
    made = await added(bob, second, "second", challenge_id=await proof(bob, first, "add_passkey"))
    assert made["recovery_codes"] == []
    assert [method["name"] for method in (await status(bob))["methods"]] == ["first", "second"]
    assert (await status(bob))["recovery_codes_left"] == 10


async def test_a_passkey_is_one_users_only(control: Any, bob: Client) -> None:
    key = SoftKey()
    begun = (await begin(bob)).json()
    made = key.create(begun["options"], HERE)
    form = {"id": begun["id"], "name": "key", "credential": made}
    assert (await bob.post(f"{V1}/mfa/passkeys", json=form)).status_code == 201
    eve = await control.user("eve@example.com")
    theirs = (await begin(eve)).json()
    stolen = await eve.post(f"{V1}/mfa/passkeys", json=form | {"id": theirs["id"]})
    assert (stolen.status_code, stolen.json()["code"]) == (403, "mfa_code_wrong")  # made for another question
    assert (await status(eve))["methods"] == []


async def test_what_was_begun_is_good_once_for_five_minutes_in_that_sign_in(control: Any, bob: Client) -> None:
    begun, key = (await begin(bob)).json(), SoftKey()
    form = {"id": begun["id"], "name": "key", "credential": key.create(begun["options"], HERE)}
    other = await control.login(EMAIL)
    assert (await other.post(f"{V1}/mfa/passkeys", json=form)).json()["code"] == "mfa_challenge_over"
    wrong = copy.deepcopy(form)
    wrong["credential"]["response"]["clientDataJSON"] = "e30"
    assert (await bob.post(f"{V1}/mfa/passkeys", json=wrong)).json()["code"] == "mfa_code_wrong"
    assert (await bob.post(f"{V1}/mfa/passkeys", json=form)).json()["code"] == "mfa_challenge_over"  # used up by it
    begun = (await begin(bob)).json()
    control.clock.at += timedelta(minutes=5)
    form = {"id": begun["id"], "name": "key", "credential": key.create(begun["options"], HERE)}
    assert (await bob.post(f"{V1}/mfa/passkeys", json=form)).json()["code"] == "mfa_challenge_over"


@pytest.mark.parametrize(
    "origin",
    ["http://127.0.0.1:8400", "http://localhost:8401", "https://localhost:8400", "http://evil.localhost:8400"],
)
async def test_a_page_of_another_origin_sets_nothing_up(bob: Client, origin: str) -> None:
    refused = await add(bob, SoftKey(), origin=origin)
    assert (refused.status_code, refused.json()["code"]) == (403, "mfa_code_wrong")


async def test_the_origin_is_not_taken_from_the_request(control: Any, bob: Client) -> None:
    """Host and Origin of the request are anybody's to choose; the configured name counts."""
    begun, key = await begin(bob), SoftKey()
    made = key.create(begun.json()["options"], "http://127.0.0.1:8400")
    form = {"id": begun.json()["id"], "name": "key", "credential": made}
    headers = {"host": "127.0.0.1:8400", "origin": "http://127.0.0.1:8400"}
    assert (await bob.post(f"{V1}/mfa/passkeys", json=form, headers=headers)).status_code == 403


async def test_the_organisation_can_insist_on_a_checked_user(control: Any, bob: Client, admin: Client) -> None:
    rule = {"enforced": None, "at_sign_in": False, "user_verification": True}
    assert (await admin.put(f"{V1}/mfa/policy", json=rule)).json()["user_verification"] is True
    begun = (await begin(bob)).json()
    assert begun["options"]["authenticatorSelection"]["userVerification"] == "required"
    begun["options"]["authenticatorSelection"]["userVerification"] = "discouraged"  # a client that does not care
    made = SoftKey(verifies=False).create(begun["options"], HERE)
    refused = await bob.post(f"{V1}/mfa/passkeys", json={"id": begun["id"], "name": "key", "credential": made})
    assert (refused.status_code, refused.json()["code"]) == (403, "mfa_code_wrong")
    assert "PIN" in refused.json()["detail"]
    await added(bob, SoftKey(verifies=True))


async def test_a_key_that_asks_for_a_pin_is_one_too(control: Any, bob: Client) -> None:
    key = SoftKey(verifies=False, pin="1234")
    await added(bob, key)
    assert (await sign_in(control, key)).status_code == 200


async def test_a_name_is_one_line_that_can_be_seen(bob: Client) -> None:
    key = SoftKey()
    assert (await add(bob, key, " \x1b ")).json()["code"] == "invalid_request"
    made = await added(bob, key, "two\nlines\x1b[31m")
    assert made["method"]["name"] == "two lines [31m"


async def test_it_can_be_renamed(control: Any, bob: Client) -> None:
    made = (await added(bob, SoftKey(), "old"))["method"]["id"]
    renamed = await bob.patch(f"{V1}/mfa/passkeys/{made}", json={"name": "new"})
    assert renamed.json()["name"] == "new"
    eve = await control.user("eve@example.com")
    assert (await eve.patch(f"{V1}/mfa/passkeys/{made}", json={"name": "mine"})).status_code == 404
    last = (await control.events())[-1]
    assert last.event != "mfa.method_renamed" or last.details["after"] == "new"


# --- changing and taking away -----------------------------------------------------------------------------------------


async def test_a_stolen_token_changes_nothing(control: Any, bob: Client) -> None:
    """Not with the password either."""
    key = SoftKey()
    made = (await added(bob, key))["method"]["id"]
    for more in ({}, {"code": "000000"}, {"challenge_id": "mfc_none"}):
        for refused in (
            await begin(bob, **more),
            await bob.post(f"{V1}/mfa/totp", json={"password": PASSWORD, **more}),
            await bob.post(f"{V1}/mfa/methods/{made}/remove", json=more),
            await bob.post(f"{V1}/mfa/recovery-codes", json=more),
        ):
            assert refused.status_code == 403, refused.text
    assert [method["id"] for method in (await status(bob))["methods"]] == [made]


async def test_a_proof_is_good_for_the_change_that_it_was_asked_for(control: Any, bob: Client) -> None:
    key = SoftKey()
    made = (await added(bob, key))["method"]["id"]
    for change, method in (("recovery_codes", None), ("add_totp", None), ("remove", "another"), ("remove", None)):
        challenge = await proof(bob, key, change, method)
        refused = await bob.post(f"{V1}/mfa/methods/{made}/remove", json={"challenge_id": challenge})
        assert (refused.status_code, refused.json()["code"]) == (403, "mfa_challenge_over")
    challenge = await proof(bob, key, "recovery_codes")
    assert (await bob.post(f"{V1}/mfa/recovery-codes", json={"challenge_id": challenge})).status_code == 200
    again = await bob.post(f"{V1}/mfa/recovery-codes", json={"challenge_id": challenge})
    assert again.json()["code"] == "mfa_challenge_over"


async def test_taking_the_last_one_away_takes_the_recovery_codes_along(control: Any, bob: Client) -> None:
    key = SoftKey()
    made = await added(bob, key)
    place = f"{V1}/mfa/methods/{made['method']['id']}/remove"
    gone = await bob.post(place, json={"code": made["recovery_codes"][0]})
    assert gone.status_code == 204, gone.text
    seen = await status(bob)
    assert (seen["methods"], seen["recovery_codes_left"], seen["kind"]) == ([], 0, None)
    assert (await sign_in(control, key)).json()["code"] == "invalid_credentials"


async def test_beside_an_app_each_can_go(control: Any, bob: Client) -> None:
    app, key = await set_up(control, bob), SoftKey()
    made = await added(bob, key, code=app.next_code())
    assert [method["kind"] for method in (await status(bob))["methods"]] == ["totp", "passkey"]
    renewed = await set_up(control, bob, challenge_id=await proof(bob, key, "add_totp"))  # another phone
    assert {method["id"] for method in (await status(bob))["methods"]} == {made["method"]["id"], renewed.id}
    challenge = await proof(bob, key, "remove", renewed.id)
    assert (
        await bob.post(f"{V1}/mfa/methods/{renewed.id}/remove", json={"challenge_id": challenge})
    ).status_code == 204
    assert (await status(bob))["recovery_codes_left"] == 10


async def test_nobody_takes_away_what_they_could_not_do_without(control: Any, bob: Client, admin: Client) -> None:
    key, chief = SoftKey(), SoftKey()
    made = (await added(bob, key))["method"]["id"]
    await added(admin, chief)
    for rule in ({"enforced": "passkey", "at_sign_in": False}, {"enforced": None, "at_sign_in": True}):
        assert (await admin.put(f"{V1}/mfa/policy", json=rule)).status_code == 200
        challenge = await proof(bob, key, "remove", made)
        refused = await bob.post(f"{V1}/mfa/methods/{made}/remove", json={"challenge_id": challenge})
        assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert len((await status(bob))["methods"]) == 1


async def test_an_administrator_takes_all_of_them_away(control: Any, bob: Client, admin: Client) -> None:
    app, key = await set_up(control, bob), SoftKey()
    await added(bob, key, code=app.next_code())
    assert (await admin.post(f"{V1}/users/{EMAIL}/mfa/reset")).status_code == 204
    seen = await status(bob)
    assert (seen["methods"], seen["recovery_codes_left"]) == ([], 0)
    assert (await sign_in(control, key)).json()["code"] == "invalid_credentials"


async def test_who_is_removed_takes_their_passkeys_along(control: Any, bob: Client, admin: Client) -> None:
    key = SoftKey()
    await added(bob, key)
    assert (await admin.delete(f"{V1}/users/{EMAIL}")).status_code == 204
    assert await control.count("passkeys") == 0
    assert (await sign_in(control, key)).json()["code"] == "invalid_credentials"


async def test_events_name_what_came_and_went(control: Any, bob: Client) -> None:
    key = SoftKey()
    made = await added(bob, key, "blue")
    challenge = await proof(bob, key, "remove", made["method"]["id"])
    await bob.post(f"{V1}/mfa/methods/{made['method']['id']}/remove", json={"challenge_id": challenge})
    found = [(row.event, row.details) for row in await control.events() if row.event.startswith("mfa.")]
    assert [event for event, _ in found] == [
        "mfa.method_added",
        "mfa.recovery_codes_made",
        "mfa.verified",
        "mfa.method_removed",
    ]
    assert found[0][1]["name"] == found[3][1]["name"] == "blue"
    assert found[2][1]["kind"] == "passkey"
    assert made["recovery_codes"][0] not in json.dumps([details for _, details in found])


# --- signing in with it alone -----------------------------------------------------------------------------------------


async def test_a_passkey_alone_signs_in(control: Any, bob: Client) -> None:
    key = SoftKey()
    await added(bob, key)
    tokens = await sign_in(control, key)
    assert tokens.status_code == 200, tokens.text
    assert tokens.json()["user"]["email"] == EMAIL
    async with control.client(tokens.json()["access_token"]) as client:
        devices = (await client.get(f"{V1}/auth/sign-ins")).json()["items"]
    mine = next(device for device in devices if device["current"])
    assert (mine["method"], mine["second_factor"]) == ("passkey", True)


async def test_the_question_says_nothing_of_anybody(control: Any, bob: Client, nobody: Client) -> None:
    await added(bob, SoftKey())
    options = (await nobody.post(f"{V1}/auth/passkey/options")).json()["options"]
    assert options.get("allowCredentials") is None
    assert options["userVerification"] == "required"
    assert options["rpId"] == "localhost"


async def test_a_passkey_that_has_not_checked_its_user_is_no_sign_in(control: Any, bob: Client, nobody: Client) -> None:
    key = SoftKey(verifies=False)
    await added(bob, key)
    begun = (await nobody.post(f"{V1}/auth/passkey/options")).json()
    answer = key.get(begun["options"] | {"userVerification": "discouraged"}, HERE)
    form = {"challenge_id": begun["challenge_id"], "passkey": answer}
    refused = await nobody.post(f"{V1}/auth/passkey/verify", json=form)
    assert (refused.status_code, refused.json()["code"]) == (401, "invalid_credentials")


async def test_an_answer_is_good_once_and_for_five_minutes(control: Any, bob: Client, nobody: Client) -> None:
    key = SoftKey(counts=False)  # so that nothing but the question speaks against a replay
    await added(bob, key)
    begun = (await nobody.post(f"{V1}/auth/passkey/options")).json()
    form = {"challenge_id": begun["challenge_id"], "passkey": key.get(begun["options"], HERE)}
    assert (await nobody.post(f"{V1}/auth/passkey/verify", json=form)).status_code == 200
    assert (await nobody.post(f"{V1}/auth/passkey/verify", json=form)).json()["code"] == "mfa_challenge_over"
    other = (await nobody.post(f"{V1}/auth/passkey/options")).json()
    replayed = form | {"challenge_id": other["challenge_id"]}
    assert (await nobody.post(f"{V1}/auth/passkey/verify", json=replayed)).json()["code"] == "invalid_credentials"
    late = (await nobody.post(f"{V1}/auth/passkey/options")).json()
    control.clock.at += timedelta(minutes=5)
    form = {"challenge_id": late["challenge_id"], "passkey": key.get(late["options"], HERE)}
    assert (await nobody.post(f"{V1}/auth/passkey/verify", json=form)).json()["code"] == "mfa_challenge_over"


async def test_a_question_for_setting_up_opens_no_sign_in(control: Any, bob: Client, nobody: Client) -> None:
    key = SoftKey()
    await added(bob, key)
    begun = (await begin(bob, challenge_id=await proof(bob, key, "add_passkey"))).json()
    request = (await nobody.post(f"{V1}/auth/passkey/options")).json()["options"]
    answer = key.get(request | {"challenge": begun["options"]["challenge"]}, HERE)
    form = {"challenge_id": begun["id"], "passkey": answer}
    assert (await nobody.post(f"{V1}/auth/passkey/verify", json=form)).json()["code"] == "mfa_challenge_over"


@pytest.mark.parametrize("origin", ["http://127.0.0.1:8400", "https://localhost:8400", "http://localhost"])
async def test_a_page_elsewhere_signs_nobody_in(control: Any, bob: Client, origin: str) -> None:
    key = SoftKey()
    await added(bob, key)
    assert (await sign_in(control, key, origin)).json()["code"] == "invalid_credentials"


async def test_the_passkey_says_whose_it_is_and_must_be_right(control: Any, bob: Client) -> None:
    key = SoftKey()
    await added(bob, key)
    right = key.credentials[0].user["id"]
    for handle in (b"usr_another", b"x"):
        key.credentials[0].user["id"] = handle
        assert (await sign_in(control, key)).json()["code"] == "invalid_credentials"
    key.credentials[0].user["id"] = right
    async with control.client() as nobody:
        begun = (await nobody.post(f"{V1}/auth/passkey/options")).json()
        answer = key.get(begun["options"], HERE)
        del answer["response"]["userHandle"]
        form = {"challenge_id": begun["challenge_id"], "passkey": answer}
        assert (await nobody.post(f"{V1}/auth/passkey/verify", json=form)).json()["code"] == "invalid_credentials"


async def test_who_is_disabled_stays_out(control: Any, bob: Client, admin: Client) -> None:
    key = SoftKey()
    await added(bob, key)
    assert (await admin.post(f"{V1}/users/{EMAIL}/disable")).status_code == 200
    assert (await sign_in(control, key)).json()["code"] == "invalid_credentials"
    failed = [row for row in await control.events() if row.event == "user.login_failed"]
    assert failed[-1].details["method"] == "passkey"


async def test_it_counts_as_both_factors_but_not_around_another_kind_that_is_insisted_on(
    control: Any, bob: Client, admin: Client, postbox: Postbox
) -> None:
    key = SoftKey()
    await added(bob, key)
    for enforced, code in ((None, None), ("passkey", None), ("totp", "mfa_unavailable"), ("email", "mfa_unavailable")):
        rule = {"enforced": enforced, "at_sign_in": True}
        assert (await admin.put(f"{V1}/mfa/policy", json=rule)).status_code == 200
        answer = await sign_in(control, key)
        assert answer.json().get("code") == code


async def test_a_copy_of_a_key_is_noticed(control: Any, bob: Client) -> None:
    key = SoftKey()
    made = await added(bob, key)
    thief = key.clone()
    assert (await sign_in(control, key)).status_code == 200
    assert (await sign_in(control, key)).status_code == 200
    assert (await sign_in(control, thief)).json()["code"] == "invalid_credentials"
    event = next(row for row in await control.events() if row.event == "mfa.clone_suspected")
    assert event.details == {"id": made["method"]["id"], "name": "key", "counter": 3, "shown": 2}
    assert (await status(bob))["methods"][0]["clone_suspected_at"] is not None
    assert (await sign_in(control, key)).status_code == 200  # its own counter was not touched by that


async def test_passkeys_that_do_not_count_are_no_suspects(control: Any, bob: Client) -> None:
    key = SoftKey(counts=False, synced=True)
    assert (await added(bob, key))["method"]["synced"] is True
    for _ in range(3):
        assert (await sign_in(control, key)).status_code == 200
    assert "mfa.clone_suspected" not in [row.event for row in await control.events()]


async def test_attempts_are_rationed_by_address(control: Any, nobody: Client) -> None:
    codes = [(await nobody.post(f"{V1}/auth/passkey/options")).status_code for _ in range(12)]
    assert codes == [200] * 10 + [429] * 2
    form = {
        "challenge_id": "pkq_none",
        "passkey": {
            "id": "AA",
            "rawId": "AA",
            "response": {"clientDataJSON": "", "authenticatorData": "", "signature": ""},
        },
    }
    codes = [(await nobody.post(f"{V1}/auth/passkey/verify", json=form)).status_code for _ in range(12)]
    assert codes == [403] * 10 + [429] * 2


async def test_without_a_host_name_it_says_so(control: Any, bob: Client, nobody: Client) -> None:
    control.services.passkeys.party = None
    for refused in (await begin(bob), await nobody.post(f"{V1}/auth/passkey/options")):
        assert (refused.status_code, refused.json()["code"]) == (403, "mfa_unavailable")
        assert "--public-url" in refused.json()["detail"]
