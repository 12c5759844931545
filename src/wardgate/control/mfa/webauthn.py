"""The relying party: what passkeys are asked, and whether what they answer is right. Pure: no time, no store.

`fido2` reads and checks the bytes. Laws beside its own: the origin is exactly the configured one, never what a request
says; an answer from a page inside another one is refused; only algorithms that were asked for are taken; whatever the
parser makes of hostile bytes is a no. Attestation is not asked for: which model somebody's passkey is is not our
business, so nothing of it is kept or trusted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from fido2.cose import ES256, RS256, EdDSA
from fido2.server import Fido2Server
from fido2.utils import websafe_decode, websafe_encode
from fido2.webauthn import (
    AttestationConveyancePreference,
    AttestedCredentialData,
    AuthenticatorData,
    AuthenticatorTransport,
    CollectedClientData,
    PublicKeyCredentialDescriptor,
    PublicKeyCredentialParameters,
    PublicKeyCredentialRpEntity,
    PublicKeyCredentialType,
    PublicKeyCredentialUserEntity,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from ...api.domain import PasskeySite
from ...api.webauthn import Options, PasskeyAssertion, PasskeyCredential

_NAME = "wardgate"
# What authenticators have, from the best kept to the oldest: Ed25519, P-256, and RSA for some that are built into PCs.
_ALGORITHMS = (EdDSA.ALGORITHM, ES256.ALGORITHM, RS256.ALGORITHM)
_TIMEOUT_MS = 300_000
_LONGEST_ID = 1_023  # WebAuthn, section 4
Made = TypeVar("Made")


class BadAnswerError(Exception):
    """An answer that is not good. Its text is for logs and tests: whoever sent the answer hears one sentence only."""


@dataclass(frozen=True, slots=True)
class Known:
    """A passkey as the browser is told of it."""

    credential_id: bytes
    transports: Sequence[str]


@dataclass(frozen=True, slots=True)
class NewPasskey:
    """What is kept of a new passkey: `credential` is its id and public key as the specification packs them."""

    credential_id: bytes
    credential: bytes
    counter: int
    synced: bool
    transports: list[str]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a right answer says of the passkey and of its user."""

    counter: int
    user_verified: bool
    synced: bool


class RelyingParty:
    """One control plane, to passkeys."""

    def __init__(self, site: PasskeySite) -> None:
        self.site = site
        self._server = Fido2Server(
            PublicKeyCredentialRpEntity(name=_NAME, id=site.rp_id),
            attestation=AttestationConveyancePreference.NONE,
            verify_origin=lambda origin: origin == site.origin,
        )
        self._server.timeout = _TIMEOUT_MS  # type: ignore[assignment]  # declared by its default, None
        self._server.allowed_algorithms = [
            PublicKeyCredentialParameters(type=PublicKeyCredentialType.PUBLIC_KEY, alg=each) for each in _ALGORITHMS
        ]

    # --- making ---------------------------------------------------------------------------------------------------

    def creation(
        self, challenge: bytes, user_handle: bytes, email: str, known: Sequence[Known], *, verified: bool
    ) -> Options:
        """`navigator.credentials.create` is asked for a passkey that none of `known` is already."""
        options, _ = self._server.register_begin(
            PublicKeyCredentialUserEntity(id=user_handle, name=email, display_name=email),
            [_descriptor(each) for each in known],
            resident_key_requirement=ResidentKeyRequirement.PREFERRED,
            user_verification=_wish(verified),
            challenge=challenge,
        )
        return dict(options.public_key)

    def made(self, challenge: bytes, answer: PasskeyCredential, *, verified: bool) -> NewPasskey:
        """The passkey that was made for `challenge`; BadAnswerError. `verified` insists on a checked user."""

        def read() -> NewPasskey:
            state = {"challenge": websafe_encode(challenge), "user_verification": _wish(verified)}
            body = answer.model_dump(by_alias=True)
            _must_not_be_framed(CollectedClientData(websafe_decode(answer.response.client_data_json)))
            data = self._server.register_complete(state, body)
            credential = data.credential_data
            if credential is None or credential.public_key.ALGORITHM not in _ALGORITHMS:
                raise BadAnswerError("no key of an algorithm that was asked for")
            if not 0 < len(credential.credential_id) <= _LONGEST_ID:
                raise BadAnswerError("the credential id has no proper length")
            if credential.credential_id != websafe_decode(answer.raw_id):
                raise BadAnswerError("the credential id is not the one in the signed data")
            return NewPasskey(
                credential_id=credential.credential_id,
                credential=bytes(credential),
                counter=data.counter,
                synced=data.is_backup_eligible(),
                transports=[each for each in answer.response.transports if each in list(AuthenticatorTransport)],
            )

        return _read(read)

    # --- asking ---------------------------------------------------------------------------------------------------

    def request(self, challenge: bytes, known: Sequence[Known] | None, *, verified: bool) -> Options:
        """`navigator.credentials.get` is asked for one of `known`; None: for whichever its user chooses."""
        options, _ = self._server.authenticate_begin(
            None if known is None else [_descriptor(each) for each in known],
            user_verification=_wish(verified),
            challenge=challenge,
        )
        return dict(options.public_key)

    def judge(self, challenge: bytes, credential: bytes, answer: PasskeyAssertion, *, verified: bool) -> Shown:
        """What `credential` signed for `challenge`; BadAnswerError."""

        def read() -> Shown:
            state = {"challenge": websafe_encode(challenge), "user_verification": _wish(verified)}
            _must_not_be_framed(CollectedClientData(websafe_decode(answer.response.client_data_json)))
            body = answer.model_dump(by_alias=True, exclude_none=True)
            self._server.authenticate_complete(state, [AttestedCredentialData(credential)], body)
            data = AuthenticatorData(websafe_decode(answer.response.authenticator_data))
            return Shown(data.counter, data.is_user_verified(), data.is_backup_eligible())

        return _read(read)


def credential_id_of(answer: PasskeyAssertion) -> bytes:
    """Which passkey says that it answers; BadAnswerError."""
    return _read(lambda: websafe_decode(answer.raw_id))


def user_handle_of(answer: PasskeyAssertion) -> bytes | None:
    """Whose passkey it says that it is; BadAnswerError."""
    handle = answer.response.user_handle
    return None if handle is None else _read(lambda: websafe_decode(handle))


def _read(read: Callable[[], Made]) -> Made:
    try:
        return read()
    except BadAnswerError:
        raise
    except Exception as error:
        # The parser meets bytes of anybody's making and answers them with a dozen kinds of exception.
        raise BadAnswerError(f"{type(error).__name__}: {error}") from None


def _must_not_be_framed(data: CollectedClientData) -> None:
    """A page of ours inside somebody else's would be shown with words that are not ours around it."""
    if data.cross_origin:
        raise BadAnswerError("asked inside another page")


def _wish(verified: bool) -> UserVerificationRequirement:
    return UserVerificationRequirement.REQUIRED if verified else UserVerificationRequirement.PREFERRED


def _descriptor(known: Known) -> PublicKeyCredentialDescriptor:
    transports = [AuthenticatorTransport(each) for each in known.transports]
    return PublicKeyCredentialDescriptor(
        type=PublicKeyCredentialType.PUBLIC_KEY, id=known.credential_id, transports=transports or None
    )
