"""What is tortured: a deployment, the whole product before it, and the ways from a driver to the database.

    direct     driver ──TLS, SCRAM──► members                       the yardstick, in the same run and the same fault
    members    driver ──► loopback port of each member ──► gateway  `replicaSet=`: the driver's own discovery
    main       driver ──► the main port ──► gateway                 `directConnection=true`, as mongosh and Compass

Everything is started by us and ended by its own pid.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wardgate.testing import servers
from wardgate.testing.mongo import RS3, MongoDeployment, Shape
from wardgate.testing.processes import Process
from wardgate.testing.stack import Access, Stack

from .judge import Seen

HERE = Path(__file__).resolve().parent
RESOURCE, ACCOUNT = "tortured", "rw"
DRIVERS = ("pymongo", "node")
ROUTES = ("direct", "members", "main")
# MongoDB's own default of how long a lost primary stays unnoticed.
THREE = replace(RS3, election_ms=10_000)


@dataclass(frozen=True, slots=True)
class Way:
    """One driver on one route."""

    driver: str
    route: str
    uri: str

    @property
    def name(self) -> str:
        """As in the report."""
        return f"{self.driver}-{self.route}"

    @property
    def database(self) -> str:
        """Its own, so that the ways do not meet."""
        return f"torture_{self.driver}_{self.route}"


class World:
    """A running deployment with wardgate before it."""

    def __init__(
        self,
        folder: Path,
        deployment: MongoDeployment,
        direct: str | None = None,
        *,
        stack: Stack | None = None,
        resource: str = RESOURCE,
    ) -> None:
        """`direct`: the URI of the direct way, where it is not simply the deployment's own.

        A given `stack` runs already, and `resource` with the account `rw` is in it.
        """
        self.folder = folder
        self.deployment = deployment
        self.direct = direct or deployment.uri(deployment.rw)
        self.stack = stack or Stack(folder / "stack")
        self.resource = resource
        self.access: Access | None = None

    @classmethod
    @contextmanager
    def up(
        cls,
        folder: Path,
        shape: Shape = THREE,
        *,
        deployment: MongoDeployment | None = None,
        direct: str | None = None,
    ) -> Iterator[World]:
        """Start all of it but the session; a given `deployment` runs already, and is ended with the rest."""
        world = cls(folder, deployment or MongoDeployment(shape, folder / "mongo"), direct)
        try:
            world.stack.up()
            world.stack.add_resource(RESOURCE, world.deployment)
            world.stack.add_account(ACCOUNT, RESOURCE, world.deployment.rw, "--allow-admin")
            yield world
        finally:
            world.stack.close()
            world.deployment.close()

    def open(self) -> Access:
        """The session that the loads go through; a new one if the last has ended."""
        if self.access is None or self.access.process.returncode is not None:
            self.access = self.stack.access(self.resource, ACCOUNT, "4h")
        return self.access

    def ways(self, drivers: Sequence[str] = DRIVERS, routes: Sequence[str] = ROUTES) -> list[Way]:
        """All of them; `members` is the main port where there is no set."""
        access = self.open()
        uris = {
            "direct": self.direct,
            "members": access.replica_set_uri or access.uri,
            "main": access.uri + "?directConnection=true",
        }
        return [Way(driver, route, uris[route]) for driver in drivers for route in routes]


class Load:
    """A load generator as a child process."""

    def __init__(self, way: Way, folder: Path, **job: Any) -> None:
        """`job`: pause (seconds between operations of a worker), writers, others, options."""
        self.way = way
        described = {"uri": way.uri, "database": way.database, "way": way.name, "pause": 0.1, "writers": 8, **job}
        environment = {**os.environ, "TORTURE_JOB": json.dumps(described), "PYTHONPATH": str(HERE.parent)}
        argv: list[str | Path] = [sys.executable, "-m", "torture.load"]
        if way.driver == "node":
            modules = servers.node_modules()
            if modules is None:
                raise servers.ServerMissingError(servers.NODE)
            environment["NODE_PATH"] = str(modules)
            argv = [servers.require(servers.NODE), HERE / "load.cjs"]
        self.process = Process(f"load-{way.name}", argv, folder, env=environment, cwd=HERE.parent)

    def __enter__(self) -> Load:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()

    def wait_ready(self, timeout: float = 120) -> None:
        """Until every worker has done something."""
        self.process.wait_line(lambda line: line.startswith('{"ready"'), timeout)

    def stop(self) -> None:
        """Ask it to end; `seen` waits."""
        self.process.send(signal.SIGTERM)

    def seen(self, timeout: float = 180) -> Seen:
        """Everything, after `stop`."""
        self.process.wait(timeout)
        return Seen.of(list(self.process.lines))

    def so_far(self) -> Seen:
        """What it has told until now."""
        return Seen.of(list(self.process.lines))
