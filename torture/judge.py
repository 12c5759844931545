"""What a load saw, and whether it may have: lines of load.py and the database afterwards in, findings out.

Law: an acknowledged write is there exactly once. Errors through wardgate are of kinds that the same driver showed
directly in the same run, or of those that an application must expect of anything that is not retryable: updateMany, an
open cursor, a bare transaction (and that one bears a label that says how to go on).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

WRITES = ("insertOne", "updateOne", "findAndModify", "withTransaction")
COLLECTIONS: Mapping[str, tuple[str, ...]] = {
    "insertOne": ("inserts",),
    "updateOne": ("updates",),
    "findAndModify": ("updates",),
    "withTransaction": ("left", "right"),
}
# What no driver retries: once an outage each, as directly.
FRAGILE = frozenset({"cursor", "transaction", "updateMany"})
_TRANSACTION_LABELS = frozenset({"TransientTransactionError", "UnknownTransactionCommitResult"})
# Codes of elections and shutdowns, cursors that died with their server, aborted transactions, write conflicts; 211: a
# new primary has not read the keys yet by which it signs cluster times.
_ELECTION_CODES = frozenset(
    {43, 50, 89, 91, 112, 175, 189, 211, 237, 251, 10058, 10107, 11600, 11601, 11602, 13435, 13436}
)
_NETWORK_KINDS = frozenset(
    {
        "AutoReconnect",
        "NetworkTimeout",
        "NotPrimaryError",
        "MongoNetworkError",
        "PoolClearedError",
        "_OperationCancelled",
    }
)
_NETWORK_KINDS_NODE = frozenset({"MongoPoolClearedError", "PoolClearedOnNetworkError", "MongoNetworkTimeoutError"})


@dataclass(frozen=True, slots=True)
class Failure:
    """An error as its application saw it."""

    op: str
    kind: str
    code: int | None
    labels: frozenset[str]
    message: str
    at: float

    @property
    def name(self) -> str:
        """What is compared: the operation, the class and the code."""
        return f"{self.op}: {self.kind}" + (f" {self.code}" if self.code is not None else "")

    @property
    def expected(self) -> bool:
        """Whether an application must expect it in an outage, however it is connected."""
        if self.op not in FRAGILE:
            return False
        if self.op == "transaction":
            return bool(self.labels & _TRANSACTION_LABELS)
        return self.code in _ELECTION_CODES or self.kind in _NETWORK_KINDS | _NETWORK_KINDS_NODE

    @property
    def dropped_by_node(self) -> bool:
        """A lost connection that Node's driver gave no label (see `strange`)."""
        return self.kind == "MongoNetworkError" and not self.labels

    @property
    def mongods_own(self) -> bool:
        """What mongod 6.0 says in an election and no driver repeats, directly as well, where it comes at that moment.

        189 inside `writeErrors` of an `ok: 1`: a step-down under a write. 211: a member that has just started, or has
        just been elected, does not know yet the keys by which cluster times are signed.
        """
        return self.code == 211 or (self.code == 189 and self.op in WRITES and "writing to" in self.message)


@dataclass(slots=True)
class Seen:
    """All lines of one load."""

    acknowledged: dict[str, dict[str, tuple[float, float]]] = field(default_factory=dict)  # op → token → times
    failures: list[Failure] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    caught_up: bool = False
    done: bool = False

    @classmethod
    def of(cls, lines: Iterable[str]) -> Seen:
        """Read them."""
        seen = cls()
        for each in lines:
            seen._take(json.loads(each))
        return seen

    def _take(self, line: dict[str, Any]) -> None:
        if line.get("done"):
            self.done, self.stuck, self.caught_up = True, line["stuck"], line["caught_up"]
        elif "op" not in line:
            return
        elif "error" in line:
            error = line["error"]
            self.failures.append(
                Failure(
                    line["op"], error["kind"], error["code"], frozenset(error["labels"]), error["message"], line["b"]
                )
            )
        elif line["op"] == "change":
            self.changes.append(line["id"])
        else:
            self.acknowledged.setdefault(line["op"], {})[line["id"]] = (line["a"], line["b"])

    def kinds(self) -> Counter[str]:
        """Errors by name."""
        return Counter(each.name for each in self.failures)

    def writes(self) -> int:
        """How many retryable writes were acknowledged."""
        return sum(len(self.acknowledged.get(op, ())) for op in WRITES)

    def gap(self, op: str, since: float, until: float) -> float:
        """The longest time without an acknowledged `op` between two moments, in seconds."""
        ends = sorted(b for _, b in self.acknowledged.get(op, {}).values() if since <= b <= until)
        marks = [since, *ends, until]
        return max(after - before for before, after in pairwise(marks))


