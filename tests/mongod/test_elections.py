"""The main port's connections when a real primary steps down: what each of them sees, byte by byte.

The long form, with drivers and loads, is `make torture`; a slice of it is in tests/e2e.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import bson
import pytest

from wardgate.testing.mongo import MongoDeployment
from wardgate.testing.playbook import EXHAUST_ALLOWED, command, document_of

from .test_pump import Bare, eventually

Document = dict[str, Any]
SLOW_MS = 3_000  # longer than it takes to see a step-down, so that it happens within


@pytest.fixture
def three(mongod_rs3: MongoDeployment, gateway: Any) -> Iterator[Any]:
    with gateway(mongod_rs3) as it:
        yield it


def hello(bare: Bare, **more: Any) -> Document:
    return bare.ask(command({"hello": 1, "helloOk": True, **more}, 1, database="admin"))


def step_down(three: Any, *, settled: Callable[[], bool]) -> None:
    """Until the gateway knows the new primary and has told it to every connection."""
    before = three.monitor.primary
    three.deployment.step_down()
    eventually(lambda: three.monitor.primary not in (None, before), 60)
    eventually(settled, 60)


def test_each_connection_at_a_step_down(three: Any) -> None:
    """Who watches is sent to look again; who reads is not disturbed; who writes is told by the old primary itself."""
    with (
        Bare(three.main_port) as watching,
        Bare(three.main_port) as reading,
        Bare(three.main_port) as idle,
        Bare(three.main_port) as later,
    ):
        one = idle.ask(command({"insert": "at_step_down", "documents": [{}]}, 1))
        assert one["n"] == 1
        version = hello(watching)["topologyVersion"]
        awaited = {"hello": 1, "topologyVersion": version, "maxAwaitTimeMS": 60_000}
        watching.send(command(awaited, 2, EXHAUST_ALLOWED, database="admin"))
        slow = {"find": "at_step_down", "filter": {"$where": f"sleep({SLOW_MS}) || true"}, "limit": 1}
        reading.send(command({**slow, "$readPreference": {"mode": "primaryPreferred"}}, 2))
        step_down(three, settled=lambda: any(stream._leaving is not None for stream in three.streams))
        assert watching.receive() == b""
        write: Document = {"insert": "at_step_down", "documents": [{}], "txnNumber": bson.Int64(1)}
        told = idle.ask(command({**write, "lsid": {"id": bson.Binary(bytes(16), 4)}}, 3))
        assert (told["ok"], told["code"]) == (0, 10107)
        assert "RetryableWriteError" in told["errorLabels"]
        assert len(document_of(reading.receive())["cursor"]["firstBatch"]) == 1
        assert later.ask(command({"insert": "at_step_down", "documents": [{}]}, 1))["n"] == 1


def test_what_nobody_uses_any_more_is_closed(three: Any) -> None:
    three.links.leave_timeout, three.links.stay_timeout = 0.05, 0.2
    with Bare(three.main_port) as idle, Bare(three.main_port) as reading:
        assert idle.ask(command({"insert": "at_step_down", "documents": [{}]}, 1))["n"] == 1
        slow = {"find": "at_step_down", "filter": {"$where": f"sleep({SLOW_MS}) || true"}, "limit": 1}
        reading.send(command({**slow, "$readPreference": {"mode": "primaryPreferred"}}, 2))
        before = three.monitor.primary
        three.deployment.step_down()
        eventually(lambda: three.monitor.primary not in (None, before), 60)
        assert idle.receive() == b""
        assert len(document_of(reading.receive())["cursor"]["firstBatch"]) == 1
        assert reading.receive() == b""


def test_a_driver_that_begins_anew_is_never_shown_the_old_primary(three: Any) -> None:
    """A newcomer whose hello meets the step-down waits for the new primary, as for any."""
    with Bare(three.main_port) as bare:
        eventually(lambda: any(stream.member is not None for stream in three.streams))
        step_down(three, settled=lambda: True)
        assert hello(bare)["isWritablePrimary"] is True
