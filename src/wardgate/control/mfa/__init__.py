"""Multi-factor authentication: second factors, the challenges that ask for them, and the organisation's rule."""

from .changes import Changes
from .enrolment import PasskeyEnrolment
from .passkey_sign_in import PasskeySignInService
from .passkeys import Passkeys
from .service import MfaService
from .verification import Verification
from .webauthn import RelyingParty

__all__ = [
    "Changes",
    "MfaService",
    "PasskeyEnrolment",
    "PasskeySignInService",
    "Passkeys",
    "RelyingParty",
    "Verification",
]
