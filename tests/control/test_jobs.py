"""Background work goes on, whatever one job does."""

from __future__ import annotations

import asyncio

from wardgate.control.jobs import Background, Jobs


async def test_a_job_that_fails_runs_again_and_holds_up_no_other() -> None:
    runs = {"bad": 0, "good": 0}
    enough = asyncio.Event()

    async def bad() -> None:
        runs["bad"] += 1
        raise LookupError

    async def good() -> None:
        runs["good"] += 1
        if min(runs.values()) >= 3:
            enough.set()

    jobs = Jobs([Background("bad", bad, 0), Background("good", good, 0)])
    jobs.start()
    await asyncio.wait_for(enough.wait(), 20)
    await jobs.stop()
    seen = dict(runs)
    await asyncio.sleep(0)
    assert runs == seen
