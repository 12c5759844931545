"""Fixtures that every room shares: real servers, each in its own folder and on free ports.

A test whose server is missing skips with the line that installs it. With WARDGATE_TEST_REQUIRE=all it fails instead,
so that continuous integration can't turn green by testing less.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from wardgate.control import schema
from wardgate.control.db import Database
from wardgate.control.db.engine import sqlite_url
from wardgate.testing import servers
from wardgate.testing.mongo import RS1, RS3, STANDALONE, MongoDeployment, MongoFactory, Shape
from wardgate.testing.postgres import PostgresCluster

# Wall-clock deadlines measure the machine, not the code.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", parent=settings.get_profile("default"), print_blob=True)
settings.register_profile("deep", parent=settings.get_profile("default"), max_examples=5_000)
settings.load_profile(os.environ.get("WARDGATE_HYPOTHESIS", "ci" if os.environ.get("CI") else "default"))


def need(program: servers.Program) -> Path:
    """The program's path; skips, or fails where everything is required, with the line that installs it."""
    try:
        return servers.require(program)
    except servers.ServerMissingError as missing:
        if os.environ.get("WARDGATE_TEST_REQUIRE") == "all":
            pytest.fail(missing.message)
        pytest.skip(missing.message)


# Tests of these folders or with these fixtures run in one worker, so that what they share is started once.
TOGETHER_FOLDERS = {
    "compat": 300,
    "e2e": 300,
    "demo": 300,
}  # with the seconds that a test may take while it starts the product
TOGETHER_FIXTURES = ("mongod_rs3",)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group what is expensive to start, and give whole journeys time."""
    for item in items:
        folder = item.path.relative_to(Path(__file__).parent).parts[0]
        if folder in TOGETHER_FOLDERS:
            item.add_marker(pytest.mark.xdist_group(folder))
            item.add_marker(pytest.mark.timeout(TOGETHER_FOLDERS[folder]))
        for fixture in TOGETHER_FIXTURES:
            if fixture in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.xdist_group(fixture))


@pytest.fixture(scope="session")
def mongod_binary() -> Path:
    """The real mongod."""
    return need(servers.MONGOD)


@pytest.fixture(scope="session")
def node() -> Path:
    """The real Node."""
    return need(servers.NODE)


@pytest.fixture(scope="session")
def mongosh() -> Path:
    """The real mongosh."""
    return need(servers.MONGOSH)


@pytest.fixture(scope="session")
def haproxy() -> Path:
    """The real HAProxy."""
    return need(servers.HAPROXY)


@pytest.fixture(scope="session")
def mongod(mongod_binary: Path) -> Iterator[MongoFactory]:
    """Start deployments of any shape, one for each shape and worker: `mongod(RS1)`, `mongod(replace(RS3, tls=False))`.

    They are shared by all tests of the worker, so a test uses a database of its own, and one that kills members brings
    them back.
    """
    running: dict[Shape, MongoDeployment] = {}

    def start(shape: Shape) -> MongoDeployment:
        if shape not in running:
            running[shape] = MongoDeployment(shape, mongod=mongod_binary)
        return running[shape]

    yield start
    for deployment in running.values():
        deployment.close()


@pytest.fixture(scope="session")
def mongod_standalone(mongod: MongoFactory) -> MongoDeployment:
    """A standalone with TLS and SCRAM."""
    return mongod(STANDALONE)


@pytest.fixture(scope="session")
def mongod_rs1(mongod: MongoFactory) -> MongoDeployment:
    """A one-member replica set with TLS and SCRAM."""
    return mongod(RS1)


@pytest.fixture(scope="session")
def mongod_rs3(mongod: MongoFactory) -> MongoDeployment:
    """A three-member replica set with TLS, keyFile and SCRAM."""
    return mongod(RS3)


# --- databases of the control plane ----------------------------------------------------------------------------------

KINDS = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """A PostgreSQL cluster of this worker's own; a test takes a database of it for itself."""
    with PostgresCluster(need(servers.POSTGRES)) as cluster:
        yield cluster


@pytest.fixture(params=KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of an empty database without tables: the test runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        yield sqlite_url(tmp_path / "wardgate.db")
        return
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    name = cluster.create()
    yield cluster.url(name)
    cluster.drop(name)


@pytest.fixture(scope="session")
def _tabled_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite database with the tables of this version, to be copied."""
    path = tmp_path_factory.mktemp("tabled") / "wardgate.db"
    asyncio.run(_make_tables(sqlite_url(path)))
    return path


@pytest.fixture(scope="session")
def _tabled_database(postgres: PostgresCluster) -> str:
    """A PostgreSQL database with the tables of this version, to be emptied for each test."""
    name = postgres.create()
    asyncio.run(_make_tables(postgres.url(name)))
    return name


@pytest.fixture(params=KINDS)
def tabled_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with the tables of this version and no row: on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("_tabled_file"), tmp_path / "wardgate.db")
        return sqlite_url(tmp_path / "wardgate.db")
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    name: str = request.getfixturevalue("_tabled_database")
    cluster.empty(name)
    return cluster.url(name)


async def _make_tables(url: str) -> None:
    database = Database(url)
    await database.run(schema.metadata().create_all)
    await database.close()
