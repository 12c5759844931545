"""`server init`: a new control plane in an empty folder, whole or not at all.

An embedded database is made under another name and gets its own when everything is in it, so that an attempt that fails
leaves nothing that would be taken for a control plane. On PostgreSQL the tables may stay behind; what makes them a
control plane, its authorities and its first administrator, comes in one transaction, last.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import Connection, inspect, select

from ..errors import WardgateError
from ..net import folder
from ..secret import Secret
from . import first_run
from . import schema as _schema  # every model, before a migration looks at them
from .db import Database, migrate
from .db.engine import sqlite_url
from .identity.service import normal_email
from .services import install
from .sources import Sources
from .vault import MasterKey, Vault, master, providers
from .vault.model import AuthorityRow

DATABASE = "wardgate.db"
DATABASE_VARIABLE = "WARDGATE_DATABASE_URL"
_UNFINISHED = "wardgate.db.new"
_SUFFIXES = ("", "-wal", "-shm")

assert _schema


@dataclass(frozen=True, slots=True)
class InitOptions:
    """The flags of `server init`. Without an administrator, the first-run page makes one (`first_run`)."""

    data_dir: Path
    admin_email: str | None
    admin_password: Secret | None
    organisation: str
    master_key_file: Path | None = None
    database_url: str | None = field(default=None, repr=False)  # None: embedded


async def initialise(options: InitOptions, sources: Sources | None = None) -> Path | None:
    """Make it. Answers the master key's file, None if the key came from the environment."""
    sources = sources or Sources()
    if options.admin_email is not None:
        normal_email(options.admin_email)
    os.umask(0o077)
    data_dir = options.data_dir
    with folder.claim(data_dir):
        _make_private(data_dir)
        if (data_dir / DATABASE).exists():
            raise WardgateError("already_initialised", f"{data_dir} has a control plane already: name another folder.")
        if options.database_url is not None:
            await _refuse_full(options.database_url)
        key, path, made = _master_key(options, sources)
        try:
            if options.admin_email is None:
                first_run.write_code(data_dir, sources.randomness(first_run.CODE_BYTES))
            if options.database_url is not None:
                await _fill(Database(options.database_url), key, options, sources)
            else:
                _remove(data_dir / _UNFINISHED)
                await _fill(Database(sqlite_url(data_dir / _UNFINISHED)), key, options, sources)
                (data_dir / _UNFINISHED).rename(data_dir / DATABASE)
        except BaseException:
            _remove(data_dir / _UNFINISHED)
            (data_dir / first_run.SETUP_CODE).unlink(missing_ok=True)
            if made and path is not None:
                path.unlink(missing_ok=True)
            raise
    return path


def new_master_key(data_dir: Path, named: Path | None, sources: Sources | None = None) -> tuple[Path, str]:
    """Add a key to the file of the present ones: (the file, the new key's id). WardgateError where there is none."""
    path = providers.file_of(providers.choose(data_dir, named))
    present = master.load(path)
    raw = (sources or Sources()).randomness(master.KEY_BYTES)
    lines = [master.encode(key.key.reveal()) for key in present] + [master.encode(raw)]
    text = "".join(line + "\n" for line in lines)
    master.decode_all(text, str(path))  # refuses more keys than a file may hold
    folder.write_private(path, text.encode())
    return path, MasterKey.of(raw).key_id


async def drop_master_keys(data_dir: Path, named: Path | None, url: str | None) -> tuple[Path, int]:
    """Leave the newest key alone in its file: (the file, how many went). WardgateError while another seals anything."""
    path = providers.file_of(providers.choose(data_dir, named))
    keys = master.load(path)
    database = Database(url or sqlite_url(data_dir / DATABASE))
    try:
        await check_made(database, data_dir)
        vault = Vault(keys, Sources())
        async with database.read() as session:
            needed = {await vault.current_id(session), *await vault.wrapped(session)}
    finally:
        await database.close()
    if needed != {keys[-1].key_id}:
        raise WardgateError("master_key_in_use", "An older key still seals something: run wardgate vault rotate.")
    folder.write_private(path, (master.encode(keys[-1].key.reveal()) + "\n").encode())
    return path, len(keys) - 1


def database_url(named: Path | None) -> str | None:
    """The URL of the database, from the file that was named or the environment; None: the embedded one.

    WardgateError if others can read the file, or if both say something.
    """
    text = os.environ.get(DATABASE_VARIABLE)
    if named is None:
        return text or None
    if text:
        raise WardgateError("usage", f"--database-url-file and {DATABASE_VARIABLE} are both given: name one database.")
    content = folder.read_private(named)
    if content is None:
        raise WardgateError("no_database_url", f"There is no file {named}, which --database-url-file names.")
    return content.decode("utf-8", "replace").strip()


async def check_made(database: Database, data_dir: Path) -> None:
    """WardgateError `not_initialised` for a database that `server init` did not finish, or never saw."""
    if database.address is None:
        is_made = (data_dir / DATABASE).is_file()
    else:
        is_made = await _is_full(database)
    if not is_made:
        where = str(data_dir) if database.address is None else f"The {database.address}"
        raise WardgateError("not_initialised", f"{where} holds no control plane: make one with wardgate server init.")


async def _refuse_full(url: str) -> None:
    database = Database(url)
    try:
        if await _is_full(database):
            raise WardgateError(
                "already_initialised",
                f"The {database.address} holds a control plane already: start another node of it with server run, or "
                "name an empty database.",
            )
    finally:
        await database.close()


async def _is_full(database: Database) -> bool:
    """Whether a control plane is in a PostgreSQL database."""
    found: list[bool] = []

    def look(connection: Connection) -> None:
        there = inspect(connection).has_table(AuthorityRow.__tablename__)
        found.append(there and connection.execute(select(AuthorityRow.name).limit(1)).first() is not None)

    async with database.read() as session:
        await (await session.connection()).run_sync(look)
    return found[0]


def _master_key(options: InitOptions, sources: Sources) -> tuple[MasterKey, Path | None, bool]:
    """(the key, its file, whether it was made now)."""
    provider = providers.choose(options.data_dir, options.master_key_file)
    if not isinstance(provider, providers.KeyFile):
        return provider.load()[-1], None, False
    path = provider.path
    if path.exists():
        return master.load(path)[-1], path, False
    return master.create(path, sources.randomness(master.KEY_BYTES)), path, True


async def _fill(database: Database, key: MasterKey, options: InitOptions, sources: Sources) -> None:
    try:
        await database.run(migrate.upgrade)
        await install(
            database,
            key,
            organisation=options.organisation,
            admin_email=options.admin_email,
            admin_password=options.admin_password,
            sources=sources,
        )
    finally:
        await database.close()


def _make_private(data_dir: Path) -> None:
    """0700. A folder with something in it that others may enter is for its owner to decide about."""
    if not data_dir.stat().st_mode & 0o077:
        return
    if any(entry.name != "lock" for entry in data_dir.iterdir()):
        raise WardgateError("folder_exposed", f"The folder {data_dir} is open to others: run chmod 700 {data_dir}.")
    data_dir.chmod(0o700)


def _remove(path: Path) -> None:
    for suffix in _SUFFIXES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
