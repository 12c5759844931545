"""A provider on loopback that signs people in as it is told, honestly or not."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlencode, urlsplit

import httpx2
import pytest

from wardgate.testing.issuer import Asked, Issuer, Reply

V1 = "/api/v1"
CLIENT, SECRET = "wardgate", "s3cret & more of it: ü"
Claims = dict[str, Any]


@dataclass
class Idp:
    """A provider: `authorize` is what a person does there, `token` what wardgate does. `sign` makes the ID token."""

    issuer: Issuer
    control: Any
    client_id: str = CLIENT
    client_secret: str = SECRET
    says_iss: bool = True
    in_form: bool = False
    sign: Callable[[Claims], str] = field(init=False)
    userinfo: Claims | None = None
    codes: dict[str, tuple[dict[str, str], Claims]] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.sign = self.issuer.sign
        self.issuer.more = {
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "userinfo_endpoint": f"{self.url}/userinfo",
            "code_challenge_methods_supported": ["S256"],
            "authorization_response_iss_parameter_supported": True,
        }
        self.issuer.route("/token", self._token)
        self.issuer.route("/userinfo", lambda _: Reply.of(self.userinfo) if self.userinfo else Reply(401))

    @property
    def url(self) -> str:
        return self.issuer.url

    def claims(self, **more: Any) -> Claims:
        """Of somebody who is who they say."""
        now = int(self.control.clock().timestamp())
        who = {"sub": "ann-1", "email": "ann@corp.example", "email_verified": True, "auth_time": now}
        return {"iss": self.url, "aud": self.client_id, "iat": now, "exp": now + 300, **who, **more}

    def authorize(self, location: str, claims: Claims, **answer: str) -> str:
        """The redirect after somebody has signed in there: path and query of ours."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(location).query).items()}
        assert location.startswith(f"{self.url}/authorize?")
        assert (asked["response_type"], asked["code_challenge_method"]) == ("code", "S256")
        assert asked["client_id"] == self.client_id
        code = f"code-{len(self.codes)}"
        self.codes[code] = (asked, {"nonce": asked["nonce"], **claims})
        facts = {"code": code, "state": asked["state"], **({"iss": self.url} if self.says_iss else {}), **answer}
        return f"{urlsplit(asked['redirect_uri']).path}?{urlencode({k: v for k, v in facts.items() if v})}"

    def _token(self, asked: Asked) -> Reply:
        form = asked.form
        known = self.codes.pop(form.get("code", ""), None)
        if known is None:
            return self._no("unknown code")
        begun, claims = known
        challenge = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        if challenge.decode() != begun["code_challenge"] or form["redirect_uri"] != begun["redirect_uri"]:
            return self._no("wrong verifier or redirect")
        if self._secret(asked) != self.client_secret:
            return self._no("wrong secret")
        return Reply.of({"access_token": "at", "token_type": "Bearer", "id_token": self.sign(claims)})

    def _secret(self, asked: Asked) -> str | None:
        if self.in_form:
            return asked.form.get("client_secret")
        header = {name.lower(): value for name, value in asked.headers.items()}.get("authorization", "")
        assert "client_secret" not in asked.form
        return unquote_plus(base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")[2])

    def _no(self, why: str) -> Reply:
        self.refusals.append(why)
        return Reply.of({"error": "invalid_grant"}, 400)


@pytest.fixture
def idp(control: Any) -> Iterator[Idp]:
    with Issuer() as issuer:
        yield Idp(issuer, control)


@pytest.fixture
def other_idp(control: Any) -> Iterator[Idp]:
    with Issuer() as issuer:
        yield Idp(issuer, control)


async def add(admin: httpx2.AsyncClient, idp: Idp, **more: Any) -> dict[str, Any]:
    """Make it a provider here."""
    body = {
        "name": "corp",
        "issuer": idp.url,
        "client_id": idp.client_id,
        "client_secret": idp.client_secret,
        "domains": ["corp.example"],
        **more,
    }
    answer = await admin.post(f"{V1}/sso/providers", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


@pytest.fixture
async def provider(admin: httpx2.AsyncClient, idp: Idp) -> dict[str, Any]:
    return await add(admin, idp)


@pytest.fixture
async def browser(control: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """Somebody's browser, which keeps cookies."""
    async with control.client() as client:
        yield client


async def go(browser: httpx2.AsyncClient, provider: dict[str, Any], query: str = "") -> str:
    """Where the sign-in page's link leads."""
    browser.base_url = httpx2.URL(
        "http://localhost:8400"
    )  # under the name of the pages, where the provider leads back to
    answer = await browser.get(f"/sign-in/sso/{provider['id']}{query}")
    assert answer.status_code == 303, answer.text
    return answer.headers["location"]


async def sign_in(browser: httpx2.AsyncClient, provider: dict[str, Any], idp: Idp, **claims: Any) -> httpx2.Response:
    """The whole way there and back."""
    return await browser.get(idp.authorize(await go(browser, provider), idp.claims(**claims)))


async def is_in(browser: httpx2.AsyncClient) -> bool:
    return (await browser.get("/devices")).status_code == 200