@dataclass(frozen=True, slots=True)
class Stored:
    """How often each token is in the database, by collection."""

    counts: Mapping[str, Mapping[str, int]]

    @classmethod
    def of(cls, database: Any) -> Stored:
        """Read it (as root, from the primary, with majority)."""
        counts: dict[str, dict[str, int]] = {}
        for name in ("inserts", "left", "right"):
            counts[name] = dict(Counter(each["_id"] for each in database[name].find({}, {"_id": 1})))
        counts["updates"] = {each["_id"]: each.get("n", 0) for each in database.updates.find()}
        return cls(counts)


def wrongs(seen: Seen, stored: Stored, *, others: bool = True) -> list[str]:
    """What is wrong with writes and the change stream: sentences, none if all is well."""
    found = [] if seen.done else ["the load ended before it was told to"]
    found += [f"{worker} hung" for worker in seen.stuck]
    acknowledged: dict[str, set[str]] = {}
    for op in WRITES:
        for collection in COLLECTIONS[op]:
            acknowledged.setdefault(collection, set()).update(seen.acknowledged.get(op, ()))
    for collection, tokens in acknowledged.items():
        counts = stored.counts[collection]
        lost = sorted(tokens - counts.keys())
        doubled = sorted(token for token, count in counts.items() if count != 1)
        if lost:
            found.append(f"{len(lost)} acknowledged writes are not in {collection}: {lost[:5]}")
        if doubled:
            found.append(f"{len(doubled)} writes were applied twice in {collection}: {doubled[:5]}")
    half = stored.counts["left"].keys() ^ stored.counts["right"].keys()
    if half:
        found.append(f"{len(half)} transactions are there by half: {sorted(half)[:5]}")
    return found + (_stream_wrongs(seen, stored) if others else [])


def _stream_wrongs(seen: Seen, stored: Stored) -> list[str]:
    found = []
    events = Counter(seen.changes)
    missed = sorted(stored.counts["inserts"].keys() - events.keys() - {"last"})
    if not seen.caught_up:
        found.append("the change stream did not reach the last document")
    if missed:
        found.append(f"the change stream missed {len(missed)} events: {missed[:5]}")
    if twice := [token for token, count in events.items() if count > 1]:
        found.append(f"the change stream told {len(twice)} events twice: {twice[:5]}")
    newest: dict[str, int] = {}
    for token in seen.changes:
        worker, _, turn = token.rpartition("-")
        if newest.get(worker, -1) > int(turn):
            found.append(f"the change stream told {token} out of order")
            break
        newest[worker] = int(turn)
    return found


def strange(seen: Seen, direct: Iterable[Seen], *, cut: bool) -> Counter[str]:
    """Errors that neither the same driver showed directly in this run nor an application must expect anyway.

    `cut`: all connections to a member were lost at one moment. Node's driver repeats what was under way on the first of
    them only: the others are stale to it by then (`connectionIsStale` in its sdam/server.js) and get no label, so an
    operation under way on each is lost to its application, directly as well, if that many were under way at all.
    """
    usual = {name for each in direct for name in each.kinds()}
    odd = [each for each in seen.failures if not each.expected and each.name not in usual]
    return Counter(each.name for each in odd if not (cut and each.dropped_by_node) and not each.mongods_own)
