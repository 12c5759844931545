"""Runs PyMongo's list once: `python -m compat.rows.pymongo '{"uri": …, "admin_uri": …, "async": false, "rows": […]}'`.

Prints one JSON object a line: first {"version"}, then {"row", "needs"} with `value`, `error` or `absent`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import traceback
import warnings
from typing import Any

import pymongo

from . import data, dumps, server, work
from .trial import ROWS, AbsentError, Row, Trial, fault, plain

ROW_S = 120.0
LISTS = (data, work, server, dumps)  # imported for the rows that they enter


def _database(row: Row) -> str:
    letters = "".join(each if each.isalnum() else "_" for each in row.name.lower())
    return f"compat_{letters[:40]}"


async def _run(row: Row, asked: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = {"row": row.name, "needs": row.needs}
    began = time.monotonic()
    try:
        t = Trial(asked["uri"], asked["admin_uri"], _database(row), is_async=asked["async"])
    except AbsentError as absent:
        return {**said, "absent": str(absent)}
    try:
        await t(t.client.drop_database(t.name))
        said["value"] = plain(await asyncio.wait_for(row.work(t), ROW_S))
    except AbsentError as absent:
        said["absent"] = str(absent)
    except Exception as error:
        said["error"] = fault(error)
        said["trace"] = traceback.format_exc(limit=-3)
    finally:
        try:
            await t(t.client.drop_database(t.name))
        except Exception as error:
            said.setdefault("error", {**fault(error), "at": "cleaning up"})
        await t.close()
        said["seconds"] = round(time.monotonic() - began, 1)
    return said


def main() -> int:
    """Every row that was asked for, in the order of the list."""
    asked = json.loads(sys.argv[1])
    warnings.simplefilter("ignore")
    print(json.dumps({"version": pymongo.version}), flush=True)
    wanted = asked.get("rows")
    for row in ROWS:
        if wanted is None or row.name.startswith(tuple(wanted)):
            print(json.dumps(asyncio.run(_run(row, asked)), default=str), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
