"""Work that nobody asks for: run again and again while the control plane runs.

Law: a job that fails is logged and runs again at its next turn; one job's failure or slowness holds up no other. Of
several nodes one does a job, whoever holds its lease, but for what each node does for itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from ..net import logs
from .cluster import JobLeases

_log = logs.get("control.jobs")


@dataclass(frozen=True, slots=True)
class Background:
    """`work` every `seconds`, the first time at once, and soon after `wake` is set; `each_node` does it for itself."""

    name: str
    work: Callable[[], Awaitable[None]]
    seconds: float
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    each_node: bool = False


class Jobs:
    """The running of them. Without `leases` there is nobody to share them with."""

    def __init__(self, jobs: Iterable[Background], leases: JobLeases | None = None) -> None:
        self._jobs = tuple(jobs)
        self._leases = leases
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._repeat(job), name=f"job {job.name}") for job in self._jobs]

    async def stop(self) -> None:
        """Stop where they are; transactions that are cut off are undone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _repeat(self, job: Background) -> None:
        while True:
            job.wake.clear()  # before the work, which may miss what changes while it runs
            try:
                await self._once(job)
            except Exception as error:
                _log.error("background job failed", job=job.name, error=type(error).__name__)
            with suppress(TimeoutError):
                async with asyncio.timeout(job.seconds):
                    await job.wake.wait()

    async def _once(self, job: Background) -> None:
        if job.each_node or self._leases is None:
            await job.work()
            return
        async with self._leases.held(job.name, job.seconds) as ours:
            if ours:
                await job.work()
