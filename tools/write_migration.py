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

# What happens to rows (control/db/migrations/moves.py), by revision: the line it must stand before, the call.
MOVES = {
    "0002": (
        (
            '    with op.batch_alter_table("gateways", schema=None) as batch_op:\n        batch_op.drop_column',
            "    moves.gateways_get_instances()\n",
        ),
        ("\n\ndef downgrade", "    moves.records_get_places()\n"),
    )
}


def with_moves(revision: str, text: str) -> str:
    """The migration with the moves of rows in it; ValueError if their place is not found."""
    if revision not in MOVES:
        return text
    for before, call in MOVES[revision]:
        if before not in text:
            raise ValueError(f"the place for the moves of {revision} is not in what was written")
        text = text.replace(before, call + before, 1)
    return text.replace(
        "import wardgate.control.db.base\n",
        "import wardgate.control.db.base\nfrom wardgate.control.db.migrations import moves\n",
        1,
    )


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
        path.write_text(with_moves(revision, path.read_text()))

    with tempfile.TemporaryDirectory() as folder:
        database = Database(sqlite_url(Path(folder) / "wardgate.db"))
        await database.run(work)
        await database.close()


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    asyncio.run(write(sys.argv[1], sys.argv[2]))
