"""Sealing an answer to the key that a machine's request carried."""

from __future__ import annotations

from ... import sealing
from ...api.problems import FieldError, ProblemCode, ProblemError


def seal_answer(public_key: bytes, info: bytes, plaintext: bytes) -> bytes:
    """`plaintext` for the holder of `public_key`; ProblemError `invalid_request` if that is no X25519 key.

    To be called before what the answer stands for (an epoch, the one use of a test's credentials) is spent.
    """
    try:
        return sealing.seal(public_key, info, plaintext)
    except sealing.SealError as error:
        detail = "The key to seal the answer to is not an X25519 public key of 32 bytes."
        raise ProblemError(
            ProblemCode.INVALID_REQUEST, detail, errors=[FieldError(field="public_key", message=detail)]
        ) from error
