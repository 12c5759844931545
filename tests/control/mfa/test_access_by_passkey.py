"""Access with a passkey, at a sign-in's second step too: what is asked, what is shown, and what is no good answer."""

from __future__ import annotations

import copy
from datetime import timedelta
from typing import Any

import httpx2
import pytest

from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role
from wardgate.net import certs
from wardgate.testing.authenticator import SoftKey

from ..access.test_sessions import ask
from .conftest import PASSWORD, V1, Postbox, set_up
from .test_access import answer, challenged
from .test_passkeys import HERE, added, proof

Client = httpx2.AsyncClient


@pytest.fixture
async def key(ann: Client) -> SoftKey:
    """Ann's security key, which is set up."""
    made = SoftKey(counts=False)  # a counter would refuse what another rule should
    await added(ann, made)
    return made


async def by_passkey(client: Client, challenge: dict[str, Any], passkey: Any) -> httpx2.Response:
    return await client.post(f"{V1}/mfa/challenges/{challenge['challenge_id']}/verify", json={"passkey": passkey})


async def question(client: Client, challenge: dict[str, Any]) -> dict[str, Any]:
    document: dict[str, Any] = (await client.get(f"{V1}/mfa/challenges/{challenge['challenge_id']}")).json()
    return document


async def rule(admin: Client, enforced: str | None, **more: Any) -> None:
    body = {"enforced": enforced, "at_sign_in": False} | more
    assert (await admin.put(f"{V1}/mfa/policy", json=body)).status_code == 200


async def test_asked_answered_in_a_browser_and_used_once(control: Any, ann: Client, shop: str, key: SoftKey) -> None:
    csr, wish = certs.make_key(), {"reason": "ticket 42", "client": {"hostname": "anns-laptop"}}
    challenge = await challenged(ann, shop, csr, **wish)
    assert challenge["kind"] == "passkey"
    assert challenge["approve_url"] == f"{HERE}/approve/{challenge['challenge_id']}"
    browser = await control.login("ann@example.com")  # another sign-in of the same user
    seen = await question(browser, challenge)
    assert seen["state"] == "open"
    assert seen["challenge"]["short_code"] == challenge["short_code"]
    assert seen["access"] == {
        "project_id": shop,
        "resource": "mongo",
        "account": "ro",
        "duration_s": 3_600,
        "reason": "ticket 42",
        "hostname": "anns-laptop",
        "address": "192.0.2.1",
    }
    met = await by_passkey(browser, challenge, key.get(seen["challenge"]["passkey"], HERE))
    assert met.status_code == 204, met.text
    assert (await question(ann, challenge))["state"] == "met"
    stolen = await ask(browser, shop, csr, mfa_challenge=challenge["challenge_id"], **wish)
    assert stolen.json()["code"] == "mfa_required"  # good for the sign-in that asked
    granted = await ask(ann, shop, csr, mfa_challenge=challenge["challenge_id"], **wish)
    assert granted.status_code == 201, granted.text
    assert (await question(ann, challenge))["state"] == "over"
    again = await ask(ann, shop, csr, mfa_challenge=challenge["challenge_id"], **wish)
    assert again.json()["code"] == "mfa_required"


@pytest.mark.parametrize("change", [{"reason": "another"}, {"duration": "2h"}, {"key": True}])
async def test_what_was_approved_is_what_is_granted(ann: Client, shop: str, key: SoftKey, change: Any) -> None:
    csr, wish = certs.make_key(), {"reason": "ticket 42"}
    challenge = await challenged(ann, shop, csr, **wish)
    assert (await by_passkey(ann, challenge, key.get(challenge["passkey"], HERE))).status_code == 204
    if "key" in change:
        csr, change = certs.make_key(), {}
    refused = await ask(ann, shop, csr, mfa_challenge=challenge["challenge_id"], **(wish | change))
    assert refused.json()["code"] == "mfa_required"


