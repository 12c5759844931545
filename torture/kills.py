"""Programs of ours are killed under load: the gateway at random moments, the relay, the local proxy."""

from __future__ import annotations

import os
import random
import signal
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wardgate.testing.mongo import RS1
from wardgate.testing.processes import Process

from .sockets import SLOW, operations, python, wait
from .tagged import TaggedLoad, check, profile, profiled, settle
from .world import World

CLIENT_LOST_S = 45.0
GATEWAY = "near-db"


def gateway_kills(folder: Path, dice: random.Random, kills: int) -> list[dict[str, Any]]:
    """kill -9 of the gateway again and again; it is started again each time, and the session goes on."""
    with World.up(folder, RS1) as world:
        access = world.open()
        profile(world)
        gaps: list[float] = []
        with TaggedLoad(access.uri, str(dice.random())) as load:
            load.wait_answered(0.0)
            for _ in range(kills):
                time.sleep(dice.uniform(0.05, 2.0))
                world.stack.gateways[GATEWAY].kill()
                killed = time.monotonic()
                world.stack.start_gateway(GATEWAY)
                load.wait_answered(killed)
                gaps.append(time.monotonic() - killed)
        access.close()
        session, recorded, wrong = settle(world, access.session_id)
        ran = profiled(world)
        wrong += check(load, recorded, ran)
        return [
            {
                "way": "gateway",
                "kills": kills,
                "answered": len(load.answered),
                "ran": sum(ran.values()),
                "on record": recorded.rows,
                "without outcome": recorded.open,
                "longest gap, s": round(max(gaps), 1),
                "end": session["end_reason"],
                "errors": dict(load.failed),
                "wrong": wrong,
            }
        ]


def relay_kills(folder: Path, dice: random.Random, kills: int) -> list[dict[str, Any]]:
    """kill -9 of the only relay; the control plane starts it again, connections and control streams come back."""
    with World.up(folder, RS1) as world:
        access = world.open()
        profile(world)
        gaps: list[float] = []
        with TaggedLoad(access.uri, str(dice.random())) as load:
            load.wait_answered(0.0)
            for _ in range(kills):
                time.sleep(dice.uniform(0.2, 3.0))
                relay = _relay_of(world)
                killed = time.monotonic()
                os.kill(relay, signal.SIGKILL)
                load.wait_answered(killed + 0.5, CLIENT_LOST_S)  # a reply that was under way is no recovery
                gaps.append(time.monotonic() - killed)
        access.close()
        session, recorded, wrong = settle(world, access.session_id)
        wrong += check(load, recorded, profiled(world))
        return [
            {
                "way": "relay",
                "kills": kills,
                "answered": len(load.answered),
                "on record": recorded.rows,
                "without outcome": recorded.open,
                "longest gap, s": round(max(gaps), 1),
                "end": session["end_reason"],
                "errors": dict(load.failed),
                "wrong": wrong,
            }
        ]


def _relay_of(world: World, timeout: float = 30) -> int:
    """The process id of the relay that the control plane runs: a child of a process that we started."""
    assert world.stack.server is not None
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for pid in _children(world.stack.server):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"relay" in words:
                return pid
        time.sleep(0.1)
    raise AssertionError("the control plane has no relay")


def _children(process: Process) -> list[int]:
    tasks = Path(f"/proc/{process.pid}/task").glob("*/children")
    return [int(pid) for task in tasks for pid in task.read_text().split()]


def proxy_kill(folder: Path, dice: random.Random, _kills: int) -> list[dict[str, Any]]:
    """kill -9 of the local proxy: the session ends by itself and takes its operations along."""
    with World.up(folder, RS1) as world:
        access = world.open()
        profile(world)
        with TaggedLoad(access.uri, str(dice.random())) as load:
            load.wait_answered(0.0)
            with python("slow", folder, SLOW, access.uri):
                wait(lambda: bool(operations(world, access.session_id, "$where")), 20)
                time.sleep(dice.uniform(0.2, 1.0))
                access.process.kill()
                killed, killed_at = time.monotonic(), datetime.now(UTC)
                wait(lambda: not operations(world, access.session_id, "$where"), 30)
                gone = time.monotonic() - killed
            load.stop()
        wait(lambda: world.stack.session(access.session_id)["status"] == "ended", CLIENT_LOST_S + 30)
        session, recorded, wrong = settle(world, access.session_id)
        wrong += check(load, recorded, profiled(world))
        ended = (datetime.fromisoformat(session["ended_at"]) - killed_at).total_seconds()
        if session["end_reason"] != "client_lost":
            wrong.append(f"the session ended {session['end_reason']}")
        if gone > 1.0:
            wrong.append(f"the operation of a client whose local proxy died went on for {gone:.1f} s")
        return [
            {
                "way": "local proxy",
                "answered": len(load.answered),
                "on record": recorded.rows,
                "without outcome": recorded.open,
                "operation gone after, s": round(gone, 2),
                "session over after, s": round(ended, 1),
                "wrong": wrong,
            }
        ]
