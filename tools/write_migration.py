"""Write the next database migration from the models: `tools/write_migration.py 0002 "what it changes"`.

Read what it wrote before it is committed: autogeneration sees tables, not meaning.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path

from sqlalchemy import Connection

from wardgate.control import schema
from wardgate.control.db import Database, migrate
from wardgate.control.db.engine import sqlite_url


async def write(revision: str, message: str) -> None:
    """Upgrade an empty database as far as the migrations go, and write down what is missing."""

    def work(connection: Connection) -> None:
        migrate.upgrade(connection)
        path = migrate.write_next(connection, schema.metadata(), message, revision)
        lines = path.read_text().splitlines(keepends=True)
        text = "".join(line for line in lines if not line.strip().startswith("# ###"))
        # SQLite says 0 and 1 of a boolean's default; PostgreSQL takes none of them for one.
        for number, word in (("0", "false"), ("1", "true")):
            kind = "sa.Boolean(), server_default=sa."
            text = text.replace(f"{kind}text('{number}')", f"{kind}{word}()")
        path.write_text(text)
        subprocess.run([sys.executable, "-m", "ruff", "check", "--fix", "--silent", path], check=False)
        subprocess.run([sys.executable, "-m", "ruff", "format", "--quiet", path], check=True)

    with tempfile.TemporaryDirectory() as folder:
        database = Database(sqlite_url(Path(folder) / "wardgate.db"))
        await database.run(work)
        await database.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    asyncio.run(write(sys.argv[1], sys.argv[2]))
