"""The bodies of the API, by what they must not show."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from wardgate.api.machine import Credentials, LeaseSecrets
from wardgate.api.mfa import RecoveryCodes, TotpEnrolment
from wardgate.api.models import GatewayCreated, RelayCreated, SessionGrant, Tokens

SECRETS: list[tuple[type[BaseModel], set[str]]] = [
    (Credentials, {"password", "client_certificate"}),
    (GatewayCreated, {"token"}),
    (LeaseSecrets, {"local_password"}),
    (RecoveryCodes, {"codes"}),
    (RelayCreated, {"token"}),
    (SessionGrant, {"local_password"}),
    (Tokens, {"access_token", "refresh_token"}),
    (TotpEnrolment, {"secret", "uri"}),
]


@pytest.mark.parametrize(("model", "names"), SECRETS)
def test_a_secret_that_an_answer_brings_is_not_in_its_repr(model: type[BaseModel], names: set[str]) -> None:
    values: dict[str, Any] = {name: ["hidden"] if name == "codes" else "hidden" for name in names}
    assert model.model_fields.keys() >= names
    assert "hidden" not in repr(model.model_construct(**values))
