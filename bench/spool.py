"""What recording costs: a command's intent and outcome, from append to durable, against a bare write and fdatasync.

    .venv/bin/python -m bench.spool [--folder DIR] [--commands N] [--json]

`raw` is the floor of this disk: 600 bytes over zeros, then fdatasync, one after the other. A `writer` appends an
intent, waits as long as a small command takes (`--server-us`), appends the outcome and waits until it is durable.
`cpu` is what both appends take of the loop. Everything runs interleaved in one process; medians of `--rounds`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import statistics
import tempfile
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import bson
import uvloop

from wardgate import ids, sealing
from wardgate.audit.records import CommandIntent, CommandOutcome
from wardgate.gateway.spool.epoch import Durability, EpochRecorder
from wardgate.gateway.spool.spool import Spool
from wardgate.numbers import MIB, Numbers

_BODY = bson.encode(
    {
        "find": "orders",
        "filter": {"customer": 12345, "status": "open"},
        "limit": 10,
        "lsid": {"id": bson.Binary(bytes(16), 4)},
        "$db": "shop",
    }
)
_INTENT = CommandIntent(3, 77, "shop", "orders", "find", "read", _BODY, len(_BODY) + 21, client_app="mongosh 2.12")
Result = dict[str, float]


def _summary(times: list[float]) -> Result:
    ordered = sorted(times)
    return {
        "p50_us": ordered[len(ordered) // 2] * 1e6,
        "p90_us": ordered[len(ordered) * 9 // 10] * 1e6,
        "p99_us": ordered[len(ordered) * 99 // 100] * 1e6,
    }


def raw(folder: Path, count: int) -> Result:
    """A bare write and fdatasync."""
    fd = os.open(folder / "raw", os.O_RDWR | os.O_CREAT)
    os.pwrite(fd, bytes(8 * MIB), 0)
    os.fsync(fd)
    data, times = b"x" * 600, []
    for index in range(count):
        began = perf_counter()
        os.pwrite(fd, data, index * 600 % (7 * MIB))
        os.fdatasync(fd)
        times.append(perf_counter() - began)
    os.close(fd)
    return _summary(times)


def _open_epoch(spool: Spool, durability: Durability) -> EpochRecorder:
    session = ids.from_bytes(ids.Kind.SESSION, os.urandom(16))
    _, public = sealing.generate()

    def failed(reason: str) -> None:
        raise SystemExit(reason)

    return spool.open_epoch(
        session,
        1,
        audit_public_key=public,
        audit_key_id="bench",
        gateway_id="gw_bench",
        previous=None,
        on_failed=failed,
        durability=durability,
    )


async def _writer(recorder: EpochRecorder, count: int, server_s: float, times: list[float]) -> None:
    loop = asyncio.get_running_loop()
    for _ in range(count):
        began = perf_counter()
        seq = recorder.append(_INTENT)
        middle = perf_counter()
        while perf_counter() - middle < server_s:
            await asyncio.sleep(0)
        answered = perf_counter()
        last = recorder.append(CommandOutcome(seq, 1.0, None, 10, 4000, 350))
        durable = loop.create_future()
        recorder.when_durable(last, lambda done=durable: done.set_result(None))  # type: ignore[misc]
        await durable
        times.append(perf_counter() - answered + (middle - began))


async def spooled(folder: Path, writers: int, count: int, durability: Durability, server_s: float) -> Result:
    """`writers` at once, over four sessions."""
    spool = await Spool.open(folder, replace(Numbers(), spool_segment_bytes=64 * MIB))
    recorders = [_open_epoch(spool, durability) for _ in range(min(4, writers))]
    times: list[float] = []
    began = perf_counter()
    await asyncio.gather(
        *(_writer(recorders[index % len(recorders)], count // writers, server_s, times) for index in range(writers))
    )
    took = perf_counter() - began
    facts = spool.statistics()
    await spool.close()
    return _summary(times) | {"commands_per_s": len(times) / took, "syncs_per_command": facts["syncs"] / len(times)}


async def cpu(folder: Path, count: int) -> Result:
    """The appends alone."""
    spool = await Spool.open(folder, Numbers())
    recorder = _open_epoch(spool, "process")
    intents, outcomes = [], []
    for _ in range(count):
        began = perf_counter()
        seq = recorder.append(_INTENT)
        middle = perf_counter()
        recorder.append(CommandOutcome(seq, 1.0, None, 10, 4000, 350))
        intents.append(middle - began)
        outcomes.append(perf_counter() - middle)
        if count % 100 == 0:
            await asyncio.sleep(0)
    await spool.close()
    return {"intent_us": statistics.median(intents) * 1e6, "outcome_us": statistics.median(outcomes) * 1e6}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=None, help="a folder on the disk to measure")
    parser.add_argument("--commands", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--server-us", type=float, default=100.0)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    found: dict[str, list[Result]] = {}
    for _ in range(asked.rounds):
        work = Path(tempfile.mkdtemp(prefix="wardgate-bench-", dir=asked.folder))
        try:
            server = asked.server_us / 1e6
            found.setdefault("raw write+fdatasync", []).append(raw(work, asked.commands))
            for durability in ("strict", "process"):
                for writers in (1, 16):
                    result = uvloop.run(
                        spooled(work / f"{durability}-{writers}", writers, asked.commands, durability, server)
                    )
                    found.setdefault(f"{durability}, {writers} writers", []).append(result)
            found.setdefault("cpu", []).append(uvloop.run(cpu(work / "cpu", asked.commands)))
        finally:
            shutil.rmtree(work)
    medians = {
        name: {key: round(statistics.median(result[key] for result in results), 3) for key in results[0]}
        for name, results in found.items()
    }
    if asked.json:
        print(json.dumps(medians, indent=1))
        return
    for name, values in medians.items():
        print(f"{name:24}", "  ".join(f"{key} {value:g}" for key, value in values.items()))


if __name__ == "__main__":
    main()
