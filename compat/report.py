"""Results to tables, for the terminal and for docs/compatibility.md. Pure: cells in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from .compare import Cell, Verdict
from .known import not_offered

# (client, deployment, view) → the rows of the list, in its order.
Results: TypeAlias = Mapping[tuple[str, str, str], Sequence[Cell]]

_BAD = (Verdict.DIFFERS, Verdict.BROKEN)
_HEAD = """# Compatibility

What works with a MongoDB deployment directly is to work through wardgate, with the same result. This page, written by
`make compat`, says where that was tried: it runs one list of features per client, in the client's own language,
directly and through wardgate on the same deployment as the same MongoDB user, and compares what each row saw:
documents, counts, errors with code, text and labels, the commands that the driver sent, who served a read.

The MongoDB behind all of it is a real one (6.0). What stands before it at `sharded` and `load balanced` are doubles of
ours, since no mongos could be had, so these columns are about drivers and wardgate and not about MongoDB's router.
`SRV` is a set that the gateway finds by SRV and TXT records, while the direct run names its member.

The oldest and the newest version of a client run their whole list everywhere; the versions between run it on a set of
one member and the most used rows of it elsewhere.

| sign | means |
|---|---|
| ✓ | the same result |
| = | **no result on either side**, and never counted as the same: the deployment does not offer it; both sides say so |
| k | a difference that is meant; its reason stands below |
| ✗ | **a difference without a reason: a bug** |
| ! | **an error on both sides where it has to work** |
| – | this version of the client does not have it |
| · | not run, so nothing is claimed |
"""

_MISSING = """## What could not be had

- The Node driver's and mongosh's own test programs are in no registry; the specifications' files above and the lists
  below stand in for them. mongosh brings the Node driver with it.
- The database tools are in no registry (PyPI, npm, Debian): name their folder in `WARDGATE_MONGOTOOLS`. What they send
  (the reads of `mongodump`, the oplog, the writes of `mongorestore`) is in PyMongo's list.
- PyMongo 3.13, Node's driver 3 and Debian's drivers for Perl and Java are older than `loadBalanced=true`, so they are
  not run there.
- A mongos, and MongoDB 7 and 8: rows for what only they have say that there is none on either side.
- PyMongo's `test_unix_socket` looks for MongoDB's own socket, `/tmp/mongodb-PORT.sock`. wardgate opens none in a folder
  that is everybody's; `--socket` opens one in a private folder, whose path goes into the same URI. The mongod of the
  direct run has no socket either, so the test is skipped on both sides.
