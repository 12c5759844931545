"""Rounds to medians, medians to tables. Pure: dictionaries in, text out.

A result is {facts, rounds, medians}. A round is {fdatasync: {p50_us, …}, "<workload>/<connections>": {<way>: {p50_us,
p99_us, per_second, …, processes: {<label>: {cpu_us, peak_mib}}}}}; medians have the same shape without the list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

# What the product promises beside HAProxy, as a first floor: p50 at most so many times, throughput at least this part.
SMALL_FIND_P50_MAX = 2.5
THOUSAND_FIND_THROUGHPUT_MIN = 0.5
# And what recording may cost, beside the same gateway that records no command.
RECORDED_P50_MAX = 1.3
RECORDED_THROUGHPUT_MIN = 0.8

_TITLES = {
    "small_find/1": "find by _id, 1 connection",
    "small_find/16": "find by _id, 16 connections",
    "thousand_find/1": "find 1,000 documents, 1 connection",
    "thousand_find/16": "find 1,000 documents, 16 connections",
    "thousand_find_zstd/1": "the same with zstd, 1 connection",
    "thousand_find_zstd/16": "the same with zstd, 16 connections",
    "big_find/1": "find 15 MB, 1 connection",
    "big_find/16": "find 15 MB, 16 connections",
    "big_insert/1": "insert 10 MB, 1 connection",
    "big_insert/16": "insert 10 MB, 16 connections",
    "huge_insert/1": "insert 47 MB, 1 connection",
    "connect/1": "open a connection, first find",
    "connect_apart/1": "the same, 50 ms apart",
}


def medians(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The median of every figure over the rounds."""
    return {key: _median([each[key] for each in rounds]) for key in rounds[0]}


def _median(values: list[Any]) -> Any:
    if isinstance(values[0], dict):
        return {key: _median([each[key] for each in values]) for key in values[0]}
    return round(float(median(values)), 3)


_FLOORS = (
    ("small_find/1", "p50_us", "haproxy", SMALL_FIND_P50_MAX),
    ("thousand_find/1", "per_second", "haproxy", THOUSAND_FIND_THROUGHPUT_MIN),
    ("thousand_find/16", "per_second", "haproxy", THOUSAND_FIND_THROUGHPUT_MIN),
    *((job, "p50_us", "wardgate-unrecorded", RECORDED_P50_MAX) for job in ("small_find/1", "thousand_find/1")),
    *(
        (job, "per_second", "wardgate-unrecorded", RECORDED_THROUGHPUT_MIN)
        for job in ("small_find/16", "thousand_find/16")
    ),
)


def floors(found: dict[str, Any]) -> list[tuple[str, float, float, bool]]:
    """What is promised: (what, measured, wanted, held), for as much as was measured."""
    lines: list[tuple[str, float, float, bool]] = []
    for job, figure, other, wanted in _FLOORS:
        part = _ratio(found.get(job, {}), figure, other)
        if part is not None:
            held = part <= wanted if figure == "p50_us" else part >= wanted
            lines.append((f"{_TITLES[job]}: {figure} beside {other}", part, wanted, held))
    return lines


def table(result: dict[str, Any]) -> str:
    """The whole report in Markdown."""
    found = result["medians"]
    jobs = [job for job in _TITLES if job in found]
    names = list(found[jobs[0]])
    lines = [
        "# wardgate bench",
        "",
        *_about(result),
        "",
        "## Latency, ms",
        "",
        *_latency(found, jobs, names),
        "",
        "## Throughput, operations a second",
        "",
        *_throughput(found, [job for job in jobs if not job.startswith("connect")], names),
        "",
        "## CPU time of each process, µs an operation",
        "",
        *_processes(found, jobs, names, "cpu_us"),
        "",
        "## Peak resident memory of each process, MiB",
        "",
        *_processes(found, jobs, names, "peak_mib"),
        "",
    ]
    promised = floors(found)
    if promised:
        lines += ["## First floor", ""]
        lines += [
            f"- {what}: {part:.2f} ({'at most' if 'p50' in what else 'at least'} {wanted}) "
            f"{'held' if held else '**not held**'}"
            for what, part, wanted, held in promised
        ]
        lines.append("")
    return "\n".join(lines)


def _about(result: dict[str, Any]) -> list[str]:
    about, sync = result["facts"], result["medians"]["fdatasync"]
    changes = " with changes" if about["changed"] else ""
    programs = (about["python"], about["uvloop"], about["openssl"], about["mongod"], about["haproxy"] or "no HAProxy")
    return [
        f"{about['at']}, commit {about['commit']}{changes}, median of {len(result['rounds'])} interleaved rounds. ",
        f"{about['processor']}, {about['cores']} cores, {about['memory_gib']} GiB, Linux {about['kernel']}. ",
        f"Load of the machine before the start: {about['load_before']}. ",
        "Python {}, uvloop {}, {}; {}; {}. ".format(*programs),
        f"Spool on {about['disk']}: write and fdatasync take p50 {sync['p50_us']:.0f} µs, p99 {sync['p99_us']:.0f} µs.",
    ]


def _latency(found: dict[str, Any], jobs: Iterable[str], names: Sequence[str]) -> list[str]:
    head = [f"{name} p50 | p99" for name in names] + ["wardgate/haproxy p50", "wardgate/direct p50"]
    rows = []
    for job in jobs:
        cells = [f"{found[job][name]['p50_us'] / 1000:.3f} | {found[job][name]['p99_us'] / 1000:.3f}" for name in names]
        rows.append([_TITLES[job], *cells, _times(found[job], "p50_us"), _times(found[job], "p50_us", "direct")])
    return _markdown(head, rows)


def _throughput(found: dict[str, Any], jobs: Iterable[str], names: Sequence[str]) -> list[str]:
    rows = []
    for job in jobs:
        cells = [f"{found[job][name]['per_second']:.1f}" for name in names]
        ratios = [_times(found[job], "per_second"), _times(found[job], "per_second", "direct")]
        rows.append([_TITLES[job], *cells, *ratios])
    return _markdown([*names, "wardgate/haproxy", "wardgate/direct"], rows)


def _processes(found: dict[str, Any], jobs: Sequence[str], names: Sequence[str], figure: str) -> list[str]:
    rows = []
    for name in names:
        for label in found[jobs[0]][name]["processes"]:
            cells = [f"{found[job][name]['processes'][label][figure]:.0f}" for job in jobs]
            rows.append([f"{name}: {label}", *cells])
    return _markdown([_TITLES[job] for job in jobs], rows)


def _ratio(cell: dict[str, Any], figure: str, other: str = "haproxy") -> float | None:
    if "wardgate" not in cell or other not in cell:
        return None
    return float(cell["wardgate"][figure] / cell[other][figure])


def _times(cell: dict[str, Any], figure: str, other: str = "haproxy") -> str:
    ratio = _ratio(cell, figure, other)
    return "" if ratio is None else f"{ratio:.2f}"


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    columns = " | ".join(head)
    return [
        f"| | {columns} |",
        "|---|" + "---:|" * (columns.count("|") + 1),
        *(f"| {' | '.join(row)} |" for row in rows),
    ]
