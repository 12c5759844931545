"""Runs the list of the database tools once: main.py '{"uri": …, "rows": …}' with COMPAT_TOOLS naming their folder.

Each row makes documents with PyMongo, lets tools carry them out and in again, and says exit statuses and counts. Prints
one JSON object a line: first {"version"}, then {"row", "needs"} with `value` or `error`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pymongo import MongoClient

TOOLS = Path(os.environ.get("COMPAT_TOOLS", ""))
TIMEOUT_S = 120


class Trial:
    """A database with documents in it, a folder, and the tools."""

    def __init__(self, uri: str, database: str, folder: Path) -> None:
        self.uri = uri
        self.name = database
        self.folder = folder
        self.client: MongoClient[dict[str, Any]] = MongoClient(uri)
        self.client.drop_database(database)
        self.client[database].things.insert_many([{"_id": n, "text": "x" * (n % 50)} for n in range(2_000)])
        self.client[database].things.create_index("text")

    def tool(self, name: str, *arguments: str, stdin: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        """One tool, to its end."""
        argv = [str(TOOLS / name), f"--uri={self.uri}", *arguments]
        return subprocess.run(argv, input=stdin, capture_output=True, timeout=TIMEOUT_S, check=False)

    def count(self, collection: str = "things") -> int:
        """How many documents there are now."""
        return self.client[self.name][collection].count_documents({})


def dump_folder(t: Trial) -> Any:
    """mongodump to a folder and mongorestore from it."""
    dumped = t.tool("mongodump", "--db", t.name, "--out", str(t.folder))
    t.client.drop_database(t.name)
    restored = t.tool("mongorestore", "--nsInclude", f"{t.name}.*", str(t.folder))
    return [dumped.returncode, restored.returncode, t.count(), len(t.client[t.name].things.index_information())]


def dump_archive(t: Trial) -> Any:
    """mongodump to an archive on standard output, and back from standard input."""
    dumped = t.tool("mongodump", "--db", t.name, "--archive", "--gzip")
    t.client.drop_database(t.name)
    restored = t.tool("mongorestore", "--archive", "--gzip", stdin=dumped.stdout)
    return [dumped.returncode, restored.returncode, t.count()]


def dump_oplog(t: Trial) -> Any:
    """mongodump --oplog, which reads local.oplog.rs."""
    dumped = t.tool("mongodump", "--oplog", "--out", str(t.folder))
    return [dumped.returncode, (t.folder / "oplog.bson").is_file()]


def export_import(t: Trial) -> Any:
    """mongoexport and mongoimport, as JSON."""
    file = str(t.folder / "things.json")
    exported = t.tool("mongoexport", "--db", t.name, "--collection", "things", "--out", file)
    imported = t.tool("mongoimport", "--db", t.name, "--collection", "again", "--file", file)
    return [exported.returncode, imported.returncode, t.count("again")]


def files(t: Trial) -> Any:
    """mongofiles: put, list, get."""
    (t.folder / "file").write_bytes(b"\7" * 1_000_000)
    put = t.tool("mongofiles", "--db", t.name, "--local", str(t.folder / "file"), "put", "file")
    listed = t.tool("mongofiles", "--db", t.name, "list")
    got = t.tool("mongofiles", "--db", t.name, "--local", str(t.folder / "back"), "get", "file")
    back = t.folder / "back"
    return [put.returncode, b"file" in listed.stdout, got.returncode, back.stat().st_size if back.exists() else 0]


def stat(t: Trial) -> Any:
    """mongostat: two lines."""
    told = t.tool("mongostat", "--rowcount", "2", "--json")
    return [told.returncode, len(told.stdout.splitlines())]


ROWS: list[tuple[str, str, Callable[[Trial], Any]]] = [
    ("mongodump to a folder, mongorestore", "any", dump_folder),
    ("mongodump --archive --gzip, mongorestore", "any", dump_archive),
    ("mongodump --oplog", "replica", dump_oplog),
    ("mongoexport, mongoimport", "any", export_import),
    ("mongofiles", "any", files),
    ("mongostat", "any", stat),
]


def main() -> int:
    """Every row that was asked for."""
    asked = json.loads(sys.argv[1])
    version = subprocess.run([str(TOOLS / "mongodump"), "--version"], capture_output=True, text=True, check=False)
    print(json.dumps({"version": (version.stdout.splitlines() or ["unknown"])[0]}), flush=True)
    for name, needs, work in ROWS:
        if asked.get("rows") and not name.startswith(tuple(asked["rows"])):
            continue
        said: dict[str, Any] = {"row": name, "needs": needs}
        began = time.monotonic()
        try:
            with tempfile.TemporaryDirectory() as folder:
                t = Trial(asked["uri"], "compat_tools", Path(folder))
                said["value"] = work(t)
                t.client.drop_database(t.name)
                t.client.close()
        except Exception as error:
            said["error"] = {"error": type(error).__name__, "message": str(error)[:300]}
        said["seconds"] = round(time.monotonic() - began, 1)
        print(json.dumps(said), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