"""


def saved(cells: Sequence[Cell]) -> list[list[Any]]:
    """As JSON, to be kept between runs."""
    return [[each.row, each.verdict.name, each.differences, each.reasons] for each in cells]


def cells_of(values: Iterable[Sequence[Any]]) -> list[Cell]:
    """What `saved` made."""
    return [Cell(row, Verdict[name], tuple(found), tuple(reasons)) for row, name, found, reasons in values]


def count(cells: Sequence[Cell], *verdicts: Verdict) -> int:
    """How many rows have one of the verdicts."""
    return sum(cell.verdict in verdicts for cell in cells)


def progress(key: tuple[str, str, str], cells: Sequence[Cell]) -> str:
    """One line for a list that is done, and what differs in it."""
    ran = len(cells) - count(cells, Verdict.ABSENT, Verdict.NOT_RUN)
    took = sum(sum(cell.seconds) for cell in cells)
    lines = [f"{' · '.join(key)}: {ran} rows, {count(cells, *_BAD)} differ, {took:.0f} s"]
    for cell in cells:
        if cell.verdict in _BAD:
            lines += [f"    {cell.verdict} {cell.row}", *(f"        {each}" for each in cell.differences[:12])]
    return "\n".join(lines)


def totals(results: Results) -> str:
    """One sentence with the sums."""
    of = {verdict: sum(count(cells, verdict) for cells in results.values()) for verdict in Verdict}
    wrong = sum(of[verdict] for verdict in _BAD)
    ran = sum(of.values()) - of[Verdict.ABSENT] - of[Verdict.NOT_RUN]
    return (
        f"{ran} rows were compared: {of[Verdict.SAME]} have the same result, {of[Verdict.KNOWN]} differ as meant, "
        f"{of[Verdict.SAME_ERROR]} have none on either side, {wrong} differ without a reason."
    )


def bad(results: Results) -> list[tuple[tuple[str, str, str], Cell]]:
    """Every row that differs without a reason, or failed where it has to work or where nobody knows why."""
    return [(key, cell) for key, cells in results.items() for cell in cells if _is_bad(key[1], cell)]


def _is_bad(deployment: str, cell: Cell) -> bool:
    unknown = cell.verdict is Verdict.SAME_ERROR and not_offered(deployment, cell.row) is None
    return unknown or cell.verdict in _BAD


def terminal(results: Results) -> str:
    """The table of a run: one line for each client, deployment and view."""
    head = f"{'same':>5} {'known':>5} {'neither':>7} {'differ':>6} {'absent':>6}"
    lines = [f"{'client':<22} {'deployment':<13} {'view':<31} {head}"]
    for (client, deployment, view), cells in results.items():
        figures = (
            count(cells, Verdict.SAME),
            count(cells, Verdict.KNOWN),
            count(cells, Verdict.SAME_ERROR),
            count(cells, *_BAD),
            count(cells, Verdict.ABSENT),
        )
        numbers = "not run: " + cells[0].differences[0] if count(cells, Verdict.NOT_RUN) else ""
        numbers = numbers or "{:>5} {:>5} {:>7} {:>6} {:>6}".format(*figures)
        lines.append(f"{client:<22} {deployment:<13} {view:<31} {numbers}")
    for (client, deployment, view), cell in bad(results):
        lines += ["", f"{cell.verdict} {client}, {deployment}, {view}: {cell.row}"]
        lines += [f"    {each}" for each in cell.differences]
    lines += ["", totals(results)]
    return "\n".join(lines)


def document(
    results: Results, suites: Mapping[str, Any] | None = None, specifications: Mapping[str, Any] | None = None
) -> str:
    """docs/compatibility.md. `suites`: deployment → the summary of PyMongo's own tests there (compat/suite.py);
    `specifications`: deployment → folder → what compat/specs.py found."""
    pairs = {key[:2] for key in results}
    tried = {key[:2] for key, cells in results.items() if not count(cells, Verdict.NOT_RUN)}
    parts = [_HEAD, totals(results)]
    parts += [f"Of {len(pairs)} pairs of client and deployment, {len(tried)} were run.\n"]
    parts += ["## Differences that are meant\n", *_reasons(results), ""]
    parts += ["## No result on either side\n", *_neither(results), ""]
    parts += ["## Clients, deployments, connection strings\n", *_overview(results), ""]
    if suites:
        parts += ["## PyMongo's own tests\n", *_suites(suites), ""]
    if specifications:
        parts += ["## The specifications' tests with the Node driver\n", *_specifications(specifications), ""]
    parts += [_MISSING]
    for family in dict.fromkeys(_family(client) for client, _, _ in results):
        parts += [f"## {family}: row by row\n", *_matrix(results, family), ""]
    if bad(results):
        parts += ["## Differences without a reason\n"]
        parts += [
            f"- {client}, {deployment}, {view}: {cell.row}: {'; '.join(cell.differences[:4])}"
            for (client, deployment, view), cell in bad(results)
        ]
    return "\n".join(parts).rstrip() + "\n"


def _family(client: str) -> str:
    for name in ("PyMongo", "Node driver"):
        if client.startswith(name):
            return name
    return client


def _reasons(results: Results) -> Iterator[str]:
    found: dict[str, set[str]] = {}
    for cells in results.values():
        for cell in cells:
            for reason in cell.reasons:
                found.setdefault(reason, set()).add(cell.row)
    if not found:
        yield "None."
    for reason, rows in sorted(found.items()):
        yield f"- {reason} (rows: {', '.join(sorted(rows))})"


def _neither(results: Results) -> Iterator[str]:
    """What a deployment does not offer, by reason, with what both sides say."""
    found: dict[tuple[str, str], tuple[str, set[str]]] = {}
    for (_, deployment, _), cells in results.items():
        for cell in cells:
            if cell.verdict is Verdict.SAME_ERROR:
                why = not_offered(deployment, cell.row) or "**Nobody knows why.**"
                _, where = found.setdefault((why, cell.row), (cell.differences[0], set()))
                where.add(deployment)
    if not found:
        yield "None."
        return
    yield "| reason | row | deployments | both sides say |"
    yield "|---|---|---|---|"
    for (why, row), (said, where) in sorted(found.items()):
        yield f"| {why} | {row} | {', '.join(sorted(where))} | {_plain(said)} |"


def _plain(text: str) -> str:
    """As one cell of a table."""
    return " ".join(text.replace("|", "/").split())


def _overview(results: Results) -> Iterator[str]:
    """Same results of all rows that ran, for each client and deployment, a column a view."""
    yield "Rows with the same result (or a meant difference) of those that ran; `N =` is the number of rows that have"
    yield "no result on either side."
    yield ""
    views = list(dict.fromkeys(view for _, _, view in results))
    yield f"| client | deployment | {' | '.join(f'`{view}`' if '=' in view else view for view in views)} |"
    yield "|---|---|" + "---|" * len(views)
    pairs = dict.fromkeys((client, deployment) for client, deployment, _ in results)
    for client, deployment in pairs:
        row = [_share(results.get((client, deployment, view))) for view in views]
        yield f"| {client} | {deployment} | {' | '.join(row)} |"


def _suites(suites: Mapping[str, Any]) -> Iterator[str]:
    """Totals, and what is lost with its reason."""
    yield "The test suite of PyMongo 4.20, sync and async, on one mongod without authorization, directly and through"
    yield "wardgate (an account with `allow_admin`). What passes directly and does not pass through is named below."
    yield ""
    yield "| deployment | files run | | passed | failed | skipped | pass directly and not through wardgate |"
    yield "|---|---|---|---|---|---|---|"
    for deployment, found in suites.items():
        for side, totals in found["totals"].items():
            figures = " | ".join(str(totals.get(state, 0)) for state in ("passed", "failed", "skipped"))
            missing = f"{len(found['known'])} with a reason, {len(found['lost'])} without" if side == "through" else ""
            yield f"| {deployment} | {' of '.join(map(str, found['files']))} | {side} | {figures} | {missing} |"
    yield ""
    reasons: dict[str, list[str]] = {}
    for found in suites.values():
        for name, why in [*found["known"].items(), *((name, f"**{why}**") for name, why in found["lost"].items())]:
            reasons.setdefault(why, []).append(name.rpartition("::")[2].removeprefix("test_").replace("_", " "))
    for why, names in reasons.items():
        yield f"- {why} ({'; '.join(sorted(set(names)))})"


def _specifications(found: Mapping[str, Any]) -> Iterator[str]:
    """A line for each folder and deployment, and what differs."""
    yield "The drivers' specifications come with unified test files, which the Node driver's own repository runs. Here"
    yield "the newest Node driver carries them out on one mongod directly and through wardgate, and what it returned,"
    yield "threw, sent and reported is compared. `meant` differs for a reason that stands below; `none` has no result"
    yield "on either side; `other` are for another server, deployment or driver."
    yield ""
    names = ("same", "known", "neither", "absent", "differ")
    yield "| deployment | specification | same | meant | none | other | differ |"
    yield "|---|---|---|---|---|---|---|"
    for deployment, folders in found.items():
        figures = {
            folder: [len(each[name]) if isinstance(each[name], dict) else each[name] for name in names]
            for folder, each in folders.items()
        }
        for folder, row in [
            *figures.items(),
            ("**all**", [sum(column) for column in zip(*figures.values(), strict=True)]),
        ]:
            yield f"| {deployment} | {folder} | {' | '.join(map(str, row))} |"
    yield ""
    reasons: dict[str, set[str]] = {}
    for each in (each for folders in found.values() for each in folders.values()):
        for test, why in each["known"].items():
            reasons.setdefault(why[0], set()).add(test.rpartition("/")[2])
    for why, tests in reasons.items():
        yield f"- {why} ({'; '.join(sorted(tests))})"
    for deployment, folders in found.items():
        for each in folders.values():
            for test, lines in each["differ"].items():
                yield f"- {deployment}: {test}: {_plain('; '.join(lines))}"


def _share(cells: Sequence[Cell] | None) -> str:
    if cells is None:
        return ""
    if count(cells, Verdict.NOT_RUN):
        return Verdict.NOT_RUN.value
    ran = len(cells) - count(cells, Verdict.ABSENT)
    neither = count(cells, Verdict.SAME_ERROR)
    equal = f"{count(cells, Verdict.SAME, Verdict.KNOWN)} of {ran}"
    return f"{equal}, {neither} =" if neither else equal


def _matrix(results: Results, family: str) -> Iterator[str]:
    """A line a row, a column for each version and deployment that ran, in the first view."""
    view = next(view for client, _, view in results if _family(client) == family)
    keys = [key for key in results if _family(key[0]) == family and key[2] == view]
    if all(count(results[key], Verdict.NOT_RUN) for key in keys):
        yield f"Not run: {results[keys[0]][0].differences[0]}."
        return
    columns = [key for key in keys if not count(results[key], Verdict.NOT_RUN)]
    yield (
        "| | "
        + " | ".join(f"{client.removeprefix(family).strip()} {deployment}".strip() for client, deployment, _ in columns)
        + " |"
    )
    yield "|---|" + "---|" * len(columns)
    signs = {key: {cell.row: cell.verdict.value for cell in results[key]} for key in columns}
    rows = dict.fromkeys(cell.row for key in columns for cell in results[key] if cell.row)
    for row in rows:
        yield f"| {row} | " + " | ".join(signs[key].get(row, Verdict.NOT_RUN.value) for key in columns) + " |"
