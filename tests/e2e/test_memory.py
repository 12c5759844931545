"""Large messages through the whole product: the gateway's memory stays what it was, and the record is whole.

The gateway's process is looked at from outside: the most that it had resident, since the kernel was told to forget.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from wardgate.testing.mongo import MongoDeployment
from wardgate.testing.stack import Access, Stack

pytestmark = pytest.mark.slow

MB = 1_000_000
GROWTH = 32 * 1024 * 1024
BLOB = os.urandom(MB)
Client = MongoClient[dict[str, Any]]


def resident(pid: int, what: str) -> int:
    """`VmRSS` or `VmHWM` of a process, in bytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == what:
            return int(value.split()[0]) * 1024
    raise AssertionError(what)


@pytest.fixture
def growth(stack: Stack) -> Callable[[Callable[[], object]], int]:
    """How much more than before the gateway had resident at any time while something ran."""
    (gateway,) = stack.gateways.values()

    def measure(work: Callable[[], object]) -> int:
        Path(f"/proc/{gateway.pid}/clear_refs").write_text("5")  # VmHWM begins anew
        before = resident(gateway.pid, "VmRSS")
        work()
        return resident(gateway.pid, "VmHWM") - before

    return measure


@pytest.fixture
def opened(access: Any, mongod_rs1: MongoDeployment) -> Iterator[tuple[Access, Client]]:
    """A session and a client that has done a little of everything."""
    session: Access = access()
    with Client(session.uri) as client, mongod_rs1.client() as direct:
        client.memory.warm.insert_many([{"x": BLOB[:1000]} for _ in range(10)])
        assert len(list(client.memory.warm.find())) == 10
        yield session, client
        direct.drop_database("memory")


def test_an_insert_of_47_megabytes(stack: Stack, opened: Any, growth: Any) -> None:
    session, client = opened
    documents = [{"x": BLOB} for _ in range(47)]
    assert growth(lambda: client.memory.big.insert_many(documents)) < GROWTH
    assert client.memory.big.count_documents({}) == 47
    client.close()
    session.close()
    (record,) = (
        line for line in stack.logs(session.session_id) if line["collection"] == "big" and line["documents"] == 47
    )
    assert record["command"] == "insert"
    assert record["bytes_in"] > 47 * MB
    assert len(record["body"]["documents"]) == 47
    assert stack.verify(session.session_id).json()["state"] == "verified"


def test_results_of_500_megabytes(opened: Any, growth: Any) -> None:
    _, client = opened
    client.memory.big.insert_many([{"x": BLOB} for _ in range(100)])

    def read() -> None:
        for _ in range(5):
            assert sum(len(each["x"]) for each in client.memory.big.find()) == 100 * MB

    assert growth(read) < GROWTH


def test_sixteen_connections_insert_ten_megabytes_each(opened: Any, growth: Any) -> None:
    _, client = opened

    def insert() -> None:
        client.memory.many.insert_many([{"x": BLOB} for _ in range(10)])

    def all_at_once() -> None:
        threads = [threading.Thread(target=insert) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert growth(all_at_once) < GROWTH
    assert client.memory.many.count_documents({}) == 160


@pytest.mark.parametrize("compressor", ["zlib", "zstd"])
def test_what_a_few_kilobytes_become(opened: Any, growth: Any, compressor: str) -> None:
    session, _ = opened
    with Client(session.uri, compressors=compressor) as client:
        client.admin.command("ping")
        documents = [{"x": bytes(MB)} for _ in range(45)]
        assert growth(lambda: client.memory.zeros.insert_many(documents)) < GROWTH
        assert growth(lambda: sum(len(each["x"]) for each in client.memory.zeros.find())) < GROWTH
