"""Signed workload tokens (as of GitHub, GitLab and Kubernetes) in place of a secret, with an issuer of our own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from wardgate.testing.issuer import Issuer, Reply, encoded, make_key, sign

from ..access.test_sessions import account, active, relay, sweep
from ..machines import Machine

__all__ = ["account", "relay"]  # fixtures

Client = httpx2.AsyncClient
V1 = "/api/v1"
ORIGIN = "http://127.0.0.1:8400"
GITHUB = {
    "sub": "repo:acme/shop:ref:refs/heads/main",
    "repository": "acme/shop",
    "ref": "refs/heads/main",
    "ref_protected": "true",
    "runner_environment": "github-hosted",
}
GITLAB = {
    "sub": "project_path:acme/shop:ref_type:branch:ref:main",
    "project_path": "acme/shop",
    "namespace_id": "72",
    "ref_protected": "true",
    "user_login": "ann",
}
KUBERNETES = {
    "sub": "system:serviceaccount:builds:deployer",
    "kubernetes.io": {"namespace": "builds", "serviceaccount": {"name": "deployer"}},
}


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with Issuer() as running:
        yield running


@pytest.fixture
async def ci(admin: Client, shop: str) -> str:
    await admin.post(f"{V1}/services", json={"name": "ci"})
    await admin.post(f"{V1}/bindings", json={"service": "ci", "role": "connector", "scope": shop})
    return "ci"


async def trust(admin: Client, issuer: Issuer, **conditions: str) -> dict[str, Any]:
    body = {"issuer": issuer.url, "conditions": conditions or {"sub": GITHUB["sub"]}}
    created = await admin.post(f"{V1}/services/ci/trusts", json=body)
    assert created.status_code == 201, created.text
    made: dict[str, Any] = created.json()
    return made


def claims(control: Any, issuer: Issuer, **changes: Any) -> dict[str, Any]:
    at = int(control.clock().timestamp())
    made = {"iss": issuer.url, "aud": ORIGIN, "iat": at, "exp": at + 600, "jti": "1", **GITHUB, **changes}
    return {name: value for name, value in made.items() if value is not None}


async def exchange(control: Any, token: str, service: str = "ci") -> httpx2.Response:
    async with control.client() as client:
        body = {"service": service, "workload_token": token}
        answer: httpx2.Response = await client.post(f"{V1}/auth/service-token", json=body)
        return answer


async def refusal(control: Any, token: str, service: str = "ci") -> str:
    """Why it was refused, which the answer does not say."""
    answer = await exchange(control, token, service)
    assert (answer.status_code, answer.json()["code"]) == (401, "invalid_credentials")
    assert "audit log" in answer.json()["detail"]
    event = (await control.events())[-1]
    assert event.event == "service.refused"
    why: str = event.details["why"]
    return why


@pytest.mark.parametrize(
    ("said", "conditions"),
    [
        (GITHUB, {"repository": "acme/shop", "ref": "refs/heads/main", "runner_environment": "github-hosted"}),
        (GITHUB, {"sub": "repo:acme/shop:*"}),
        (GITLAB, {"project_path": "acme/*", "ref_protected": "true", "namespace_id": "72"}),
        (KUBERNETES, {"sub": "system:serviceaccount:builds:deployer"}),
    ],
)
@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
async def test_a_signed_token_becomes_a_token_that_acts(
    control: Any,
    admin: Client,
    ci: str,
    issuer: Issuer,
    said: dict[str, Any],
    conditions: dict[str, str],
    algorithm: str,
) -> None:
    issuer.add_key(algorithm, "k")
    await trust(admin, issuer, **conditions)
    token = issuer.sign({**claims(control, issuer), **said}, algorithm=algorithm, kid="k")
    answer = await exchange(control, token)
    assert answer.status_code == 200, answer.text
    async with control.client(answer.json()["access_token"]) as client:
        assert (await client.get(f"{V1}/auth/whoami")).json()["email"] == "ci"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"sub": "repo:acme/shop:ref:refs/heads/evil"}, "claim sub"),
        ({"sub": None}, "claim sub"),
        ({"sub": ["x", "y"]}, "claim sub"),
        ({"aud": "https://other.example.com"}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"iss": "https://token.actions.githubusercontent.com"}, "does not trust"),
        ({"iss": None}, "does not trust"),
        ({"exp": 1}, "expired"),
        ({"exp": None}, "never ends"),
        ({"nbf": 4_000_000_000}, "not good yet"),
    ],
)
async def test_claims_that_do_not_fit(
    control: Any, admin: Client, ci: str, issuer: Issuer, changes: dict[str, Any], why: str
) -> None:
    await trust(admin, issuer)
    assert why in await refusal(control, issuer.sign(claims(control, issuer, **changes)))


async def test_none_hmac_and_strangers(control: Any, admin: Client, ci: str, issuer: Issuer) -> None:
    await trust(admin, issuer)
    body = claims(control, issuer)
    good = issuer.sign(body).split(".")
    none = encoded(b'{"alg": "none"}')
    assert "algorithm" in await refusal(control, f"{none}.{good[1]}.")
    hs256 = encoded(b'{"alg": "HS256", "kid": "first"}')
    assert "algorithm" in await refusal(control, f"{hs256}.{good[1]}.{good[2]}")
    assert "signature" in await refusal(control, sign(body, make_key("RS256", "first"), kid="first"))
    assert "no such key" in await refusal(control, sign(body, make_key("RS256", "x"), kid="x"))
    assert "does not trust" in await refusal(control, "rubbish")


async def test_a_token_is_taken_once(control: Any, admin: Client, ci: str, issuer: Issuer) -> None:
    await trust(admin, issuer)
    token = issuer.sign(claims(control, issuer))
    assert (await exchange(control, token)).status_code == 200
    assert "before" in await refusal(control, token)
    # The same `jti` in other words is the same token; another is another.
    assert "before" in await refusal(control, issuer.sign(claims(control, issuer, ref="refs/heads/x")))
    assert (await exchange(control, issuer.sign(claims(control, issuer, jti="2")))).status_code == 200
    nameless = issuer.sign(claims(control, issuer, jti=None))
    assert (await exchange(control, nameless)).status_code == 200
    assert "before" in await refusal(control, nameless)
    control.clock.forward(hours=1)
    await control.services.exchange.sweep()
    assert await control.count("service_spent_tokens") == 0


async def test_a_token_is_for_the_service_that_trusts_it(control: Any, admin: Client, ci: str, issuer: Issuer) -> None:
    await trust(admin, issuer)
    await admin.post(f"{V1}/services", json={"name": "other"})
    token = issuer.sign(claims(control, issuer))
    assert "does not trust" in await refusal(control, token, "other")
    assert "unknown service" in await refusal(control, token, "nobody")
    assert (await exchange(control, token)).status_code == 200


async def test_whoever_names_no_trusted_issuer_makes_us_ask_nobody(
    control: Any, admin: Client, ci: str, issuer: Issuer
) -> None:
    await trust(admin, issuer)
    asked = dict(issuer.asked)
    for _ in range(5):
        await refusal(control, issuer.sign(claims(control, issuer, iss="http://127.0.0.1:1/")))
    assert dict(issuer.asked) == asked


async def test_a_trust_that_is_removed_ends_its_sessions(
    control: Any, admin: Client, shop: str, gateway: Machine, account: dict[str, Any], ci: str, issuer: Issuer
) -> None:
    made = await trust(admin, issuer)
    answer = await exchange(control, issuer.sign(claims(control, issuer)))
    async with control.client(answer.json()["access_token"]) as client:
        session_id = await active(client, shop, gateway)
        assert (await admin.delete(f"{V1}/services/ci/trusts/{made['id']}")).status_code == 204
        await sweep(control)
        told = await gateway.beat(f'{{"sessions": [{{"session_id": "{session_id}", "epoch": 1}}]}}'.encode())
        assert [order["reason"] for order in told["end"]] == ["rights_lost"]
        assert (await client.get(f"{V1}/auth/whoami")).status_code == 401


@pytest.mark.parametrize(
    "body",
    [
        {"issuer": "http://169.254.169.254", "conditions": {"sub": "a"}},
        {"issuer": "https://10.0.0.1", "conditions": {"sub": "a"}},
        {"issuer": "http://issuer.example.com", "conditions": {"sub": "a"}},
        {"issuer": "file:///etc/passwd", "conditions": {"sub": "a"}},
        {"conditions": {}},
        {"conditions": {"sub": "*"}},
        {"conditions": {"aud": "a"}},
        {"conditions": {"sub": ""}},
    ],
)
async def test_a_trust_that_can_not_be_meant(
    control: Any, admin: Client, ci: str, issuer: Issuer, body: dict[str, Any]
) -> None:
    answer = await admin.post(f"{V1}/services/ci/trusts", json={"issuer": issuer.url, **body})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert await control.count("service_trusts") == 0


async def test_an_issuer_that_does_not_answer_is_not_trusted(
    control: Any, admin: Client, ci: str, issuer: Issuer
) -> None:
    issuer.route("/.well-known/openid-configuration", lambda _: Reply(200, b"secret of another system"))
    answer = await admin.post(f"{V1}/services/ci/trusts", json={"issuer": issuer.url, "conditions": {"sub": "a"}})
    assert answer.status_code == 422
    assert "secret of" not in answer.text  # what was read there is told to nobody
