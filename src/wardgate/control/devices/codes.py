"""The codes that people read from one screen and type into another.

Pure. Twenty consonants: no vowels, so that no word appears, and nothing that looks like something else (RFC 8628
section 6.1). Eight of them are 34.5 bits: with ten thousand devices waiting, a guess is right once in 2.5 million, and
guesses are rationed.
"""

from __future__ import annotations

import base64
import hashlib

_ALPHABET = "BCDFGHJKLMNPQRSTVWXZ"
_CHARS = 8
RANDOM_BYTES = 16  # so many that the division leaves no bias worth naming


def user_code(randomness: bytes) -> str:
    """A code from random bytes, without its dash."""
    number, chars = int.from_bytes(randomness, "big"), []
    for _ in range(_CHARS):
        number, digit = divmod(number, len(_ALPHABET))
        chars.append(_ALPHABET[digit])
    return "".join(chars)


def shown(code: str) -> str:
    """The code as people read it."""
    return f"{code[:4]}-{code[4:]}"


def typed(text: str) -> str | None:
    """What somebody typed as it is kept; None if it can be no code."""
    code = "".join(char for char in text.upper() if char.isalnum())
    return code if len(code) == _CHARS and all(char in _ALPHABET for char in code) else None


def challenge_of(verifier: bytes) -> str:
    """The S256 challenge of a verifier (RFC 7636 section 4.2)."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier).digest()).rstrip(b"=").decode()
