"""Every difference that is meant, with its reason: what is not in these tables and differs is a bug.

The tables are short because they have to be: each line is read by people in docs/compatibility.md.
"""

from __future__ import annotations

import re
from typing import Final

from .compare import Known

# Rows that show the members' own names, as they do directly; in every other row a real address is a leak.
REAL_NAMES: Final = ("replica set commands", "rs.status")

_OVER: Final = (
    "A transaction whose first statement failed is over, and wardgate says so before MongoDB does (code 251 and label "
    "as directly, rule `transaction_elsewhere`); only the sentence differs."
)

# Rows of our own lists.
DIFFERENCES: Final[tuple[Known, ...]] = (
    Known(
        "error documents",
        r"value\.rights\.(details\.errmsg|message)",
        "Who may not write to `admin`, `config` and `local` is told so by wardgate (code 13 as directly, rule "
        "`system_collection`): it refuses before MongoDB does.",
    ),
    Known(
        r"mongorestore --oplogReplay: applyOps",
        r"value(\.(code|applied|ok|results.*|lastOpTime.*))?",
        "`applyOps` writes anywhere and under any name, so it needs an account with `allow_admin` (code 13, rule "
        "`internal_command`); so does `mongorestore --oplogReplay`.",
    ),
    Known(
        "write conflict of two transactions",
        r"value\[1\]\.(details\.(errmsg|recoveryToken)|message)",
        _OVER,
    ),
    Known(
        "error documents",
        r"value\.getMore\.(details\.errmsg|message)",
        "A cursor that this access session did not open is refused by wardgate (code 43 as directly, rule "
        "`others_work`); only the sentence differs.",
    ),
)

# Why a row has no result on either side, by deployment and row: what the deployment does not offer. An error on both
# sides that is not named here is no result that anybody may overlook.
NOT_OFFERED: Final[tuple[tuple[str, str, str], ...]] = (
    (
        "standalone",
        r"(a transaction goes|transactions:|with_?[tT]ransaction|write conflict of two transactions).*",
        "A standalone has no transactions.",
    ),
    ("standalone", r"change streams.*", "A standalone has no change streams."),
    ("standalone", r"(causal consistency and )?snapshot reads", "A standalone has no snapshot reads."),
    ("standalone", r"replica set commands|mongodump --oplog.*|the oplog, tailed", "A standalone has no set, no oplog."),
    (
        "standalone",
        r"retryable writes: one retry after a lost connection",
        "A standalone has no retryable writes, so the lost connection is what the application sees.",
    ),
    (
        "standalone",
        r"unacknowledged writes",
        "Debian's Perl driver sends a standalone the old message for them, on which MongoDB 5.1 and newer hang up.",
    ),
    (
        r"(?!rs3).*",
        r"reads from every secondary|causal consistency: reading one's own writes from a secondary",
        "There is no secondary; `rs3` has two.",
    ),
    ("sharded", r"exhaust cursors", "Drivers use them with a mongos from MongoDB 7.1 on."),
)

# The specifications' unified tests: rows are `folder/file: test`.
SPECIFICATIONS: Final[tuple[Known, ...]] = (
    Known(r"transactions/.*: write conflict (commit|abort)", r"value\.operations\[\d+\]\.threw\.message", _OVER),
    Known(
        r".*: Topology lifecycle",
        r"value\.events\.client",
        "The main port is an address of its own, which a set's hello does not name: a driver that begins there sees "
        "one address more come and go. The URI with all members has only theirs.",
    ),
    Known(
        r"command_(monitoring|logging)/redacted-commands: sasl.*",
        r"value\.operations\[0\]\.threw\.(message|code|codeName)",
        "A login is answered by wardgate: one that is malformed is code 18, not the code of MongoDB's parser.",
    ),
    Known(
        r"csot/deprecated-options: socketTimeoutMS is ignored if timeoutMS is set - .*",
        r".*",
        "The driver keeps to the socket timeout of one millisecond that it is to ignore, directly as well; its second "
        "try is answered within it directly, and mostly not through wardgate, which takes about one itself.",
    ),
    Known(
        r".*/auth-network-timeout-error: .*",
        r".*",
        "A login is answered by wardgate, so a fail point that delays it delays nothing; those that close the "
        "connection or answer an error do so.",
    ),
)

# Tests of PyMongo's own suite: regular expressions for `module.Class::test`.
SUITE_REASONS: Final[dict[str, str]] = {}


def not_offered(deployment: str, row: str) -> str | None:
    """Why a row can't have a result there, if that is known."""
    found = (why for where, what, why in NOT_OFFERED if re.fullmatch(where, deployment) and re.fullmatch(what, row))
    return next(found, None)
