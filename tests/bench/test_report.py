"""Medians, ratios and tables from made-up rounds."""

from __future__ import annotations

from typing import Any

from bench import report

FACTS = {
    "at": "2026-01-02T03:04:05Z",
    "commit": "abc",
    "changed": False,
    "processor": "p",
    "cores": 2,
    "memory_gib": 24,
    "load_before": 0.1,
    "kernel": "6",
    "python": "3.11",
    "uvloop": "0",
    "openssl": "OpenSSL",
    "mongod": "db version v6.0.5",
    "haproxy": "HAProxy 2.6",
    "disk": "/dev/vda (ext4)",
}


def cell(p50_us: float, per_second: float) -> dict[str, Any]:
    processes = {"mongod": {"cpu_us": 100.0, "cpu_s": 0.1, "peak_mib": 12.0}}
    return {"p50_us": p50_us, "p99_us": 2 * p50_us, "per_second": per_second, "processes": processes}


def one_round(wardgate_us: float) -> dict[str, Any]:
    ways = {"direct": cell(100, 9000), "haproxy": cell(200, 4000), "wardgate": cell(wardgate_us, 2000)}
    return {"fdatasync": {"p50_us": 120.0, "p99_us": 900.0}, "small_find/1": ways, "thousand_find/1": ways}


def test_medians_keep_the_shape_and_take_the_middle() -> None:
    found = report.medians([one_round(300), one_round(9000), one_round(400)])
    assert found["small_find/1"]["wardgate"]["p50_us"] == 400
    assert found["small_find/1"]["wardgate"]["processes"]["mongod"]["peak_mib"] == 12
    assert found["fdatasync"]["p50_us"] == 120


def test_floors_compare_with_haproxy() -> None:
    found = report.medians([one_round(500)])
    assert report.floors(found) == [
        ("find by _id, 1 connection: p50_us beside haproxy", 2.5, 2.5, True),
        ("find 1,000 documents, 1 connection: per_second beside haproxy", 0.5, 0.5, True),
    ]
    slower = report.medians([one_round(501)])
    assert [held for *_, held in report.floors(slower)] == [False, True]


def test_recording_is_compared_with_none() -> None:
    round_ = one_round(400)
    round_["small_find/1"] = {"wardgate": cell(400, 2000), "wardgate-unrecorded": cell(300, 2000)}
    held = {what: ok for what, _, _, ok in report.floors(report.medians([round_]))}
    assert held["find by _id, 1 connection: p50_us beside wardgate-unrecorded"] is False


def test_without_the_yardstick_there_are_no_floors() -> None:
    round_ = {"small_find/1": {"direct": cell(100, 9000), "wardgate": cell(300, 2000)}}
    assert report.floors(report.medians([round_])) == []


def test_the_table_has_every_way_and_process() -> None:
    rounds = [one_round(400)]
    text = report.table({"facts": FACTS, "rounds": rounds, "medians": report.medians(rounds)})
    assert "| find by _id, 1 connection | 0.100 | 0.200 | 0.200 | 0.400 | 0.400 | 0.800 | 2.00 | 4.00 |" in text
    assert "| find 1,000 documents, 1 connection | 9000.0 | 4000.0 | 2000.0 | 0.50 | 0.22 |" in text
    assert "| wardgate: mongod | 12 | 12 |" in text
    assert "p50 120 µs, p99 900 µs" in text
    widths = {line.count("|") for line in text.splitlines() if line.startswith("|") and "p50 | p99" in line}
    assert len(widths) == 1
