"""Bodies of the API that are about services: programs that act for themselves."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, SecretStr, model_validator

from .models import Name, Request, RoleBinding

ScopeName = Literal["administer", "audit", "connect"]
Networks = Annotated[
    list[Annotated[str, Field(max_length=64)]],
    Field(max_length=50, description="CIDR, as `203.0.113.0/24`; none: from anywhere."),
]
Scopes = Annotated[
    list[ScopeName], Field(min_length=1, max_length=3, description="What tokens may be used for, whatever the roles.")
]


class ServiceCreate(Request):
    """A new service, without credentials and roles."""

    name: Name
    description: str = Field(default="", max_length=500)
    scopes: Scopes = Field(default=["connect"])
    networks: Networks = Field(default=[])
    duration: str | None = Field(default=None, max_length=32, description="As `90d`; null: until it is removed.")


class ServiceUpdate(Request):
    """The fields that are to change."""

    name: Name = Field(default="")
    description: str = Field(default="", max_length=500)
    scopes: Scopes = Field(default=["connect"])
    networks: Networks = Field(default=[])
    duration: str | None = Field(default=None, max_length=32, description="From now on; null: until it is removed.")


class ServiceSecret(BaseModel):
    """A client secret; what it is was shown once."""

    id: str
    created_at: datetime
    created_by: str | None = None
    expires_at: datetime | None = None
    used_at: datetime | None = Field(default=None, description="When it was last exchanged for a token.")


class Trust(BaseModel):
    """Whose signed tokens are taken as this service's."""

    id: str
    issuer: str
    audience: str
    conditions: dict[str, str] = Field(description="Claims and what they must be; `*` stands for any characters.")
    created_at: datetime
    created_by: str | None = None
    used_at: datetime | None = None


class Service(BaseModel):
    """A program that acts for itself."""

    id: str
    name: str
    description: str
    status: Literal["active", "disabled", "expired"]
    scopes: list[ScopeName]
    networks: list[str]
    created_at: datetime
    created_by: str | None = None
    expires_at: datetime | None = None
    disabled_at: datetime | None = None
    roles: list[RoleBinding] = Field(default_factory=list)


class ServiceDetails(Service):
    """A service with its credentials."""

    secrets: list[ServiceSecret]
    trusts: list[Trust]


class SecretCreate(Request):
    """A further client secret. For a rotation, the others end after `retire_others`."""

    duration: str | None = Field(default=None, max_length=32, description="As `90d`; null: until it is revoked.")
    retire_others: str | None = Field(default=None, max_length=32, description="As `24h`; null: they stay as they are.")


class SecretCreated(ServiceSecret):
    """The only answer that holds the secret."""

    secret: str = Field(repr=False)


class TrustCreate(Request):
    """Take the tokens of an issuer of OpenID Connect tokens as this service's, where they say what is asked for."""

    issuer: str = Field(max_length=512, description="As it is in `iss`: `https://token.actions.githubusercontent.com`.")
    audience: str | None = Field(default=None, min_length=1, max_length=512, description="Null: this control plane.")
    conditions: dict[Annotated[str, Field(min_length=1, max_length=64)], Annotated[str, Field(max_length=256)]] = Field(
        min_length=1, max_length=10, description="Claims and what they must be; `*` stands for any characters."
    )


class ServiceTokenRequest(Request):
    """A client secret, or a signed token and whose service it is for; fewer scopes if that will do."""

    secret: SecretStr | None = Field(default=None, min_length=1, max_length=256)
    workload_token: SecretStr | None = Field(default=None, min_length=1, max_length=16_384)
    service: str | None = Field(default=None, min_length=1, max_length=64, description="Id or name.")
    scopes: Scopes | None = None

    @model_validator(mode="after")
    def _one_credential(self) -> Self:
        if (self.secret is None) == (self.workload_token is None):
            raise ValueError("Give a secret or a workload token.")
        if self.workload_token is not None and self.service is None:
            raise ValueError("A workload token needs the name of the service.")
        return self


class ServiceToken(BaseModel):
    """What a service acts with."""

    access_token: str = Field(repr=False)
    expires_at: datetime
    scopes: list[ScopeName]
    service_id: str
    service: str
