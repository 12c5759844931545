"""Bodies of the API that are about multi-factor authentication."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Self

from pydantic import BaseModel, Field, SecretStr, model_validator

from .models import Request
from .webauthn import Options, PasskeyAssertion, PasskeyCredential


class MfaKind(StrEnum):
    """The kinds of second factor."""

    EMAIL = "email"
    PASSKEY = "passkey"
    TOTP = "totp"


class MfaMethod(BaseModel):
    """A second factor that was set up."""

    id: str
    kind: MfaKind
    name: str | None = Field(default=None, description="Of a passkey; there may be several.")
    created_at: datetime
    last_used_at: datetime | None = None
    synced: bool | None = Field(default=None, description="Whether a passkey's maker keeps copies of it elsewhere.")
    clone_suspected_at: datetime | None = Field(
        default=None, description="When a passkey's counter last went backwards: there may be a copy of it."
    )


class MfaStatus(BaseModel):
    """How one's own second factor stands."""

    kind: MfaKind | None = Field(description="What the next challenge asks for; null: nothing is available.")
    methods: list[MfaMethod]
    recovery_codes_left: int
    enforced: MfaKind | None = Field(description="The kind that the organisation insists on.")
    at_sign_in: bool = Field(description="Whether the organisation asks for it at every sign-in.")
    has_password: bool = Field(default=True, description="Whether setting a factor up asks for a password.")
    passkeys_at: str | None = Field(
        default=None, description="The origin at which passkeys can be set up and used; null: nowhere."
    )


class Proof(Request):
    """What a change of one's factors needs: the present factor, where there is one. Either a code of the authenticator
    app or a recovery code, or a challenge that was asked for this very change and was met."""

    code: SecretStr | None = Field(default=None, min_length=1, max_length=64)
    challenge_id: str | None = Field(default=None, max_length=64)

    @model_validator(mode="after")
    def _one_of_them(self) -> Self:
        if self.code is not None and self.challenge_id is not None:
            raise ValueError("give a code or a challenge, not both")
        return self


class SetUpRequest(Proof):
    """Set a second factor up: the password, by those who have one, and the proof of the present factor."""

    password: SecretStr | None = Field(default=None, min_length=1, max_length=1024)


class FactorChange(StrEnum):
    """What a change of one's factors can be."""

    ADD_PASSKEY = "add_passkey"
    ADD_TOTP = "add_totp"
    RECOVERY_CODES = "recovery_codes"
    REMOVE = "remove"


class ChangeRequest(Request):
    """Be asked for the present factor, for one change. `method` is what is to be removed."""

    change: FactorChange
    method: str | None = Field(default=None, max_length=64)


class PasskeyCreation(BaseModel):
    """What the browser or the security key is asked to make; good for five minutes, once."""

    id: str
    options: Options


class PasskeyAddition(Request):
    """The passkey that was made, and what to call it."""

    id: str = Field(max_length=64)
    name: str = Field(min_length=1, max_length=64)
    credential: PasskeyCredential


class PasskeyRename(Request):
    """Another name for a passkey."""

    name: str = Field(min_length=1, max_length=64)


class PasskeyAdded(BaseModel):
    """A passkey that counts from now on."""

    method: MfaMethod
    recovery_codes: list[str] = Field(
        repr=False, description="With the first factor only, shown this once: each stands in for a lost device."
    )


class PasskeySignIn(BaseModel):
    """The question of a sign-in by passkey alone; good for five minutes, once."""

    challenge_id: str
    options: Options


class PasskeySignInAnswer(Request):
    """The passkey's answer to it."""

    challenge_id: str = Field(max_length=64)
    passkey: PasskeyAssertion
    device: str | None = Field(default=None, max_length=64, description="What the device calls itself.")


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
    user_verification: bool = Field(
        default=False, description="Whether a passkey must check its user (PIN, fingerprint) as a second factor too."
    )


class MfaPolicyUpdate(Request):
    """The rule to be; what is left out of `user_verification` stays as it is."""

    enforced: MfaKind | None
    at_sign_in: bool
    user_verification: bool | None = None


class AccessFacts(BaseModel):
    """What a person is asked to approve; shown by the approval page, and part of what the answer is good for."""

    project_id: str
    resource: str
    account: str
    duration_s: float
    reason: str | None = None
    hostname: str | None = Field(default=None, description="Of the machine that asks, by its own account.")
    address: str | None = Field(default=None, description="Where the question came from.")


class MfaChallenge(BaseModel):
    """In the `context` of the problem `mfa_required`: what is asked, of whom, and until when."""

    challenge_id: str
    kind: MfaKind
    alternatives: list[MfaKind] = Field(default_factory=list, description="Other kinds of one's own that do as well.")
    expires_at: datetime
    short_code: str = Field(description="Shown where the challenge is met and where it was asked for, to compare.")
    passkey: Options | None = Field(default=None, description="For a passkey: what the authenticator is asked.")
    approve_url: str | None = Field(default=None, description="For a passkey: the page to answer on.")


class ChallengeState(StrEnum):
    """How a challenge stands. What is not open any more never opens again."""

    MET = "met"
    OPEN = "open"
    OVER = "over"
    REFUSED = "refused"


class MfaQuestion(BaseModel):
    """A challenge as the person who is asked sees it, from any of their sign-ins."""

    challenge: MfaChallenge
    state: ChallengeState
    what: str = Field(description="What it is for, as the beginning of a sentence.")
    access: AccessFacts | None = Field(default=None, description="What it is for, where that is an access.")


class ChallengeAnswer(Request):
    """The answer to a challenge: a code, or a passkey's signature."""

    code: SecretStr | None = Field(default=None, min_length=1, max_length=64)
    passkey: PasskeyAssertion | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.code is None) == (self.passkey is None):
            raise ValueError("give a code or a passkey's answer")
        return self
