"""What a provider says of itself, as far as signing people in needs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...api.sso import SsoCheck
from ..oidc import Issuers


@dataclass(frozen=True, slots=True)
class Provider:
    """`says_issuer` is whether it puts `iss` into its answers (RFC 9207); `posts_secret` whether it takes the client
    secret in the form only."""

    authorization: str | None
    token: str | None
    userinfo: str | None
    s256: bool
    says_issuer: bool
    posts_secret: bool


async def metadata_of(issuers: Issuers, issuer: str) -> Provider:
    """What `issuer` says; WardgateError where it can't be asked."""
    found = await issuers.metadata(issuer)
    methods = _texts(found.document, "code_challenge_methods_supported")
    ways = _texts(found.document, "token_endpoint_auth_methods_supported")
    return Provider(
        authorization=found.url("authorization_endpoint"),
        token=found.url("token_endpoint"),
        userinfo=found.url("userinfo_endpoint"),
        s256=methods is None or "S256" in methods,
        says_issuer=found.document.get("authorization_response_iss_parameter_supported") is True,
        posts_secret=ways is not None and "client_secret_basic" not in ways and "client_secret_post" in ways,
    )


def _texts(document: Mapping[str, Any], name: str) -> list[str] | None:
    value = document.get(name)
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else None


def checks(provider: Provider) -> list[SsoCheck]:
    """What is looked at in a test; what could not be asked at all has raised before."""
    return [
        SsoCheck(what="discovery", ok=True, message="It answers, and calls itself by its name."),
        SsoCheck(what="keys", ok=True, message="It publishes keys of a kind that is accepted."),
        _has("authorization", provider.authorization, "an authorization endpoint"),
        _has("token", provider.token, "a token endpoint"),
        SsoCheck(
            what="pkce",
            ok=provider.s256,
            message="It takes S256 challenges or does not say." if provider.s256 else "It takes no S256 challenges.",
        ),
        SsoCheck(
            what="response_issuer",
            ok=True,
            message="Its answers say who gives them."
            if provider.says_issuer
            else "Its answers don’t say who gives them; the redirect address of its own does.",
        ),
    ]


def _has(what: Any, url: str | None, words: str) -> SsoCheck:
    return SsoCheck(
        what=what, ok=url is not None, message=f"It has {words}." if url else f"It names no {words.partition(' ')[2]}."
    )
