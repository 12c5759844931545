"""Waiting through an outage: for commands that go on for long, and whose person has better things to do than restart.

Law: only what has worked once is worth the patience (a wrong address is told at once), and there is an end to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from ..api.client import UnreachableError
from ..api.problems import ProblemCode, ProblemError
from .output import line

Answer = TypeVar("Answer")

LONGEST: Final = 300.0  # seconds without an answer
_FIRST, _LONGEST_PAUSE = 0.5, 10.0


class Patience:
    """Asks again while the control plane, or its store of records, is away."""

    def __init__(
        self,
        *,
        worked: bool = False,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sleep = sleep
        self._clock = clock
        self._worked = worked

    def __call__(self, ask: Callable[[], Answer]) -> Answer:
        """`ask()`, when it works; what it raised when it has not for too long, or never did."""
        began: float | None = None
        pause = _FIRST
        while True:
            try:
                answer = ask()
            except (UnreachableError, ProblemError) as error:
                if not self._worked or not _passes(error):
                    raise
                now = self._clock()
                if began is None:
                    began = now
                    line(f"{error.message} Waiting for it …", stderr=True)
                if now - began >= LONGEST:
                    raise
                self._sleep(pause)
                pause = min(_LONGEST_PAUSE, pause * 2)
                continue
            if began is not None:
                line("It is back.", stderr=True)
            self._worked = True
            return answer


def _passes(error: UnreachableError | ProblemError) -> bool:
    """Whether it is worth waiting for the end of this."""
    return not isinstance(error, ProblemError) or error.problem.code is ProblemCode.STORE_UNAVAILABLE