async def test_an_answer_to_another_question_is_wrong(ann: Client, shop: str, key: SoftKey) -> None:
    """Also one that was right there: what is signed names the question, and what its answer is good for."""
    first, second = [await challenged(ann, shop, certs.make_key()) for _ in range(2)]
    signed = key.get(first["passkey"], HERE)
    assert (await by_passkey(ann, first, signed)).status_code == 204
    replayed = await by_passkey(ann, second, signed)
    assert (replayed.status_code, replayed.json()["code"]) == (403, "mfa_code_wrong")
    assert replayed.json()["context"] == {"attempts_left": 4}
    assert (await by_passkey(ann, first, signed)).json()["code"] == "mfa_challenge_over"


async def test_another_users_challenge_is_nobodys(control: Any, ann: Client, shop: str, key: SoftKey) -> None:
    eve = await control.user("eve@example.com", (Role.CONNECTOR, Scope(shop)))
    await added(eve, theirs := SoftKey())
    challenge = await challenged(ann, shop, certs.make_key())
    signed = key.get(challenge["passkey"], HERE)
    for stolen in (
        await by_passkey(eve, challenge, signed),
        await eve.get(f"{V1}/mfa/challenges/{challenge['challenge_id']}"),
        await eve.post(f"{V1}/mfa/challenges/{challenge['challenge_id']}/refuse"),
    ):
        assert (stolen.status_code, stolen.json()["code"]) == (404, "not_found")
    forged = theirs.get(challenge["passkey"] | {"allowCredentials": None}, HERE)
    assert (await by_passkey(ann, challenge, forged)).json()["code"] == "mfa_code_wrong"
    assert (await by_passkey(ann, challenge, signed)).status_code == 204


async def test_a_tampered_answer_is_wrong(ann: Client, shop: str, key: SoftKey) -> None:
    challenge = await challenged(ann, shop, certs.make_key())
    signed = key.get(challenge["passkey"], HERE)
    for part in ("clientDataJSON", "authenticatorData", "signature"):
        changed = copy.deepcopy(signed)
        text = changed["response"][part]
        changed["response"][part] = ("A" if text[8] != "A" else "B").join((text[:8], text[9:]))
        assert (await by_passkey(ann, challenge, changed)).json()["code"] == "mfa_code_wrong", part
    assert (await by_passkey(ann, challenge, signed)).status_code == 204


async def test_it_expires(control: Any, ann: Client, shop: str, key: SoftKey) -> None:
    csr = certs.make_key()
    late, met = await challenged(ann, shop, certs.make_key()), await challenged(ann, shop, csr)
    assert (await by_passkey(ann, met, key.get(met["passkey"], HERE))).status_code == 204
    control.clock.at += timedelta(minutes=5)
    refused = await by_passkey(ann, late, key.get(late["passkey"], HERE))
    assert refused.json()["code"] == "mfa_challenge_over"
    assert (await question(ann, late))["state"] == "over"
    assert (await ask(ann, shop, csr, mfa_challenge=met["challenge_id"])).json()["code"] == "mfa_required"


async def test_who_did_not_ask_says_so(control: Any, ann: Client, shop: str, key: SoftKey) -> None:
    csr = certs.make_key()
    challenge = await challenged(ann, shop, csr)
    browser = await control.login("ann@example.com")
    place = f"{V1}/mfa/challenges/{challenge['challenge_id']}/refuse"
    assert (await browser.post(place)).status_code == 204
    assert (await question(ann, challenge))["state"] == "refused"
    assert (await by_passkey(ann, challenge, key.get(challenge["passkey"], HERE))).status_code == 403
    assert (await browser.post(place)).json()["code"] == "mfa_challenge_over"
    event = (await control.events())[-1]
    assert (event.event, event.details["what"]) == ("mfa.challenge_refused", "Access to ro on mongo")


async def test_what_was_met_can_still_be_refused_until_it_is_used(ann: Client, shop: str, key: SoftKey) -> None:
    csr = certs.make_key()
    challenge = await challenged(ann, shop, csr)
    assert (await by_passkey(ann, challenge, key.get(challenge["passkey"], HERE))).status_code == 204
    assert (await ann.post(f"{V1}/mfa/challenges/{challenge['challenge_id']}/refuse")).status_code == 204
    assert (await ask(ann, shop, csr, mfa_challenge=challenge["challenge_id"])).json()["code"] == "mfa_required"


# --- which kind -------------------------------------------------------------------------------------------------------


