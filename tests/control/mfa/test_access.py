"""Access with a second factor: asked, answered, used up; and every way in which an answer is not good."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx2
import pytest

from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role
from wardgate.net import certs

from ..access.test_sessions import active, ask, lease, report, sweep
from ..machines import Machine
from .conftest import PASSWORD, V1, Postbox, set_up

Client = httpx2.AsyncClient


async def challenged(client: Client, shop: str, key: certs.PrivateKey, /, **changes: Any) -> dict[str, Any]:
    """The challenge that stands before a session."""
    answer = await ask(client, shop, key, **changes)
    assert answer.status_code == 403, answer.text
    problem = answer.json()
    assert problem["code"] == "mfa_required"
    assert problem["context"]["short_code"] in problem["detail"]
    context: dict[str, Any] = problem["context"]
    return context


async def answer(client: Client, challenge: dict[str, Any], code: str) -> httpx2.Response:
    return await client.post(f"{V1}/mfa/challenges/{challenge['challenge_id']}/verify", json={"code": code})


async def test_by_an_authenticator_app(control: Any, ann: Client, shop: str, gateway: Machine) -> None:
    app, key = await set_up(control, ann), certs.make_key()
    challenge = await challenged(ann, shop, key)
    assert challenge["kind"] == "totp"
    early = await ask(ann, shop, key, mfa_challenge=challenge["challenge_id"])
    assert early.json()["code"] == "mfa_required"
    assert (await answer(ann, challenge, app.next_code())).status_code == 204
    granted = await ask(ann, shop, key, mfa_challenge=challenge["challenge_id"])
    assert granted.status_code == 201, granted.text
    session_id = granted.json()["session"]["id"]
    assert (await lease(gateway, session_id))[0].status_code == 200
    again = await ask(ann, shop, key, mfa_challenge=challenge["challenge_id"])
    assert again.json()["code"] == "mfa_required"  # used up


async def test_by_mail(control: Any, ann: Client, shop: str, postbox: Postbox) -> None:
    key = certs.make_key()
    challenge = await challenged(ann, shop, key)
    to, subject, text = postbox.mails[-1]
    assert (challenge["kind"], to) == ("email", "ann@example.com")
    assert challenge["short_code"] in subject
    assert challenge["short_code"] in text
    code = postbox.code()
    assert code.replace(" ", "") not in str([row.details for row in await control.events()])
    wrong = await answer(ann, challenge, "00000000" if code != "0000 0000" else "11111111")
    assert (wrong.status_code, wrong.json()["code"]) == (403, "mfa_code_wrong")
    assert wrong.json()["context"] == {"attempts_left": 4}
    assert (await answer(ann, challenge, code)).status_code == 204
    assert (await ask(ann, shop, key, mfa_challenge=challenge["challenge_id"])).status_code == 201


async def test_by_a_recovery_code_once(control: Any, ann: Client, shop: str) -> None:
    app = await set_up(control, ann)
    first, second = [await challenged(ann, shop, certs.make_key()) for _ in range(2)]
    assert (await answer(ann, first, app.recovery[0].lower())).status_code == 204
    assert (await answer(ann, second, app.recovery[0])).json()["code"] == "mfa_code_wrong"
    assert (await ann.get(f"{V1}/mfa")).json()["recovery_codes_left"] == 9


@pytest.mark.parametrize("change", ["account", "duration", "key", "user", "sign_in"])
async def test_an_answer_is_good_for_what_was_asked_only(
    control: Any, ann: Client, admin: Client, shop: str, change: str
) -> None:
    form = {"name": "rw", "username": "writer", "password": "database secret", "require_mfa": True}
    assert (await admin.post(f"{V1}/projects/{shop}/resources/mongo/accounts", json=form)).status_code == 201
    app, key = await set_up(control, ann), certs.make_key()
    challenge = await challenged(ann, shop, key)
    assert (await answer(ann, challenge, app.next_code())).status_code == 204
    wish: dict[str, Any] = {"mfa_challenge": challenge["challenge_id"]}
    client = ann
    if change == "account":
        wish["account"] = "rw"
    elif change == "duration":
        wish["duration"] = "2h"
    elif change == "key":
        key = certs.make_key()
    elif change == "user":
        client = await control.user("eve@example.com", (Role.CONNECTOR, Scope(shop)))
        await set_up(control, client)
    else:
        client = await control.login("ann@example.com")
    refused = await ask(client, shop, key, **wish)
    assert (refused.status_code, refused.json()["code"]) == (403, "mfa_required")


async def test_a_longer_wish_is_granted_at_the_maximum_and_answered_for_that(
    control: Any, ann: Client, shop: str
) -> None:
    app, key = await set_up(control, ann), certs.make_key()
    challenge = await challenged(ann, shop, key, duration="5h")  # the account allows 2h
    assert (await answer(ann, challenge, app.next_code())).status_code == 204
    granted = await ask(ann, shop, key, duration="5h", mfa_challenge=challenge["challenge_id"])
    assert granted.json()["granted_s"] == 7_200


async def test_a_replayed_code_is_wrong(control: Any, ann: Client, shop: str) -> None:
    app = await set_up(control, ann)
    first, second = [await challenged(ann, shop, certs.make_key()) for _ in range(2)]
    code = app.next_code()
    assert (await answer(ann, first, code)).status_code == 204
    assert (await answer(ann, second, code)).json()["code"] == "mfa_code_wrong"
    assert (await answer(ann, second, app.next_code())).status_code == 204


async def test_a_challenge_ends_by_time_by_wrong_answers_and_by_an_answer(control: Any, ann: Client, shop: str) -> None:
    app = await set_up(control, ann)
    late, wrong, met = [await challenged(ann, shop, certs.make_key()) for _ in range(3)]
    for left in (4, 3, 2, 1, 0):
        assert (await answer(ann, wrong, "123")).json()["context"] == {"attempts_left": left}
    assert (await answer(ann, wrong, app.next_code())).json()["code"] == "mfa_challenge_over"
    assert (await answer(ann, met, app.code())).status_code == 204
    assert (await answer(ann, met, app.next_code())).json()["code"] == "mfa_challenge_over"
    control.clock.at += timedelta(minutes=5)
    assert (await answer(ann, late, app.code())).json()["code"] == "mfa_challenge_over"


async def test_an_answer_is_not_kept_for_later(control: Any, ann: Client, shop: str) -> None:
    app, key = await set_up(control, ann), certs.make_key()
    challenge = await challenged(ann, shop, key)
    assert (await answer(ann, challenge, app.next_code())).status_code == 204
    control.clock.at += timedelta(minutes=5)
    assert (await ask(ann, shop, key, mfa_challenge=challenge["challenge_id"])).json()["code"] == "mfa_required"


async def test_another_ones_challenge_is_nobodys(control: Any, ann: Client, shop: str, postbox: Postbox) -> None:
    eve = await control.user("eve@example.com", (Role.CONNECTOR, Scope(shop)))
    challenge = await challenged(ann, shop, certs.make_key())
    stolen = await answer(eve, challenge, postbox.code())
    assert (stolen.status_code, stolen.json()["code"]) == (404, "not_found")
    other_sign_in = await control.login("ann@example.com")
    assert (await answer(other_sign_in, challenge, postbox.code())).status_code == 404
    assert (await answer(ann, challenge, postbox.code())).status_code == 204


async def test_a_kind_that_was_just_ruled_out_verifies_nothing(
    control: Any, ann: Client, admin: Client, shop: str, postbox: Postbox
) -> None:
    asked, met, key = await challenged(ann, shop, certs.make_key()), None, certs.make_key()
    code = postbox.code()
    met = await challenged(ann, shop, key)
    assert (await answer(ann, met, postbox.code())).status_code == 204
    rule = {"enforced": "totp", "at_sign_in": False}
    assert (await admin.put(f"{V1}/mfa/policy", json=rule)).status_code == 200
    assert (await answer(ann, asked, code)).json()["code"] == "mfa_challenge_over"
    refused = await ask(ann, shop, key, mfa_challenge=met["challenge_id"])
    assert refused.json()["code"] == "mfa_unavailable"  # and no authenticator app is there yet
    app = await set_up(control, ann)
    challenge = await challenged(ann, shop, key)
    assert (await answer(ann, challenge, app.next_code())).status_code == 204


async def test_guesses_are_rationed_over_all_challenges(control: Any, ann: Client, shop: str) -> None:
    await set_up(control, ann)
    seen = []
    for _ in range(5):
        challenge = await challenged(ann, shop, certs.make_key())
        seen += [(await answer(ann, challenge, "123")).status_code for _ in range(4)]
    assert seen[:15] == [403] * 15
    assert set(seen[15:]) == {429}


async def test_challenges_are_rationed_too(control: Any, ann: Client, shop: str, postbox: Postbox) -> None:
    codes = [(await ask(ann, shop)).json()["code"] for _ in range(12)]
    assert codes[:10] == ["mfa_required"] * 10
    assert codes[10:] == ["rate_limited"] * 2
    assert len(postbox.mails) == 10


async def test_without_a_mail_server_it_says_so_and_prints_nothing(
    control: Any, ann: Client, shop: str, capfd: pytest.CaptureFixture[str]
) -> None:
    refused = await ask(ann, shop)
    assert (refused.status_code, refused.json()["code"]) == (403, "mfa_unavailable")
    assert "wardgate mfa" in refused.json()["detail"]
    assert await control.count("mfa_challenges") == 0


async def test_a_mail_server_that_fails_is_named(ann: Client, shop: str, postbox: Postbox) -> None:
    postbox.broken = True
    refused = await ask(ann, shop)
    assert (refused.status_code, refused.json()["code"]) == (403, "mfa_unavailable")


async def test_asking_for_it_anew_ends_sessions_without_it(
    control: Any, ann: Client, admin: Client, shop: str, gateway: Machine
) -> None:
    place = f"{V1}/projects/{shop}/resources/mongo/accounts/ro"
    assert (await admin.patch(place, json={"require_mfa": False})).status_code == 200
    session_id = await active(ann, shop, gateway)
    assert (await admin.patch(place, json={"require_mfa": True})).status_code == 200
    await sweep(control)
    told = await gateway.beat(f'{{"sessions": [{{"session_id": "{session_id}", "epoch": 1}}]}}'.encode())
    assert [order["reason"] for order in told["end"]] == ["rights_lost"]
    assert (await lease(gateway, session_id))[0].json()["code"] == "lease_refused"


async def test_a_session_with_it_lives_on(control: Any, ann: Client, shop: str, gateway: Machine) -> None:
    app, key = await set_up(control, ann), certs.make_key()
    challenge = await challenged(ann, shop, key)
    await answer(ann, challenge, app.next_code())
    granted = await ask(ann, shop, key, mfa_challenge=challenge["challenge_id"])
    session_id = granted.json()["session"]["id"]
    assert (await lease(gateway, session_id))[0].status_code == 200
    assert await report(gateway, session_id, 1, "active") == 204
    await sweep(control)
    told = await gateway.beat(f'{{"sessions": [{{"session_id": "{session_id}", "epoch": 1}}]}}'.encode())
    assert told["end"] == []


async def test_a_question_is_no_refusal_in_the_log(control: Any, ann: Client, shop: str, postbox: Postbox) -> None:
    challenge = await challenged(ann, shop, certs.make_key())
    await answer(ann, challenge, "wrong")
    await answer(ann, challenge, postbox.code())
    events = [row.event for row in await control.events() if row.actor == "ann@example.com"]
    assert [event for event in events if not event.startswith("user.")] == ["mfa.failed", "mfa.verified"]
    assert PASSWORD not in str([row.details for row in await control.events()])
