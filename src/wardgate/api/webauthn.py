"""WebAuthn as it travels: what a page or a security key is asked, and what it answers.

The shapes are those of the specification's own JSON (W3C Web Authentication, section 5.1.8 and 5.1.9), so that a page
passes them on as they come. Law: members that browsers add are let through and dropped, for browsers go on adding; what
counts is in bytes that the authenticator signed, and is judged by the control plane.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from pydantic import BaseModel, ConfigDict, Field

# `PublicKeyCredentialCreationOptionsJSON` and `…RequestOptionsJSON`: made by the control plane, handed to the browser.
Options: TypeAlias = dict[str, Any]

_MOST_ID = 1_366  # base64url of 1,023 bytes, the longest credential id that the specification allows


class _Part(BaseModel):
    """A part of an answer, with the specification's names."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, validate_by_name=True, serialize_by_alias=True)


class AttestationPart(_Part):
    """What a new passkey says of itself."""

    client_data_json: str = Field(alias="clientDataJSON", max_length=8_192)
    attestation_object: str = Field(alias="attestationObject", max_length=65_536)
    transports: list[str] = Field(default_factory=list, max_length=16)


class AssertionPart(_Part):
    """A passkey's signature, and what was signed."""

    client_data_json: str = Field(alias="clientDataJSON", max_length=8_192)
    authenticator_data: str = Field(alias="authenticatorData", max_length=8_192)
    signature: str = Field(max_length=8_192)
    user_handle: str | None = Field(default=None, alias="userHandle", max_length=128)


class PasskeyCredential(_Part):
    """A new passkey: `RegistrationResponseJSON`."""

    id: str = Field(max_length=_MOST_ID)
    raw_id: str = Field(alias="rawId", max_length=_MOST_ID)
    response: AttestationPart
    type: str = Field(default="public-key", max_length=32)
    client_extension_results: dict[str, Any] = Field(default_factory=dict, alias="clientExtensionResults")


class PasskeyAssertion(_Part):
    """A passkey's answer: `AuthenticationResponseJSON`."""

    id: str = Field(max_length=_MOST_ID)
    raw_id: str = Field(alias="rawId", max_length=_MOST_ID)
    response: AssertionPart
    type: str = Field(default="public-key", max_length=32)