async def test_ones_own_kinds_stand_in_for_each_other(control: Any, ann: Client, shop: str, key: SoftKey) -> None:
    app = await set_up(control, ann, challenge_id=await proof(ann, key, "add_totp"))
    csr = certs.make_key()
    challenge = await challenged(ann, shop, csr)
    assert (challenge["kind"], challenge["alternatives"]) == ("passkey", ["totp"])
    assert (await answer(ann, challenge, app.next_code())).status_code == 204
    assert (await ask(ann, shop, csr, mfa_challenge=challenge["challenge_id"])).status_code == 201


async def test_a_recovery_code_stands_in_for_a_lost_key_in_the_sign_in_that_asked(
    control: Any, ann: Client, shop: str
) -> None:
    recovery = (await added(ann, SoftKey()))["recovery_codes"]
    csr = certs.make_key()
    challenge = await challenged(ann, shop, csr)
    other = await control.login("ann@example.com")
    assert (await answer(other, challenge, recovery[0])).status_code == 404
    assert (await answer(ann, challenge, recovery[0])).status_code == 204
    assert (await ask(ann, shop, csr, mfa_challenge=challenge["challenge_id"])).status_code == 201


@pytest.mark.parametrize("enforced", ["totp", "email", "passkey"])
async def test_the_organisations_kind_and_no_other(
    control: Any, ann: Client, admin: Client, shop: str, key: SoftKey, postbox: Postbox, enforced: str
) -> None:
    app = await set_up(control, ann, challenge_id=await proof(ann, key, "add_totp"))
    await rule(admin, enforced)
    for given in ("totp", "email", "passkey"):
        csr = certs.make_key()
        challenge = await challenged(ann, shop, csr)
        assert (challenge["kind"], challenge["alternatives"]) == (enforced, [])
        if given == "passkey":
            asked = challenge["passkey"] or {"challenge": "AAAA", "rpId": "localhost"}
            met = await by_passkey(ann, challenge, key.get(asked, HERE))
        else:
            met = await answer(ann, challenge, app.next_code() if given == "totp" else _mailed(postbox))
        assert met.status_code == (204 if given == enforced else 403), (enforced, given, met.text)


def _mailed(postbox: Postbox) -> str:
    return postbox.code() if postbox.mails else "1234 5678"


@pytest.mark.parametrize("enforced", ["totp", "email"])
async def test_passkeys_that_were_just_ruled_out_verify_nothing(
    control: Any, ann: Client, admin: Client, shop: str, key: SoftKey, postbox: Postbox, enforced: str
) -> None:
    csr = certs.make_key()
    asked, met = await challenged(ann, shop, certs.make_key()), await challenged(ann, shop, csr)
    assert (await by_passkey(ann, met, key.get(met["passkey"], HERE))).status_code == 204
    await rule(admin, enforced)
    assert (await by_passkey(ann, asked, key.get(asked["passkey"], HERE))).json()["code"] == "mfa_challenge_over"
    refused = await ask(ann, shop, csr, mfa_challenge=met["challenge_id"])
    assert refused.json()["code"] == ("mfa_required" if enforced == "email" else "mfa_unavailable")


async def test_an_app_that_was_just_ruled_out_does_not_stand_in(
    control: Any, ann: Client, admin: Client, shop: str, key: SoftKey
) -> None:
    """A challenge that was asked before, and one that was met with it before."""
    app = await set_up(control, ann, challenge_id=await proof(ann, key, "add_totp"))
    csr = certs.make_key()
    asked, met = await challenged(ann, shop, certs.make_key()), await challenged(ann, shop, csr)
    assert (await answer(ann, met, app.next_code())).status_code == 204
    await rule(admin, "passkey")
    assert (await answer(ann, asked, app.next_code())).json()["code"] == "mfa_code_wrong"
    assert (await ask(ann, shop, csr, mfa_challenge=met["challenge_id"])).json()["code"] == "mfa_required"
    assert (await by_passkey(ann, asked, key.get(asked["passkey"], HERE))).status_code == 204


