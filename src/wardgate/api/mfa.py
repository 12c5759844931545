"""Bodies of the API that are about multi-factor authentication."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field, SecretStr

from .models import Request


class MfaKind(StrEnum):
    """The kinds of second factor."""

    EMAIL = "email"
    TOTP = "totp"


class MfaMethod(BaseModel):
    """A second factor that was set up."""

    id: str
    kind: MfaKind
    created_at: datetime
    last_used_at: datetime | None = None


class MfaStatus(BaseModel):
    """How one's own second factor stands."""

    kind: MfaKind | None = Field(description="What the next challenge asks for; null: nothing is available.")
    methods: list[MfaMethod]
    recovery_codes_left: int
    enforced: MfaKind | None = Field(description="The kind that the organisation insists on.")
    at_sign_in: bool = Field(description="Whether the organisation asks for it at every sign-in.")


class TotpRequest(Request):
    """Set an authenticator app up: the password, and a code of the present factor where there is one."""

    password: SecretStr = Field(min_length=1, max_length=1024)
    code: SecretStr | None = Field(default=None, max_length=64)


class TotpEnrolment(BaseModel):
    """What the authenticator app needs; shown this once, and good for ten minutes."""

    id: str
    secret: str = Field(repr=False, description="Base32, for typing in.")
    uri: str = Field(repr=False, description="`otpauth://…`, for a QR code.")


class CodeRequest(Request):
    """A code of one's second factor, or a recovery code."""

    code: SecretStr = Field(min_length=1, max_length=64)


class RecoveryCodes(BaseModel):
    """Each stands in for the device once; shown this once, and the older ones are void."""

    codes: list[str] = Field(repr=False)


class MfaPolicy(BaseModel):
    """The organisation's rule."""

    enforced: MfaKind | None = None
    at_sign_in: bool = False


class MfaPolicyUpdate(Request):
    """The rule to be; both fields are set."""

    enforced: MfaKind | None
    at_sign_in: bool


class MfaChallenge(BaseModel):
    """In the `context` of the problem `mfa_required`: what is asked, of whom, and until when."""

    challenge_id: str
    kind: MfaKind
    expires_at: datetime
    short_code: str = Field(description="Shown where the challenge is met and where it was asked for, to compare.")
