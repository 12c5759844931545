"""The clients: which versions there are here, and how each runs its list.

Every list is a program of its own in rows/, in the client's language. It gets one JSON argument {uri, admin_uri, async,
rows} and prints one JSON object a line: {version} first, then a row each. What is not installed is `None` with the line
that installs it, and the report says “not run”.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wardgate.testing import servers

ROOT = Path(__file__).resolve().parents[1]
ROWS = ROOT / "compat" / "rows"
TOOLS = ROOT / ".tools" / "compat"
SETUP = "run tools/setup-compat"
PYMONGO = ("3.13", "4.6", "4.10", "4.13", "4.17", "4.20")
NODE = ("3", "4", "5", "6", "7")
JAVA_JARS = tuple(Path("/usr/share/java") / f"{name}.jar" for name in ("mongodb-driver", "mongodb-driver-core", "bson"))

Command = Callable[[Mapping[str, Any], Path], list[str | Path]]


@dataclass(frozen=True, slots=True)
class Client:
    """One version of one client. `argv` makes the command for what is asked; `why_not` is set where it can't run."""

    name: str
    family: str
    argv: Command
    version: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)
    is_async: bool = False
    newest: bool = False
    middle: bool = False  # between the oldest and the newest version
    why_not: str | None = None
    empty_password: bool = True


def _json_last(*argv: str | Path) -> Command:
    return lambda asked, _home: [*argv, json.dumps(asked)]


def pymongo() -> Iterator[Client]:
    """Each version, sync and (from 4.9 on) async. The newest also without tools/setup-compat: it is in our own lock."""
    extras = TOOLS / "python-extras"
    for version in PYMONGO:
        newest = version == PYMONGO[-1]
        folder = TOOLS / f"pymongo-{version}"
        paths = [str(path) for path in (folder, extras) if path.is_dir()]
        for is_async in (False, True):
            if is_async and tuple(map(int, version.split("."))) < (4, 9):
                continue
            yield Client(
                name=f"PyMongo {version}{' async' if is_async else ''}",
                family="pymongo",
                version=version,
                argv=_json_last(sys.executable, "-m", "compat.rows.pymongo"),
                environment={"PYTHONPATH": os.pathsep.join(paths)} if paths else {},
                is_async=is_async,
                newest=newest,
                middle=version not in (PYMONGO[0], PYMONGO[-1]),
                why_not=None if newest or folder.is_dir() else SETUP,
                empty_password=False,  # PyMongo itself refuses an empty password
            )


def node() -> Iterator[Client]:
    """One of each major version."""
    program = servers.find(servers.NODE)
    ours = servers.node_modules()
    for version in NODE:
        newest = version == NODE[-1]
        folder = TOOLS / "npm" / "node_modules"
        driver = folder / f"mongodb-{version}"
        if newest and not driver.is_dir() and ours is not None:
            folder, driver = ours, ours / "mongodb"
        yield Client(
            name=f"Node driver {version}",
            family="node",
            version=version,
            argv=_json_last(program or "node", "--no-warnings", ROWS / "node" / "main.cjs"),
            environment={"NODE_PATH": str(folder), "COMPAT_DRIVER": str(driver)},
            newest=newest,
            middle=version not in (NODE[0], NODE[-1]),
            why_not=None if program and driver.is_dir() else SETUP,
        )


def mongosh() -> Iterator[Client]:
    """The shell. It adds directConnection=true by itself where the URI has one address and no replicaSet."""
    program = servers.find(servers.MONGOSH)

    def argv(asked: Mapping[str, Any], home: Path) -> list[str | Path]:
        ask = home / "asked.json"
        ask.write_text(json.dumps(asked))
        quiet = ("--quiet", "--norc")
        told = f"var ASKED = {json.dumps(str(ask))}"
        return [program or "mongosh", asked["uri"], *quiet, "--eval", told, "--file", ROWS / "mongosh" / "main.js"]

    yield Client(
        name="mongosh",
        family="mongosh",
        argv=argv,
        newest=True,
        why_not=None if program else SETUP,
    )


def debian() -> Iterator[Client]:
    """Debian's drivers for PHP (libmongoc), Perl and Java."""
    php, perl, java = (shutil.which(name) for name in ("php", "perl", "java"))
    extension = any(Path("/usr/lib/php").glob("*/mongodb.so")) if php else False
    module = Path("/usr/share/perl5/MongoDB.pm").is_file()
    yield Client(
        name="PHP (libmongoc)",
        family="php",
        argv=_json_last(php or "php", ROWS / "php" / "main.php"),
        newest=True,
        why_not=None if php and extension else f"{SETUP} as root",
    )
    yield Client(
        name="Perl",
        family="perl",
        argv=_json_last(perl or "perl", ROWS / "perl" / "main.pl"),
        newest=True,
        why_not=None if perl and module else f"{SETUP} as root",
        empty_password=False,
    )
    jars = os.pathsep.join(str(jar) for jar in JAVA_JARS)
    yield Client(
        name="Java 3.6",
        family="java",
        argv=_json_last(java or "java", "-cp", jars, ROWS / "java" / "Main.java"),
        newest=True,
        why_not=None if java and all(jar.is_file() for jar in JAVA_JARS) else f"{SETUP} as root",
    )


def tools() -> Iterator[Client]:
    """mongodump and its kin, where somebody has them: no registry here does."""
    folder = os.environ.get("WARDGATE_MONGOTOOLS", "")
    yield Client(
        name="database tools",
        family="tools",
        argv=_json_last(sys.executable, ROWS / "tools" / "main.py"),
        environment={"COMPAT_TOOLS": folder},
        newest=True,
        why_not=None
        if folder and (Path(folder) / "mongodump").is_file()
        else "name their folder in WARDGATE_MONGOTOOLS",
        empty_password=False,
    )


def all_clients() -> list[Client]:
    """Every client, installed or not."""
    return [*pymongo(), *node(), *mongosh(), *debian(), *tools()]


def environment(client: Client, home: Path) -> dict[str, str]:
    """What its program gets: no setting of ours or of this user, a home of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("WARDGATE_", "PYTHON"))}
    return {**kept, "HOME": str(home), **client.environment}


def named(clients: Sequence[Client], wanted: Sequence[str]) -> list[Client]:
    """Those whose name or family was asked for; all without a wish."""
    if not wanted:
        return list(clients)
    return [each for each in clients if each.family in wanted or each.name in wanted]
