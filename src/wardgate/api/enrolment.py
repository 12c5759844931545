"""Enrolment: how a gateway or relay joins with a token that is shown once.

The token is `wge1_` and the base64url of {"url", "root", "id", "secret"}: where to go, the SHA-256 of wardgate's root
certificate, the token's id, and 32 bytes that both sides know. Law: the secret never travels. The newcomer proves it
with an HMAC over its CSR, and the control plane proves it with an HMAC over its whole answer; the newcomer also checks
that every certificate in the answer hangs on the root whose fingerprint came with the token. So neither a listener nor
somebody between can join, or make a newcomer join something else.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ..errors import WardgateError
from ..secret import Secret
from .domain import canonical
from .machine import EnrolAnswer

PREFIX = "wge1_"
SECRET_BYTES = 32
TRUST_NAMES = frozenset({"gateways", "relays", "sessions"})


@dataclass(frozen=True, slots=True)
class EnrolmentToken:
    """The parts of a token. `root_fingerprint` is the SHA-256 of the root certificate's DER, in hex."""

    url: str
    root_fingerprint: str
    token_id: str
    secret: Secret

    def encode(self) -> str:
        """The token as it is shown, once."""
        document = {
            "url": self.url,
            "root": self.root_fingerprint,
            "id": self.token_id,
            "secret": base64.urlsafe_b64encode(self.secret.reveal()).decode(),
        }
        packed = base64.urlsafe_b64encode(json.dumps(document, separators=(",", ":")).encode())
        return PREFIX + packed.rstrip(b"=").decode()


def decode(text: str) -> EnrolmentToken:
    """The parts of `text`; WardgateError `invalid_token`, which never repeats the token."""
    text = text.strip()
    if not text.startswith(PREFIX):
        raise _invalid()
    packed = text.removeprefix(PREFIX).encode()
    try:
        raw = base64.b64decode(packed + b"=" * (-len(packed) % 4), altchars=b"-_", validate=True)
        document = json.loads(raw)
        url, root, token_id = document["url"], document["root"], document["id"]
        secret = base64.b64decode(document["secret"].encode(), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise _invalid() from None
    if not all(isinstance(part, str) for part in (url, root, token_id)):
        raise _invalid()
    if len(secret) != SECRET_BYTES or len(root) != 64 or not all(char in "0123456789abcdef" for char in root):
        raise _invalid()
    try:
        url = canonical(url)
    except WardgateError:
        raise _invalid() from None
    return EnrolmentToken(url, root, token_id, Secret(secret))


def csr_proof(secret: Secret, csr_der: bytes) -> bytes:
    """The newcomer's proof."""
    return _hmac(secret, b"enrol1", [csr_der])


def csr_proof_holds(secret: Secret, csr_der: bytes, proof: bytes) -> bool:
    """Whether `proof` was made with `secret` over `csr_der`."""
    return hmac.compare_digest(csr_proof(secret, csr_der), proof)


def answer_proof(secret: Secret, answer: EnrolAnswer) -> bytes:
    """The control plane's proof: over every field of the answer but the proof itself."""
    parts = [
        answer.id.encode(),
        answer.name.encode(),
        (answer.project_id or "").encode(),
        answer.certificate,
        answer.intermediate,
        answer.root,
    ]
    for name in sorted(answer.trust):
        parts += [name.encode(), answer.trust[name]]
    if answer.instance_id is not None:
        parts.append(answer.instance_id.encode())
    return _hmac(secret, b"enrolled1", parts)


def check_answer(token: EnrolmentToken, answer: EnrolAnswer, public_key: ec.EllipticCurvePublicKey) -> None:
    """Passes when `answer` is from the control plane that issued `token`, for `public_key`; else WardgateError."""
    if not hmac.compare_digest(answer_proof(token.secret, answer), answer.proof):
        raise _refused("its proof does not fit the token")
    if not hmac.compare_digest(hashlib.sha256(answer.root).hexdigest(), token.root_fingerprint):
        raise _refused("its root certificate is not the one in the token")
    if answer.trust.keys() != TRUST_NAMES:
        raise _refused("it lacks an intermediate certificate")
    try:
        root = x509.load_der_x509_certificate(answer.root)
        leaf = x509.load_der_x509_certificate(answer.certificate)
        intermediate = x509.load_der_x509_certificate(answer.intermediate)
        root.verify_directly_issued_by(root)
        leaf.verify_directly_issued_by(intermediate)
        for raw in (answer.intermediate, *answer.trust.values()):
            x509.load_der_x509_certificate(raw).verify_directly_issued_by(root)
    except (ValueError, TypeError, InvalidSignature) as error:
        raise _refused("its certificates do not form a chain") from error
    if _spki(leaf.public_key()) != _spki(public_key):
        raise _refused("its certificate is for another key")


def _hmac(secret: Secret, purpose: bytes, parts: Iterable[bytes]) -> bytes:
    """HMAC-SHA-256 over the purpose and each part with its length before it, so that no two lists look alike."""
    mac = hmac.new(secret.reveal(), purpose, hashlib.sha256)
    for part in parts:
        mac.update(len(part).to_bytes(4, "big"))
        mac.update(part)
    return mac.digest()


def _spki(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        return b""
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _invalid() -> WardgateError:
    return WardgateError(
        "invalid_token", "This is not an enrolment token: copy it whole, from wge1_ on, as `create` printed it."
    )


def _refused(what: str) -> WardgateError:
    return WardgateError("enrolment_refused", f"The control plane's answer was refused: {what}.")
