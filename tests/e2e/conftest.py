"""One running product per test worker: control plane, relay, gateway, a replica set and a standalone behind them."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wardgate.testing.mongo import MongoDeployment
from wardgate.testing.stack import Access, Stack

OpenAccess = Callable[..., Access]


@pytest.fixture(scope="session")
def stack(mongod_rs1: MongoDeployment, mongod_standalone: MongoDeployment) -> Iterator[Stack]:
    """Resources `rs` and `single`, each with the accounts `ro` and `rw`."""
    folder = Path(tempfile.mkdtemp(prefix="wardgate-e2e-"))  # short: pytest's own would do, but not for Unix sockets
    try:
        with Stack(folder) as running:
            running.up()
            for name, deployment in (("rs", mongod_rs1), ("single", mongod_standalone)):
                running.add_resource(name, deployment)
                running.add_account("ro", name, deployment.ro)
                running.add_account("rw", name, deployment.rw)
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def access(stack: Stack) -> Iterator[OpenAccess]:
    """Open sessions that end with the test: `access("rs", "rw", "1h", …)`."""
    opened: list[Access] = []

    def open_one(resource: str = "rs", account: str = "rw", duration: str = "1h", *options: str) -> Access:
        opened.append(stack.access(resource, account, duration, *options))
        return opened[-1]

    yield open_one
    for one in opened:
        one.process.stop()
