"""The load generator and the ways against a real mongod: every workload once, with what it used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from bench import load, ways
from bench.generator import Generator, GeneratorFailedError, Job
from bench.run import FULL, QUICK, work_folder
from bench.watch import cpu_seconds, forget_peak, peak_bytes, resident_bytes
from wardgate.testing.mongo import MongoDeployment

JOBS = (
    Job("small_find", 1, operations=20),
    Job("small_find", 4, operations=40),
    Job("thousand_find", 2, seconds=0.05),
    Job("thousand_find_zstd", 2, operations=4),
    Job("big_find", 1, operations=2),
    Job("huge_insert", 1, operations=1),
    Job("big_insert", 2, operations=2),
    Job("connect", 1, operations=2),
    Job("connect_apart", 1, operations=2),
)


@pytest.fixture(scope="module")
def deployment(mongod_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[MongoDeployment]:
    with ways.database(tmp_path_factory.mktemp("bench")) as deployment:
        yield deployment


def test_direct(deployment: MongoDeployment, tmp_path: Path) -> None:
    with Generator(ways.direct(deployment), tmp_path) as generator:
        for job in JOBS:
            found = generator.run(job)
            assert found["count"] == job.operations or job.seconds
            assert 0 < found["p50_us"] <= found["p99_us"] <= found["max_us"]
            assert found["processes"]["mongod"]["cpu_us"] > 0
    ways.drop_inserts(deployment)


def test_haproxy(haproxy: Path, deployment: MongoDeployment, tmp_path: Path) -> None:
    with ExitStack() as ends:
        way = ends.enter_context(ways.haproxy(deployment, tmp_path / "haproxy"))
        generator = ends.enter_context(Generator(way, tmp_path))
        for job in JOBS:
            assert generator.run(job)["p50_us"] > 0
    assert [each.label.split()[0] for each in way.processes] == ["haproxy"] * 3 + ["mongod"]


@pytest.mark.slow
def test_wardgate(deployment: MongoDeployment, tmp_path: Path) -> None:
    with ExitStack() as ends:
        (way,) = ends.enter_context(ways.all_of(["wardgate"], deployment, tmp_path))
        generator = ends.enter_context(Generator(way, tmp_path))
        for job in JOBS:
            assert generator.run(job)["p50_us"] > 0
    assert [each.label for each in way.processes] == ["local proxy", "relay", "gateway", "control plane", "mongod"]
    assert way.target.username is None


def test_a_generator_that_fails_says_why(deployment: MongoDeployment, tmp_path: Path) -> None:
    way = ways.direct(deployment)
    wrong = ways.Way("wrong", load.Target("127.0.0.1", way.target.port), way.processes)  # plain TCP where TLS is due
    with Generator(wrong, tmp_path) as generator, pytest.raises(GeneratorFailedError, match="The load generator of"):
        generator.run(JOBS[0])


def test_a_wrong_answer_is_no_result() -> None:
    load.check("big_insert", {"ok": 1, "n": 1000})
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("small_find", {"ok": 0, "errmsg": "no"}),
        ("thousand_find", {"ok": 1, "cursor": {"firstBatch": [{}] * 999}}),
        ("big_insert", {"ok": 1, "n": 999}),
    ]
    for workload, reply in wrong:
        with pytest.raises(SystemExit, match="failed"):
            load.check(workload, reply)


def test_percentiles_are_nearest_ranks() -> None:
    found = load.summary([n * 1000 for n in range(1, 101)])
    assert (found["p50_us"], found["p90_us"], found["p99_us"], found["max_us"]) == (50, 90, 99, 100)
    assert load.summary([7000])["p99_us"] == 7


def test_the_quick_run_measures_what_the_full_one_does() -> None:
    assert [job.name for job in QUICK] == [job.name for job in FULL]


def test_work_is_on_the_disk_that_was_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARDGATE_BENCH_DIR", str(tmp_path / "disk"))
    with work_folder() as folder:
        assert folder.parent == tmp_path / "disk"
    assert not folder.exists()


def test_watching_a_process() -> None:
    before = cpu_seconds(os.getpid())
    sum(range(200_000))
    assert cpu_seconds(os.getpid()) > before
    forget_peak(os.getpid())
    assert peak_bytes(os.getpid()) >= resident_bytes(os.getpid()) * 0.5
