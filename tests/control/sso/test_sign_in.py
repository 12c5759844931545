"""Signing in by a provider: who comes in, as whom, and who does not."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx2
import pytest
from joserfc.jwk import OctKey

from wardgate.testing.issuer import encoded, sign

from ..mfa.conftest import set_up
from .conftest import V1, Idp, add, go, is_in, sign_in

Client = httpx2.AsyncClient
Provider = dict[str, Any]


async def users(admin: Client) -> set[str]:
    return {user["email"] for user in (await admin.get(f"{V1}/users")).json()["items"]}


async def why(control: Any) -> str:
    """The newest refusal in the log."""
    refused = [event for event in await control.events() if event.event == "sso.refused"]
    text: str = refused[-1].details["why"]
    return text


async def test_somebody_new_becomes_a_user(
    control: Any, admin: Client, browser: Client, provider: Provider, idp: Idp
) -> None:
    back = idp.authorize(await go(browser, provider, "?next=/projects"), idp.claims())
    done = await browser.get(back)
    assert (done.status_code, done.headers["location"]) == (303, "/projects")
    assert await is_in(browser)
    assert await users(admin) == {"admin@example.com", "ann@corp.example"}
    async with control.client(address="198.51.100.1") as other:
        await sign_in(other, provider, idp, email="ann.smith@corp.example")
        assert await is_in(other)
    assert await users(admin) == {"admin@example.com", "ann@corp.example"}, "the subject counts, not the address"
    (device, _) = (await admin.get(f"{V1}/users/ann@corp.example/sign-ins")).json()["items"]
    assert (device["method"], device["kind"]) == ("sso", "browser")


async def test_a_user_who_was_here_before_is_linked_once(
    control: Any, admin: Client, browser: Client, provider: Provider, idp: Idp
) -> None:
    await control.user("ann@corp.example")
    await sign_in(browser, provider, idp)
    assert await is_in(browser)
    async with control.client() as thief:
        await sign_in(thief, provider, idp, sub="another", email="Ann@corp.example")
        assert not await is_in(thief)
    assert "somebody else" in await why(control)


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"email_verified": False}, "not verified"),
        ({"email_verified": None}, "not verified"),
        ({"email_verified": "true"}, "not verified"),
        ({"email_verified": 1}, "not verified"),
        ({"email": "ann@elsewhere.example"}, "no domain"),
        ({"email": "ann@corp.example.evil.example"}, "no domain"),
        ({"email": "ann@sub.corp.example"}, "no domain"),
        ({"email": None}, "no e-mail address"),
        ({"email": "corp.example"}, "no e-mail address"),
        ({"sub": ""}, "who you are"),
        ({"sub": None}, "who you are"),
        ({"sub": "x" * 256}, "who you are"),
        ({"aud": "another"}, "another audience"),
        ({"aud": ["wardgate", "another"]}, "another party"),
        ({"azp": "another"}, "another party"),
        ({"nonce": "another"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"iss": "https://elsewhere.example"}, "another issuer"),
        ({"exp": 1}, "expired"),
        ({"exp": None}, "never ends"),
        ({"iat": 1 << 33}, "not good yet"),
    ],
)
async def test_a_token_that_says_the_wrong_thing_is_refused(
    control: Any, admin: Client, browser: Client, provider: Provider, idp: Idp, claims: dict[str, Any], said: str
) -> None:
    answer = await sign_in(browser, provider, idp, **claims)
    assert answer.status_code == 403
    assert "Single sign-on was refused" in answer.text
    assert said in await why(control)
    assert not await is_in(browser)
    assert await users(admin) == {"admin@example.com"}


def unsigned(claims: dict[str, Any]) -> str:
    return f"{encoded(json.dumps({'alg': 'none'}).encode())}.{encoded(json.dumps(claims).encode())}."


async def test_tokens_that_nobody_signed_or_anybody_could_are_refused(
    control: Any, browser: Client, provider: Provider, idp: Idp
) -> None:
    public = json.dumps(idp.issuer.keys["first"].as_dict(private=False)).encode()
    for forge in (
        unsigned,
        lambda claims: sign(claims, OctKey.import_key(public), algorithm="HS256", kid="first"),
        lambda claims: sign(claims, OctKey.import_key(idp.client_secret.encode()), algorithm="HS256"),
        lambda claims: idp.issuer.sign(claims)[:-8] + "AAAAAAAA",
        lambda _: "no token",
    ):
        idp.sign = forge
        assert (await sign_in(browser, provider, idp)).status_code == 403
        assert "does not hold" in await why(control)
        assert not await is_in(browser)


async def test_a_nonce_is_good_for_one_sign_in(control: Any, browser: Client, provider: Provider, idp: Idp) -> None:
    first = await go(browser, provider)
    replayed = idp.claims()
    await browser.get(idp.authorize(first, replayed))
    kept = idp.issuer.sign({"nonce": "of the first", **replayed})
    async with control.client() as other:
        location = await go(other, provider)
        idp.sign = lambda _: kept
        assert (await other.get(idp.authorize(location, replayed))).status_code == 403
    assert "nonce" in await why(control)


# --- what comes back ------------------------------------------------------------------------------------------------


async def test_an_answer_is_good_once(control: Any, browser: Client, provider: Provider, idp: Idp) -> None:
    back = idp.authorize(await go(browser, provider), idp.claims())
    assert (await browser.get(back)).status_code == 303
    assert (await browser.get(back)).status_code == 403


async def test_an_answer_in_another_browser_is_of_no_use_and_ends_nothing(
    control: Any, browser: Client, provider: Provider, idp: Idp
) -> None:
    back = idp.authorize(await go(browser, provider), idp.claims())
    async with control.client() as thief:
        assert (await thief.get(back)).status_code == 403
        await go(thief, provider)  # a cookie of its own does not help either
        assert (await thief.get(back)).status_code == 403
        assert not await is_in(thief)
    assert (await browser.get(back)).status_code == 303


async def test_ten_minutes_are_enough(control: Any, browser: Client, provider: Provider, idp: Idp) -> None:
    location = await go(browser, provider)
    control.clock.forward(minutes=10)
    assert (await browser.get(idp.authorize(location, idp.claims()))).status_code == 403


@pytest.mark.parametrize("answer", [{"iss": "https://elsewhere.example"}, {"iss": ""}])
async def test_an_answer_that_does_not_say_who_gives_it_is_refused(
    control: Any, browser: Client, provider: Provider, idp: Idp, answer: dict[str, str]
) -> None:
    back = idp.authorize(await go(browser, provider), idp.claims(), **answer)
    assert (await browser.get(back)).status_code == 403
    assert "the answer" in await why(control)
    assert idp.codes, "the code went nowhere"


async def test_one_providers_answer_is_never_brought_to_another(
    control: Any, admin: Client, browser: Client, provider: Provider, idp: Idp, other_idp: Idp
) -> None:
    """The mix-up attack (RFC 9207, RFC 9700 section 4.4): the attacker's provider passes the honest one's code on."""
    evil = await add(admin, other_idp, name="evil", domains=["evil.example"])
    begun_at_evil = await go(browser, evil)
    state = dict(pair.split("=") for pair in urlsplit(begun_at_evil).query.split("&"))["state"]
    honest = await go(browser, provider)
    code = idp.authorize(honest, idp.claims()).partition("code=")[2].partition("&")[0]
    for path in (provider["id"], evil["id"]):
        for issuer in ({"iss": idp.url}, {"iss": other_idp.url}, {}):
            query = urlencode({"code": code, "state": state, **issuer})
            assert (await browser.get(f"/sign-in/sso/{path}/callback?{query}")).status_code == 403
    assert other_idp.issuer.asked["/token"] == 0
    assert not await is_in(browser)


@pytest.mark.parametrize(
    "query",
    ["", "state=x", "code=x&state=", "code=x&code=y&state=z", "error=access_denied&state=x", "state=" + "x" * 200],
)
async def test_nonsense_is_refused(control: Any, browser: Client, provider: Provider, idp: Idp, query: str) -> None:
    await go(browser, provider)
    answer = await browser.get(f"/sign-in/sso/{provider['id']}/callback?{query}")
    assert answer.status_code == 403
    assert idp.issuer.asked["/token"] == 0


async def test_the_providers_own_refusal_and_words_are_not_shown(
    control: Any, browser: Client, provider: Provider, idp: Idp
) -> None:
    answer = {"code": "", "error": "access_denied", "error_description": "<script>call 0900-1234</script>"}
    page = await browser.get(idp.authorize(await go(browser, provider), idp.claims(), **answer))
    assert page.status_code == 403
    assert "0900" not in page.text
    assert idp.issuer.asked["/token"] == 0


async def test_a_provider_that_is_down_says_so(control: Any, browser: Client, provider: Provider, idp: Idp) -> None:
    location = await go(browser, provider)
    back = idp.authorize(location, idp.claims())
    idp.issuer.route("/token", lambda _: (_ for _ in ()).throw(OSError()))
    answer = await browser.get(back)
    assert answer.status_code in (403, 503)
    assert not await is_in(browser)


# --- the second factor ----------------------------------------------------------------------------------------------


async def test_the_second_factor_is_asked_for_after_a_provider_too(
    control: Any, admin: Client, browser: Client, provider: Provider, idp: Idp
) -> None:
    ann = await control.user("ann@corp.example")
    app = await set_up(control, ann)
    rule = {"enforced": None, "at_sign_in": True}
    await set_up(control, admin)
    assert (await admin.put(f"{V1}/mfa/policy", json=rule)).status_code == 200
    asked = await sign_in(browser, provider, idp, amr=["pwd", "mfa"])
    assert asked.status_code == 200
    assert "Second factor" in asked.text
    assert not await is_in(browser)
    challenge = asked.text.partition('name="challenge_id" value="')[2].partition('"')[0]
    form = {"challenge_id": challenge, "code": "000000", "next": ""}
    headers = {"origin": "http://localhost:8400"}
    assert (await browser.post("/sign-in", data=form, headers=headers)).status_code == 403
    assert not await is_in(browser)
    form["code"] = app.next_code()
    assert (await browser.post("/sign-in", data=form, headers=headers)).status_code == 303
    assert await is_in(browser)
    devices = (await admin.get(f"{V1}/users/ann@corp.example/sign-ins")).json()["items"]
    assert ("sso", True) in {(device["method"], device["second_factor"]) for device in devices}


async def test_a_trusted_providers_second_factor_counts(control: Any, admin: Client, browser: Client, idp: Idp) -> None:
    provider = await add(admin, idp, trust_mfa=True)
    await set_up(control, admin)
    assert (await admin.put(f"{V1}/mfa/policy", json={"enforced": None, "at_sign_in": True})).status_code == 200
    await sign_in(browser, provider, idp, amr=["pwd"])
    assert not await is_in(browser), "one factor is one factor"
    await sign_in(browser, provider, idp, amr=["pwd", "mfa"])
    assert await is_in(browser)


# --- anew, and for how long -----------------------------------------------------------------------------------------


async def test_who_is_to_show_anew_who_they_are_has_to(
    control: Any, browser: Client, provider: Provider, idp: Idp
) -> None:
    location = await go(browser, provider, "?again=1")
    assert "prompt=login" in location
    assert "max_age=0" in location
    now = int(control.clock().timestamp())
    for auth_time in (now - 3_600, None, True, "now"):
        back = idp.authorize(await go(browser, provider, "?again=1"), idp.claims(auth_time=auth_time))
        assert (await browser.get(back)).status_code == 403
        assert "anew" in await why(control)
    back = idp.authorize(await go(browser, provider, "?again=1"), idp.claims(auth_time=now))
    assert (await browser.get(back)).status_code == 303


async def test_a_sign_in_ends_with_the_providers_lifetime_and_so_does_what_it_lets_in(
    control: Any, admin: Client, browser: Client, idp: Idp, nobody: Client
) -> None:
    provider = await add(admin, idp, lifetime="2h")
    await sign_in(browser, provider, idp)
    begun = (await nobody.post(f"{V1}/auth/device-requests", json={})).json()
    place = f"/authorize/{begun['user_code']}"
    csrf = (await browser.get("/device")).text.partition('name="csrf" value="')[2].partition('"')[0]
    headers = {"origin": "http://localhost:8400"}
    await browser.post(place, data={"decision": "approve", "csrf": csrf}, headers=headers)
    body = {"device_code": begun["device_code"]}
    tokens = (await nobody.post(f"{V1}/auth/device-requests/token", json=body)).json()
    control.clock.forward(minutes=59)
    assert await is_in(browser)
    control.clock.forward(minutes=59)
    refreshed = await nobody.post(f"{V1}/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
    assert refreshed.json()["expires_at"] == "2030-01-01T02:00:00Z"
    control.clock.forward(minutes=2)
    assert not await is_in(browser)
    late = await nobody.post(f"{V1}/auth/refresh", json={"refresh_token": refreshed.json()["refresh_token"]})
    assert late.status_code == 401


# --- groups -----------------------------------------------------------------------------------------------------------


async def groups_of(admin: Client, *names: str) -> set[str]:
    found = set()
    for name in names:
        details = (await admin.get(f"{V1}/groups/{name}")).json()
        found |= {name for member in details["users"] if member["user"] == "ann@corp.example"}
    return found


async def test_groups_are_what_the_provider_says_at_each_sign_in(
    control: Any, admin: Client, browser: Client, idp: Idp, shop: str
) -> None:
    for name in ("dba", "eyes", "own"):
        assert (await admin.post(f"{V1}/groups", json={"name": name})).status_code == 201
    mappings = [{"value": "db-admins", "group": "dba"}, {"value": "auditors", "group": "eyes"}]
    provider = await add(admin, idp, mappings=mappings, groups_claim="roles")
    await sign_in(browser, provider, idp, roles=["db-admins", "unmapped"], groups=["auditors"])
    assert await groups_of(admin, "dba", "eyes", "own") == {"dba"}
    by_hand = await admin.put(f"{V1}/groups/own/members/ann@corp.example")
    assert by_hand.status_code in (200, 201, 204), by_hand.text
    await sign_in(browser, provider, idp, roles="auditors")
    assert await groups_of(admin, "dba", "eyes", "own") == {"eyes", "own"}
    await sign_in(browser, provider, idp)
    assert await groups_of(admin, "dba", "eyes", "own") == {"own"}


async def test_what_the_token_leaves_out_is_asked_of_userinfo(
    control: Any, admin: Client, browser: Client, provider: Provider, idp: Idp
) -> None:
    idp.userinfo = {"sub": "somebody else", "email": "eve@corp.example", "email_verified": True}
    thin: dict[str, Any] = {"email": "", "email_verified": ""}

    def without(claims: dict[str, Any]) -> str:
        return idp.issuer.sign({name: value for name, value in claims.items() if name not in thin})

    idp.sign = without
    assert (await sign_in(browser, provider, idp)).status_code == 403
    assert "two people" in await why(control)
    idp.userinfo["sub"] = "ann-1"
    assert (await sign_in(browser, provider, idp)).status_code == 303
    assert "eve@corp.example" in await users(admin)


async def test_a_client_that_must_post_its_secret_does(control: Any, admin: Client, browser: Client, idp: Idp) -> None:
    idp.issuer.more["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
    idp.in_form = True
    provider = await add(admin, idp)
    await sign_in(browser, provider, idp)
    assert await is_in(browser)
    assert base64.b64encode(b"x")  # the header stays out: `_secret` of the provider looks


async def test_no_new_users_where_they_are_not_wanted(control: Any, admin: Client, browser: Client, idp: Idp) -> None:
    provider = await add(admin, idp, create_users=False)
    assert (await sign_in(browser, provider, idp)).status_code == 403
    assert await users(admin) == {"admin@example.com"}
    await control.user("ann@corp.example")
    await sign_in(browser, provider, idp)
    assert await is_in(browser)


async def test_a_disabled_user_stays_out(
    control: Any, admin: Client, browser: Client, provider: Provider, idp: Idp
) -> None:
    await sign_in(browser, provider, idp)
    await admin.post(f"{V1}/users/ann@corp.example/disable")
    assert not await is_in(browser)
    assert (await sign_in(browser, provider, idp)).status_code == 403
    assert not await is_in(browser)


async def test_beginning_is_rationed_by_address(control: Any, browser: Client, provider: Provider) -> None:
    browser.base_url = httpx2.URL("http://localhost:8400")
    answers = [(await browser.get(f"/sign-in/sso/{provider['id']}")).status_code for _ in range(21)]
    assert answers == [303] * 20 + [429]


async def test_nothing_secret_is_in_the_database(control: Any, browser: Client, provider: Provider, idp: Idp) -> None:
    location = await go(browser, provider)
    facts = dict(pair.split("=", 1) for pair in urlsplit(location).query.split("&"))
    everything = control.dump()
    for secret in (idp.client_secret, facts["state"], facts["nonce"], browser.cookies["wardgate-sso"]):
        assert secret.encode() not in everything
