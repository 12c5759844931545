"""Bringing a database to the schema of this version, and writing the next migration.

Runs on a connection inside `Database.run`, so a migration that fails leaves the schema as it was. Law: a database that
a newer wardgate made is refused, never guessed at.
"""

from __future__ import annotations

import logging
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from sqlalchemy import Connection, MetaData

from ...errors import WardgateError

_FOLDER = Path(__file__).parent / "migrations"


def upgrade(connection: Connection, to: str = "head") -> None:
    """To the newest version, or to `to`; WardgateError `newer_database` if the database is beyond it."""
    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = _config(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    at = MigrationContext.configure(connection).get_current_revision()
    if at is not None and at not in known:
        raise WardgateError("newer_database", "The database was made by a newer wardgate: run that version or later.")
    command.upgrade(config, to)


def differences(connection: Connection, metadata: MetaData) -> list[object]:
    """What is different between the database and the models; an empty list when nothing is."""
    context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
    return list(compare_metadata(context, metadata))


def write_next(connection: Connection, metadata: MetaData, message: str, revision: str) -> Path:
    """Write a migration that takes the (upgraded) database to the models; where it stands."""
    config = _config(connection)
    config.attributes["metadata"] = metadata
    written = command.revision(config, message, autogenerate=True, rev_id=revision)
    assert isinstance(written, Script)
    return Path(written.path)


def _config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_FOLDER).replace("%", "%%"))
    config.set_main_option("file_template", "v%%(rev)s_%%(slug)s")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config
