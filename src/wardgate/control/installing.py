"""`server init`: a new control plane in an empty folder, whole or not at all.

The database is made under another name and gets its own when everything is in it, so that an attempt that fails leaves
nothing that would be taken for a control plane.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ..errors import WardgateError
from ..net import folder
from ..secret import Secret
from . import schema as _schema  # every model, before a migration looks at them
from .db import Database, migrate
from .db.engine import sqlite_url
from .identity.service import normal_email
from .services import install
from .sources import Sources
from .vault import MasterKey, master

DATABASE = "wardgate.db"
MASTER_KEY = "master.key"
_UNFINISHED = "wardgate.db.new"
_SUFFIXES = ("", "-wal", "-shm")

assert _schema


@dataclass(frozen=True, slots=True)
class InitOptions:
    """The flags of `server init`."""

    data_dir: Path
    admin_email: str
    admin_password: Secret
    organisation: str
    master_key_file: Path | None = None


async def initialise(options: InitOptions, sources: Sources | None = None) -> Path | None:
    """Make it. Answers the master key's file, None if the key came from the environment."""
    sources = sources or Sources()
    normal_email(options.admin_email)
    os.umask(0o077)
    data_dir = options.data_dir
    with folder.claim(data_dir):
        _make_private(data_dir)
        if (data_dir / DATABASE).exists():
            raise WardgateError("already_initialised", f"{data_dir} has a control plane already: name another folder.")
        key, path, made = _master_key(options, sources)
        try:
            await _fill(data_dir / _UNFINISHED, key, options, sources)
            (data_dir / _UNFINISHED).rename(data_dir / DATABASE)
        except BaseException:
            _remove(data_dir / _UNFINISHED)
            if made and path is not None:
                path.unlink(missing_ok=True)
            raise
    return path


def load_master_key(data_dir: Path, named: Path | None) -> MasterKey:
    """The master key of a control plane that exists: the file that was named, the environment, the data folder."""
    text = os.environ.get(master.VARIABLE)
    if named is None and text:
        return master.decode(text, master.VARIABLE)
    return master.load(named or data_dir / MASTER_KEY)


def _master_key(options: InitOptions, sources: Sources) -> tuple[MasterKey, Path | None, bool]:
    """(the key, its file, whether it was made now)."""
    if options.master_key_file is None and os.environ.get(master.VARIABLE):
        return load_master_key(options.data_dir, None), None, False
    path = options.master_key_file or options.data_dir / MASTER_KEY
    if path.exists():
        return master.load(path), path, False
    return master.create(path, sources.randomness(master.KEY_BYTES)), path, True


async def _fill(path: Path, key: MasterKey, options: InitOptions, sources: Sources) -> None:
    _remove(path)
    database = Database(sqlite_url(path))
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
