"""Keeping providers: what is checked before they are believed, who may change them, and passwords beside them."""

from __future__ import annotations

from typing import Any

import httpx2
import pytest

from wardgate.control.identity.actor import Scope
from wardgate.control.identity.permissions import Role
from wardgate.secret import Secret

from .conftest import V1, Idp, add, is_in, sign_in

Client = httpx2.AsyncClient
PROVIDERS = f"{V1}/sso/providers"
PASSWORD = "correct horse battery staple"


async def test_a_provider_is_kept_without_showing_its_secret(
    control: Any, admin: Client, idp: Idp, provider: dict[str, Any]
) -> None:
    assert provider["has_secret"] is True
    assert provider["redirect_uri"] == f"http://localhost:8400/sign-in/sso/{provider['id']}/callback"
    assert (await admin.get(f"{PROVIDERS}/corp")).json() == provider
    assert (await admin.get(PROVIDERS)).json()["items"] == [provider]
    everything = (await admin.get(PROVIDERS)).text + str([event.details for event in await control.events()])
    assert idp.client_secret not in everything
    assert (await admin.post(PROVIDERS, json={**_body(idp), "domains": ["b.example"]})).json()["code"] == "conflict"
    assert (await admin.post(PROVIDERS, json={**_body(idp), "name": "two"})).json()["code"] == "conflict"


def _body(idp: Idp) -> dict[str, Any]:
    return {"name": "corp", "issuer": idp.url, "client_id": "wardgate", "domains": ["corp.example"]}


@pytest.mark.parametrize(
    "changed",
    [
        {"issuer": "http://idp.example"},
        {"issuer": "https://169.254.169.254/latest"},
        {"issuer": "https://10.0.0.1"},
        {"issuer": "https://localhost"},
        {"issuer": "http://127.0.0.1:1/"},
        {"issuer": "file:///etc/passwd"},
        {"issuer": "https://user:pass@idp.example"},
        {"issuer": "https://idp.example?x=y"},
        {"domains": []},
        {"domains": ["*.example"]},
        {"domains": ["example"]},
        {"domains": ["Corp.example"]},
        {"domains": ["corp.example\n"]},
        {"scopes": ["email"]},
        {"scopes": ["openid", "a b"]},
        {"lifetime": "soon"},
        {"lifetime": "100d"},
        {"name": "Corp"},
        {"client_id": "a\nb"},
        {"mappings": [{"value": "x", "group": "nobody-made-it"}]},
        {"surprise": True},
    ],
)
async def test_what_can_be_no_provider_is_refused(
    control: Any, admin: Client, idp: Idp, changed: dict[str, Any]
) -> None:
    answer = await admin.post(PROVIDERS, json=_body(idp) | changed)
    assert answer.status_code in (404, 422), answer.text
    assert await control.count("sso_providers") == 0


async def test_an_issuer_that_is_not_what_it_says_is_refused(control: Any, admin: Client, idp: Idp) -> None:
    for wrong in (
        {"issuer": "https://accounts.example"},
        {"token_endpoint": None},
        {"authorization_endpoint": None},
        {"code_challenge_methods_supported": ["plain"]},
        {"jwks_uri": None},
    ):
        kept = dict(idp.issuer.more)
        idp.issuer.more.update(wrong)
        control.clock.forward(minutes=11)
        answer = await admin.post(PROVIDERS, json=_body(idp))
        assert (answer.status_code, answer.json()["code"]) == (422, "connection_test_failed"), wrong
        idp.issuer.more = kept
    control.clock.forward(minutes=11)
    async with await control.login("admin@example.com") as again:
        assert (await again.post(PROVIDERS, json=_body(idp))).status_code == 201
        tested = (await again.post(f"{PROVIDERS}/corp/test")).json()
        assert (tested["ok"], {check["what"] for check in tested["checks"]}) == (
            True,
            {"discovery", "keys", "authorization", "token", "pkce", "response_issuer"},
        )


async def test_a_secret_is_not_lured_elsewhere(
    control: Any, admin: Client, provider: dict[str, Any], other_idp: Idp
) -> None:
    for elsewhere in ({"issuer": other_idp.url}, {"client_id": "another"}):
        refused = await admin.patch(f"{PROVIDERS}/corp", json=elsewhere)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "client_secret")
    assert (await admin.get(f"{PROVIDERS}/corp")).json() == provider
    moved = await admin.patch(f"{PROVIDERS}/corp", json={"issuer": other_idp.url, "client_secret": "anew"})
    assert moved.json()["issuer"] == other_idp.url
    assert (await admin.patch(f"{PROVIDERS}/corp", json={"domains": None})).status_code == 422
    assert (await admin.patch(f"{PROVIDERS}/corp", json={"lifetime": None})).json()["lifetime"] is None


