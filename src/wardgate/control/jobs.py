"""Work that nobody asks for: run again and again while the control plane runs.

Law: a job that fails is logged and runs again at its next turn; one job's failure or slowness holds up no other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from ..net import logs

_log = logs.get("control.jobs")


@dataclass(frozen=True, slots=True)
class Background:
    """`work` every `seconds`, the first time at once, and soon after `wake` is set."""

    name: str
    work: Callable[[], Awaitable[None]]
    seconds: float
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Jobs:
    """The running of them."""

    def __init__(self, jobs: Iterable[Background]) -> None:
        self._jobs = tuple(jobs)
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(_repeat(job), name=f"job {job.name}") for job in self._jobs]

    async def stop(self) -> None:
        """Stop where they are; transactions that are cut off are undone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _repeat(job: Background) -> None:
    while True:
        job.wake.clear()  # before the work, which may miss what changes while it runs
        try:
            await job.work()
        except Exception as error:
            _log.error("background job failed", job=job.name, error=type(error).__name__)
        with suppress(TimeoutError):
            async with asyncio.timeout(job.seconds):
                await job.wake.wait()
