"""Codes: of an authenticator app (RFC 6238), by e-mail, and for recovery. Pure; time and randomness are arguments.

Law: a time step counts once. Codes that people copy are compared without case, spaces and dashes, and by hash.
"""

from __future__ import annotations

import base64
import hashlib
from urllib.parse import quote

from cryptography.hazmat.primitives.constant_time import bytes_eq
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

SECRET_BYTES = 20  # RFC 4226, section 4: the length of the hash
STEP_SECONDS = 30
_DIGITS = 6
_DRIFT_STEPS = 1  # clocks of phones are a little off: RFC 6238, section 5.2
_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's: nothing that looks like something else
_EMAIL_DIGITS = 8
RECOVERY_CODES = 10
_RECOVERY_CHARS = 16  # 80 bits


def totp_step(secret: bytes, code: str, now: float, last_step: int) -> int | None:
    """The time step whose code that is, newer than `last_step` and near `now`; None if there is none.

    Authenticator apps know SHA-1 only, whatever the URI says; HMAC does not rest on collision resistance.
    """
    typed = normal(code).encode()
    totp, current = TOTP(secret, _DIGITS, SHA1(), STEP_SECONDS), int(now) // STEP_SECONDS  # noqa: S303
    found = None
    for step in range(current - _DRIFT_STEPS, current + _DRIFT_STEPS + 1):
        if bytes_eq(totp.generate(step * STEP_SECONDS), typed) and step > last_step:
            found = step
    return found


def totp_text(secret: bytes) -> str:
    """The secret as apps take it."""
    return base64.b32encode(secret).decode().rstrip("=")


def totp_uri(secret: bytes, issuer: str, account: str) -> str:
    """The secret as QR codes carry it: the key URI format that authenticator apps share."""
    label = f"{quote(issuer, safe='')}:{quote(account, safe='@')}"
    return f"otpauth://totp/{label}?secret={totp_text(secret)}&issuer={quote(issuer, safe='')}"


def email_code(randomness: bytes) -> str:
    """A code of eight digits from eight random bytes."""
    return f"{int.from_bytes(randomness, 'big') % 10**_EMAIL_DIGITS:0{_EMAIL_DIGITS}d}"


def recovery_code(randomness: bytes) -> str:
    """A code from ten random bytes, in groups of four for copying."""
    number = int.from_bytes(randomness, "big")
    chars = "".join(_ALPHABET[(number >> (5 * place)) & 31] for place in range(_RECOVERY_CHARS))
    return "-".join(chars[start : start + 4] for start in range(0, _RECOVERY_CHARS, 4))


def short_code(challenge_id: str) -> str:
    """Four characters that name a challenge to a person; they prove nothing."""
    digest = hashlib.sha256(challenge_id.encode()).digest()
    return "".join(_ALPHABET[byte & 31] for byte in digest[:4])


def normal(code: str) -> str:
    """A code as it is compared: upper case, without spaces and dashes."""
    return "".join(char for char in code.upper() if char.isalnum())


def hash_of(code: str, salt: str) -> bytes:
    """What is kept of a code. `salt` is the id of what it belongs to."""
    return hashlib.sha256(f"{salt}\0{normal(code)}".encode()).digest()
