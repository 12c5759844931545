"""Password hashing: Argon2id (RFC 9106), kept as PHC strings.

Law: verifying costs the same whether the account exists or not, so time tells nothing; at most a few hashes run at
once, so that a flood of logins can't take the memory or the processors from those who work; and who comes from where
they came from before goes first, so that a flood from elsewhere doesn't keep them out: of others only so many wait.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from ...api.problems import ProblemCode, ProblemError
from ...secret import Secret

_AT_ONCE = 2
_MOST_WAITING = 64  # some five seconds of work
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
        self._gate = Gate(_AT_ONCE, _MOST_WAITING)
        self._decoy = self._hash(os.urandom(32))

    async def hash(self, password: Secret) -> str:
        """The PHC string to keep."""
        async with self._gate.turn(first=True):
            return await asyncio.to_thread(self._hash, password.reveal())

    async def verify(self, password: Secret, phc: str | None, *, first: bool = False) -> bool:
        """Whether `password` is the one behind `phc`; None is an account that isn't there, and costs as much.

        ProblemError `rate_limited` where too many wait; not for those who go `first`.
        """
        async with self._gate.turn(first=first):
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


class Gate:
    """Lets `at_once` in; the others wait in two lines, of which the first is always served first."""

    def __init__(self, at_once: int, most_waiting: int) -> None:
        self._free = at_once
        self._most_waiting = most_waiting
        self._first: deque[asyncio.Future[None]] = deque()
        self._others: deque[asyncio.Future[None]] = deque()

    @asynccontextmanager
    async def turn(self, *, first: bool) -> AsyncIterator[None]:
        """Wait for a turn, and have it. ProblemError `rate_limited` where too many wait in the second line."""
        if self._free > 0:
            self._free -= 1
        else:
            await self._wait(self._first if first else self._others)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, line: deque[asyncio.Future[None]]) -> None:
        if line is self._others and len(line) >= self._most_waiting:
            message = "Too many people log in just now: wait a few seconds and try again."
            raise ProblemError(ProblemCode.RATE_LIMITED, message, context={"retry_after_s": 5})
        turn = asyncio.get_running_loop().create_future()
        line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._pass_on()  # it was our turn already
            elif turn in line:
                line.remove(turn)
            raise

    def _pass_on(self) -> None:
        for line in (self._first, self._others):
            while line:
                turn = line.popleft()
                if not turn.done():
                    turn.set_result(None)
                    return
        self._free += 1


def _matches(password: bytes, phc: str) -> bool:
    try:
        Argon2id.verify_phc_encoded(password, phc)
    except InvalidKey:
        return False
    return True