async def test_only_a_lasting_administrator_says_whom_to_believe(control: Any, admin: Client, idp: Idp) -> None:
    user_id = (await admin.post(f"{V1}/users", json={"email": "brief@example.com", "password": PASSWORD})).json()["id"]
    body = {"user": user_id, "role": "admin", "scope": "organisation", "duration": "1h"}
    assert (await admin.post(f"{V1}/bindings", json=body)).status_code == 201
    async with await control.login("brief@example.com") as brief:
        assert (await brief.get(PROVIDERS)).status_code == 200
        assert (await brief.post(PROVIDERS, json=_body(idp))).json()["code"] == "forbidden"
        await add(admin, idp)
        assert (await brief.patch(f"{PROVIDERS}/corp", json={"domains": ["evil.example"]})).status_code == 403
        assert (await brief.delete(f"{PROVIDERS}/corp")).status_code == 403
        assert (await brief.put(f"{V1}/sso/policy", json={"passwords_off": False})).status_code == 403


async def test_taking_a_provider_or_a_domain_away_takes_its_people_out(
    control: Any, admin: Client, idp: Idp, provider: dict[str, Any]
) -> None:
    async with control.client() as browser:
        await sign_in(browser, provider, idp)
        assert await is_in(browser)
        await admin.patch(f"{PROVIDERS}/corp", json={"domains": ["other.example"]})
        assert (await sign_in(browser, provider, idp)).status_code == 403
        await admin.patch(f"{PROVIDERS}/corp", json={"domains": ["corp.example"], "enabled": False})
        assert not await is_in(browser)
        assert (await browser.get(f"/sign-in/sso/{provider['id']}")).status_code == 404
        assert "corp" not in (await browser.get("/sign-in")).text
        await admin.patch(f"{PROVIDERS}/corp", json={"enabled": True})
        await sign_in(browser, provider, idp)
        assert await is_in(browser)
        assert (await admin.delete(f"{PROVIDERS}/corp")).status_code == 204
        assert not await is_in(browser)
    assert await control.count("sso_identities") == 0
    assert await control.count("sso_domains") == 0


# --- passwords --------------------------------------------------------------------------------------------------------


async def try_password(control: Any, email: str, password: str = PASSWORD) -> str:
    async with control.client() as client:
        answer = await client.post(f"{V1}/auth/login", json={"email": email, "password": password})
        return "in" if answer.status_code == 200 else answer.json()["code"]


async def test_passwords_off_at_a_providers_domain(
    control: Any, admin: Client, idp: Idp, provider: dict[str, Any]
) -> None:
    await control.user("ann@corp.example")
    assert await try_password(control, "ann@corp.example") == "in"
    assert (await admin.put(f"{V1}/sso/policy", json={"passwords_off": True})).json() == {"passwords_off": True}
    for email in ("ann@corp.example", " Ann@Corp.Example ", "nobody@corp.example"):
        assert await try_password(control, email) == "sso_required"
        assert await try_password(control, email, "wrong") == "sso_required"
    assert await try_password(control, "admin@example.com") == "in"
    page = await control.client().post(
        "/sign-in",
        data={"email": "ann@corp.example", "password": PASSWORD},
        headers={"origin": "http://127.0.0.1:8400"},
    )
    assert page.status_code == 403
    assert "one signs in with corp" in page.text
    with pytest.raises(Exception, match="not with a password"):
        await control.services.identity.login("ann@corp.example", Secret(PASSWORD), _cause())
    await admin.patch(f"{PROVIDERS}/corp", json={"enabled": False})
    assert await try_password(control, "ann@corp.example") == "in"


def _cause() -> Any:
    from wardgate.control.audit_log import Cause

    return Cause("test", address="192.0.2.1")


async def test_somebody_can_always_come_in_without_a_provider(
    control: Any, admin: Client, idp: Idp, provider: dict[str, Any]
) -> None:
    everybody = ["corp.example", "example.com"]
    policy = f"{V1}/sso/policy"
    assert (await admin.patch(f"{PROVIDERS}/corp", json={"domains": everybody})).status_code == 200
    refused = await admin.put(policy, json={"passwords_off": True})
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert (await admin.get(policy)).json() == {"passwords_off": False}
    await control.user("break@glass.example", (Role.ADMIN, Scope()))
    assert (await admin.put(policy, json={"passwords_off": True})).status_code == 200
    closing = await admin.patch(f"{PROVIDERS}/corp", json={"domains": [*everybody, "glass.example"]})
    assert (closing.status_code, closing.json()["code"]) == (409, "conflict")
