"""Bodies of the API that are about single sign-on: providers of OpenID Connect, and whom they may vouch for."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, Field, SecretStr, StringConstraints

from .models import Name, Request

Domain = Annotated[
    str,
    StringConstraints(
        pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+$", max_length=253
    ),
]
ClaimName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_:/.#-]{1,200}$")]
Scope = Annotated[str, StringConstraints(pattern=r"^[\x21\x23-\x5b\x5d-\x7e]{1,100}$")]  # RFC 6749's scope-token
ClientId = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{1,256}$")]


class GroupMapping(BaseModel):
    """Whoever has `value` in the groups claim is in `group` here, as of their next sign-in."""

    value: str = Field(min_length=1, max_length=256)
    group: str = Field(min_length=1, max_length=63, description="Name or id of a group of wardgate.")


class SsoProviderCreate(Request):
    """A provider of OpenID Connect."""

    name: Name
    issuer: str = Field(max_length=2_048, description="As the provider's discovery document writes it.")
    client_id: ClientId
    client_secret: SecretStr | None = Field(default=None, min_length=1, max_length=1_024)
    domains: list[Domain] = Field(min_length=1, max_length=100, description="Whose e-mail addresses it vouches for.")
    label: str = Field(default="", max_length=64, description="On the sign-in page; empty: the name.")
    scopes: list[Scope] = Field(default=["openid", "email", "profile"], max_length=20)
    groups_claim: ClaimName = "groups"
    mappings: list[GroupMapping] = Field(default=[], max_length=500)
    create_users: bool = Field(default=True, description="Whoever signs in for the first time becomes a user.")
    trust_mfa: bool = Field(default=False, description="A second factor shown there (`amr`) counts here.")
    lifetime: str | None = Field(
        default="12h", max_length=32, description="The longest sign-in, as `12h`; null: as long as it is used."
    )
    enabled: bool = True


class SsoProviderUpdate(Request):
    """The fields to change. Another issuer or client id needs the client secret again."""

    issuer: str | None = Field(default=None, max_length=2_048)
    client_id: ClientId | None = None
    client_secret: SecretStr | None = Field(default=None, min_length=1, max_length=1_024)
    domains: list[Domain] | None = Field(default=None, min_length=1, max_length=100)
    label: str | None = Field(default=None, max_length=64)
    scopes: list[Scope] | None = Field(default=None, max_length=20)
    groups_claim: ClaimName | None = None
    mappings: list[GroupMapping] | None = Field(default=None, max_length=500)
    create_users: bool | None = None
    trust_mfa: bool | None = None
    lifetime: str | None = Field(default=None, max_length=32)
    enabled: bool | None = None


class SsoProvider(BaseModel):
    """A provider as it is now; never its client secret."""

    id: str
    name: str
    label: str
    issuer: str
    client_id: str
    has_secret: bool
    redirect_uri: str = Field(description="To be registered at the provider.")
    domains: list[str]
    scopes: list[str]
    groups_claim: str
    mappings: list[GroupMapping]
    create_users: bool
    trust_mfa: bool
    lifetime: str | None
    enabled: bool
    created_at: datetime


class SsoCheck(BaseModel):
    """One thing that was looked at."""

    what: Literal["discovery", "keys", "authorization", "token", "pkce", "response_issuer"]
    ok: bool
    message: str


class SsoTest(BaseModel):
    """Whether a provider can be signed in with, as far as that shows without a person."""

    ok: bool
    checks: list[SsoCheck]


class SsoPolicy(BaseModel):
    """The organisation's rule on passwords."""

    passwords_off: bool = Field(default=False, description="No password opens a sign-in at a provider's domain.")


class SsoPolicyUpdate(Request):
    """The rule to be."""

    passwords_off: bool