async def test_a_key_that_was_taken_away_answers_nothing(
    control: Any, ann: Client, admin: Client, shop: str, key: SoftKey
) -> None:
    csr = certs.make_key()
    asked, met = await challenged(ann, shop, certs.make_key()), await challenged(ann, shop, csr)
    assert (await by_passkey(ann, met, key.get(met["passkey"], HERE))).status_code == 204
    assert (await admin.post(f"{V1}/users/ann@example.com/mfa/reset")).status_code == 204
    assert (await by_passkey(ann, asked, key.get(asked["passkey"], HERE))).json()["code"] == "mfa_challenge_over"
    assert (await ask(ann, shop, csr, mfa_challenge=met["challenge_id"])).json()["code"] == "mfa_unavailable"


async def test_user_verification_can_be_insisted_on(ann: Client, admin: Client, shop: str) -> None:
    await added(ann, plain := SoftKey(verifies=False))
    challenge = await challenged(ann, shop, certs.make_key())
    assert challenge["passkey"]["userVerification"] == "preferred"
    assert (await by_passkey(ann, challenge, plain.get(challenge["passkey"], HERE))).status_code == 204
    await rule(admin, None, user_verification=True)
    challenge = await challenged(ann, shop, certs.make_key())
    assert challenge["passkey"]["userVerification"] == "required"
    signed = plain.get(challenge["passkey"] | {"userVerification": "discouraged"}, HERE)
    assert (await by_passkey(ann, challenge, signed)).json()["code"] == "mfa_code_wrong"


async def test_a_copy_of_a_key_opens_nothing_once_the_key_was_used(control: Any, ann: Client, shop: str) -> None:
    await added(ann, original := SoftKey())
    thief = original.clone()
    challenge = await challenged(ann, shop, certs.make_key())
    assert (await by_passkey(ann, challenge, original.get(challenge["passkey"], HERE))).status_code == 204
    challenge = await challenged(ann, shop, certs.make_key())
    assert (await by_passkey(ann, challenge, thief.get(challenge["passkey"], HERE))).status_code == 403
    assert [row.event for row in await control.events()][-2:] == ["mfa.clone_suspected", "mfa.failed"]


# --- after a password -------------------------------------------------------------------------------------------------


async def log_in(client: Client, **more: Any) -> httpx2.Response:
    return await client.post(f"{V1}/auth/login", json={"email": "ann@example.com", "password": PASSWORD, **more})


async def test_a_sign_in_asks_for_it_after_the_password(
    control: Any, ann: Client, admin: Client, nobody: Client, key: SoftKey
) -> None:
    await added(admin, SoftKey())
    await rule(admin, None, at_sign_in=True)
    wrong = await nobody.post(f"{V1}/auth/login", json={"email": "ann@example.com", "password": "wrong"})
    assert wrong.json()["code"] == "invalid_credentials"
    challenge = (await log_in(nobody)).json()["context"]
    assert (challenge["kind"], challenge["approve_url"]) == ("passkey", None)
    given = {"challenge_id": challenge["challenge_id"], "passkey": key.get(challenge["passkey"], HERE)}
    assert (await log_in(nobody, **given, password="wrong")).json()["code"] == "invalid_credentials"
    tokens = await log_in(nobody, **given)
    assert tokens.status_code == 200, tokens.text
    assert (await log_in(nobody, **given)).json()["code"] == "mfa_challenge_over"


async def test_a_challenge_of_a_sign_in_is_not_answered_from_elsewhere(
    ann: Client, admin: Client, nobody: Client, key: SoftKey
) -> None:
    await added(admin, SoftKey())
    await rule(admin, None, at_sign_in=True)
    challenge = (await log_in(nobody)).json()["context"]
    signed = key.get(challenge["passkey"], HERE)
    assert (await by_passkey(ann, challenge, signed)).status_code == 404
    assert (await ann.get(f"{V1}/mfa/challenges/{challenge['challenge_id']}")).status_code == 404


async def test_who_has_not_set_the_enforced_kind_up_comes_in_by_what_they_have(
    control: Any, ann: Client, admin: Client, nobody: Client, postbox: Postbox
) -> None:
    app = await set_up(control, ann)
    await rule(admin, "passkey", at_sign_in=True)
    challenge = (await log_in(nobody)).json()["context"]
    assert (challenge["kind"], postbox.mails) == ("totp", [])  # not by mail, which is less
    given = {"challenge_id": challenge["challenge_id"], "code": app.next_code()}
    assert (await log_in(nobody, **given)).status_code == 200
