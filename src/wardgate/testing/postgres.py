"""A real PostgreSQL of our own: made, used and thrown away; nothing of it is shared with any other.

It is reached by a Unix socket in a folder that nobody else may enter, and, where a test asks for it, by TCP with TLS.
The role `wardgate` owns its databases and is nothing more than that; `postgres` administers. PostgreSQL refuses to run
as root, so a test that does runs it as the system's user `postgres`. The methods block; from async code call them
through `asyncio.to_thread`.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

from ..errors import WardgateError
from .certificates import CertificateAuthority, write_private
from .ports import LOOPBACK, free_port
from .processes import Process, run_child

START_S = 60.0
COMMAND_S = 60.0
ROLE = "wardgate"
_SYSTEM_USER = "postgres"
# What is thrown away need not survive a power cut; a test that wants a crash kills the process, which loses nothing.
_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "shared_buffers": "64MB",
    "max_connections": "150",
    "max_wal_size": "256MB",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "log_min_messages": "warning",
    "log_statement": "none",
}


class PostgresCluster:
    """A running cluster; use it as a context manager or call `close`."""

    def __init__(self, initdb: Path, *, tcp: bool = False) -> None:
        """Make and start it. `tcp`: listen on loopback too, with TLS and passwords."""
        self._bin = initdb.resolve().parent
        self.folder = Path(tempfile.mkdtemp(prefix="wg-pg-"))  # short: a socket's path has to fit in 107 bytes
        self.password = secrets.token_hex(16)
        self.ca = CertificateAuthority.create("wardgate test PostgreSQL")
        self.port = free_port()
        self.process: Process | None = None
        self._tcp = tcp
        self._made = 0
        try:
            self._init()
            self.start()
            self.sql(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{self.password}'")
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> PostgresCluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it and throw its folder away."""
        if self.process is not None:
            self.process.send(signal.SIGQUIT)
            self.process.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _socket_folder(self) -> Path:
        return self.folder / "s"

    # --- databases ------------------------------------------------------------------------------------------------

    def url(self, database: str) -> str:
        """How wardgate is told of a database: by the socket."""
        return f"postgresql://{ROLE}@{quote(str(self._socket_folder), safe='')}:{self.port}/{database}"

    def tcp_url(self, database: str, options: str = "", *, password: str | None = None, host: str = LOOPBACK) -> str:
        """The same by TCP, with a password."""
        return f"postgresql://{ROLE}:{password or self.password}@{host}:{self.port}/{database}{options}"

    def create(self, template: str = "template0") -> str:
        """A new database; its name. `template` is one that nobody is connected to."""
        self._made += 1
        name = f"d{self._made}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template} OWNER {ROLE} {'' if template != 'template0' else _C}")
        return name

    def drop(self, name: str) -> None:
        """Throw a database away, whoever is connected to it."""
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def empty(self, name: str) -> None:
        """Take every row out of a database's tables, which are kept, and everybody who is connected to it off.

        Twenty times as fast as a new database, or as TRUNCATE, which syncs a file for each table.
        """
        others = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}' AND pid <> pg_backend_pid()"
        )
        everything = (
            "DO $$ DECLARE one record; BEGIN SET LOCAL session_replication_role = replica; "
            "FOR one IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' "
            "LOOP EXECUTE format('DELETE FROM public.%I', one.tablename); END LOOP; "
            "FOR one IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' "
            "LOOP EXECUTE format('ALTER SEQUENCE public.%I RESTART', one.sequencename); END LOOP; END $$"
        )
        self.sql(f"{others.format(name)}; {everything}", name)

    def sql(self, statement: str, database: str = "postgres") -> str:
        """What a statement answers (unaligned, one row a line), run by the administrator; WardgateError if it fails."""
        return self._run("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", database, "-c", statement)

    def dump(self, name: str) -> bytes:
        """What pg_dump writes of a database: everything that is in it, as SQL; and behind it, binary columns as they
        are, because the dump has them in hexadecimal, where nobody would find a password."""
        written = self._run("pg_dump", "--inserts", "-d", name)
        binary = [bytes.fromhex(found) for found in re.findall(r"\\\\x([0-9a-f]+)", written)]
        return b"\n".join([written.encode(), *binary])

    def _run(self, program: str, *arguments: str) -> str:
        where = ("-h", str(self._socket_folder), "-p", str(self.port), "-U", "postgres")
        status, out, err = run_child([self._bin / program, *where, *arguments], b"", COMMAND_S, env=self._environment())
        if status != 0:
            raise WardgateError("postgres_failed", f"{program} failed: {err.decode(errors='replace').strip()}")
        return out.decode(errors="replace").removesuffix("\n")

    # --- the process ----------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = {
            **_SETTINGS,
            "port": str(self.port),
            "unix_socket_directories": str(self._socket_folder),
            "listen_addresses": LOOPBACK if self._tcp else "",
            "ssl": "on" if self._tcp else "off",
            "ssl_cert_file": str(self.folder / "server.pem"),
            "ssl_key_file": str(self.folder / "server.pem"),
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        argv = [*_as_somebody(), self._bin / "postgres", "-D", self.folder / "data", *options]
        self.process = Process("postgres", argv, self.folder / "log", env=self._environment(), cwd=self.folder)
        deadline = time.monotonic() + START_S
        while True:
            try:
                self.sql("SELECT 1")
            except WardgateError:
                if self.process.returncode is not None or time.monotonic() > deadline:
                    raise self.process.failure("did not start") from None
                time.sleep(0.05)
            else:
                return

    def kill(self) -> None:
        """Lose it, as when its machine dies: every connection breaks. `start` brings it back."""
        assert self.process is not None
        self.process.send(signal.SIGQUIT)  # ends the backends too, without a word to anybody
        self.process.wait(COMMAND_S)

    def _init(self) -> None:
        owner = _owner()
        self._socket_folder.mkdir(mode=0o700)
        write_private(self.folder / "server.pem", self.ca.issue())
        for path in (self.folder, *self.folder.iterdir()):
            if owner is not None:
                os.chown(path, owner.pw_uid, owner.pw_gid)
        argv = [*_as_somebody(), self._bin / "initdb", "-D", self.folder / "data", "-U", "postgres"]
        argv += ["--auth-local=trust", "--auth-host=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(argv, capture_output=True, cwd=self.folder, env=self._environment(), check=False)
        if done.returncode != 0:
            raise WardgateError("postgres_failed", f"initdb failed: {done.stderr.decode(errors='replace').strip()}")

    def _environment(self) -> dict[str, str]:
        """Ours without what libpq reads."""
        return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


_C = "ENCODING 'UTF8' LOCALE 'C'"


def _owner() -> pwd.struct_passwd | None:
    """Who runs it: None is ourselves."""
    if os.geteuid() != 0:
        return None
    with contextlib.suppress(KeyError):
        return pwd.getpwnam(_SYSTEM_USER)
    raise WardgateError(
        "server_missing", "PostgreSQL does not run as root, and there is no user postgres: run tools/setup-system."
    )


def _as_somebody() -> list[str | Path]:
    owner = _owner()
    if owner is None:
        return []
    # Who changes the user forgets whom to die with: so it is said again, behind the change.
    return ["setpriv", f"--reuid={owner.pw_uid}", f"--regid={owner.pw_gid}", "--clear-groups", "--pdeathsig=KILL", "--"]
