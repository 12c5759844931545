"""Password hashing: Argon2id (RFC 9106), kept as PHC strings.

Law: verifying costs the same whether the account exists or not, so time tells nothing; at most a few hashes run at
once, so that a flood of logins can't take the memory or the processors from those who work.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from ...secret import Secret

_AT_ONCE = 2
_SALT_BYTES = 16
_HASH_BYTES = 32


@dataclass(frozen=True, slots=True)
class Cost:
    """Argon2id's parameters. The default is RFC 9106's second choice with one lane: about 0.15 s here."""

    memory_kib: int = 64 * 1024
    iterations: int = 3
    lanes: int = 1


class PasswordHasher:
    """Hashes and verifies in threads."""

    def __init__(self, cost: Cost | None = None) -> None:
        self._cost = cost or Cost()
        self._gate = asyncio.Semaphore(_AT_ONCE)
        self._decoy = self._hash(os.urandom(32))

    async def hash(self, password: Secret) -> str:
        """The PHC string to keep."""
        async with self._gate:
            return await asyncio.to_thread(self._hash, password.reveal())

    async def verify(self, password: Secret, phc: str | None) -> bool:
        """Whether `password` is the one behind `phc`; None is an account that isn't there, and costs as much."""
        async with self._gate:
            matches = await asyncio.to_thread(_matches, password.reveal(), phc or self._decoy)
        return matches and phc is not None

    def _hash(self, password: bytes) -> str:
        kdf = Argon2id(
            salt=os.urandom(_SALT_BYTES),
            length=_HASH_BYTES,
            iterations=self._cost.iterations,
            lanes=self._cost.lanes,
            memory_cost=self._cost.memory_kib,
        )
        return kdf.derive_phc_encoded(password)


def _matches(password: bytes, phc: str) -> bool:
    try:
        Argon2id.verify_phc_encoded(password, phc)
    except InvalidKey:
        return False
    return True
