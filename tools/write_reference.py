"""Write what the documentation says about names: commands, options, endpoints, codes, variables, numbers.

    .venv/bin/python tools/write_reference.py [--check]

A page holds generated blocks between `<!-- begin NAME: … -->` and `<!-- end NAME -->`; everything else in it is written
by hand. What a name means comes from its place in the code (help texts, docstrings, comments); only where the code has
no room for a sentence does it stand here, in a table that must know every name and no other.

`--check` changes nothing and ends with 1 if a page is not what would be written; tests/docs does the same.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import click

from wardgate.api.models import EndReason
from wardgate.api.problems import _FACTS, ProblemCode
from wardgate.cli import exits
from wardgate.cli.exits import Exit, exit_code_of_end
from wardgate.cli.lazy import LazyGroup, load
from wardgate.cli.main import root
from wardgate.numbers import Numbers
from wardgate.policy.decide import Rule

ROOT: Final = Path(__file__).resolve().parents[1]
SOURCE: Final = ROOT / "src" / "wardgate"
PAGES: Final = ("docs/cli.md", "docs/api.md", "docs/formats.md", "docs/operations.md", "docs/security.md")
_BLOCK = re.compile(r"(<!-- begin (?P<name>[a-z-]+): [^\n]*-->\n).*?(<!-- end (?P=name) -->)", re.DOTALL)

# --- sentences that the code has no place for ----------------------------------------------------------------------

VARIABLES: Final = {
    "WARDGATE_CA_FILE": ("CLI, gateway, relay", "A private CA (PEM) to trust for HTTPS too, as `--ca-file`."),
    "WARDGATE_CHROMIUM": ("tests", "A chromium."),
    "WARDGATE_CONFIG_DIR": ("CLI", "The folder of `logins.json`; default: the platform's place for settings."),
    "WARDGATE_DATABASE_URL": (
        "`server`",
        "A PostgreSQL database, `postgresql://user:password@host:port/database?sslmode=…`; default: an embedded one.",
    ),
    "WARDGATE_DOMAIN": ("CLI", "The control plane, as `--domain`."),
    "WARDGATE_ENROLMENT_TOKEN": ("`gateway run`, `relay run`", "The enrolment token, needed once."),
    "WARDGATE_GATEWAY_DNS": (
        "`gateway run`",
        "The one DNS server to ask for databases, `address:port`; default: the system's resolver.",
    ),
    "WARDGATE_GATEWAY_OIDC_HOSTS": (
        "`gateway run`",
        "The hosts that may get the gateway's OIDC token, `db1.example.com,*.example.net`; default: none.",
    ),
    "WARDGATE_GATEWAY_OIDC_TOKEN_FILE": (
        "`gateway run`",
        "The file with the gateway's OIDC token, for accounts with MONGODB-OIDC; read at every login.",
    ),
    "WARDGATE_HAPROXY": ("tests, bench", "A haproxy."),
    "WARDGATE_MASTER_KEY": (
        "`server`",
        "The master key itself (`wgm1_…`), in place of its file; two while one replaces the other.",
    ),
    "WARDGATE_MONGOD": ("demo, tests, bench", "A mongod."),
    "WARDGATE_MONGOSH": ("demo, tests", "A mongosh."),
    "WARDGATE_NODE": ("tests", "A Node."),
    "WARDGATE_PG_BIN": ("tests", "The folder of PostgreSQL's programs."),
    "WARDGATE_PRIVATE_HOSTS": (
        "`server run`",
        "The hosts in private networks (or on this machine) that settings may send requests to, `a,b`; default: none.",
    ),
    "WARDGATE_SMTP_FROM": ("`server run`", "The sender of its mail."),
    "WARDGATE_RECORDS_STORE": (
        "`server run`",
        "Where new records are kept: `s3://bucket/prefix?endpoint=…&region=…` ; default: the data folder.",
    ),
    "WARDGATE_SMTP_URL": (
        "`server run`",
        "The mail server: `smtp://user:password@host:587` or `smtps://…:465`; without it there is no mail.",
    ),
    "WARDGATE_SMTP_URL_FILE": ("`server run`", "A file that holds that URL."),
    "WARDGATE_TOKEN": ("CLI", "A token, or the client secret of a service, in place of the stored login."),
    "WARDGATE_URI": ("clients", "Set by `pam db access -- CLIENT`: the session's URI."),
}
END_REASONS: Final = {
    EndReason.CLIENT_CLOSED: "The user ended it: Ctrl+C or SIGTERM at the local proxy.",
    EndReason.EXPIRED: "Its time was over.",
    EndReason.TERMINATED: "Somebody who may ended it.",
    EndReason.IDLE: "It ran no command for longer than its account allows.",
    EndReason.CLIENT_LOST: "The local proxy was silent for 45 s.",
    EndReason.GATEWAY_LOST: "No gateway renewed the lease in time.",
    EndReason.RIGHTS_LOST: "The user lost the role, or the account or the gateway was taken away.",
    EndReason.AUDIT_FAILED: "A record could not be written.",
    EndReason.FAILED_TO_START: "It was never ready.",
}
# Help of the options that most commands have; docs/cli.md explains them once.
SHARED: Final = frozenset(
    {
        "The control plane (or WARDGATE_DOMAIN).",
        "Trust this private CA for HTTPS too (or WARDGATE_CA_FILE).",
        "Print JSON; an error is a problem document.",
        "The project's id (prj_…).",
    }
)
RULES: Final = {
    Rule.COLLECTION_BY_UUID: "commands that name a collection by its UUID",
    Rule.CREDENTIALS: "reading or changing `admin.system.users`, and asking for credentials",
    Rule.INTERNAL_COMMAND: "commands that servers send each other",
    Rule.LOGIN_COMMAND: "logins: answered by the gateway, also with `allow_admin`",
    Rule.TRANSACTION_ELSEWHERE: "a statement of a transaction that did not begin at this instance of the gateway",
    Rule.OTHERS_WORK: "killing operations, cursors and logical sessions that are not this session's own",
    Rule.REPLICATION_COMMAND: "changing the replica set",
    Rule.SERVER_COMMAND: "changing the server or its settings, shutting it down",
    Rule.SHARDING_COMMAND: "changing the sharded cluster",
    Rule.SYSTEM_COLLECTION: "writing to `config`, `local` and `admin.system.*`",
    Rule.UNKNOWN_COMMAND: "commands that wardgate does not know",
    Rule.USERS_COMMAND: "creating or changing users and roles",
}

# --- CLI -----------------------------------------------------------------------------------------------------------


def commands() -> Iterator[tuple[str, click.Command]]:
    """Every command that does something, by its full name, in the order of the help."""
    yield from _commands("wardgate", root)


def _commands(path: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, LazyGroup):
        for name, place in command._table.items():
            yield from _commands(f"{path} {name}", load(place))
    elif isinstance(command, click.Group) and command.commands:
        if command.invoke_without_command:
            yield path, command
        for name, child in command.commands.items():
            yield from _commands(f"{path} {name}", child)
    else:
        yield path, command


def command_blocks() -> str:
    """One section for each command: its help, its usage, its options."""
    return "\n".join(_command(path, command) for path, command in commands())


def _command(path: str, command: click.Command) -> str:
    arguments = [each for each in command.params if isinstance(each, click.Argument) and each.nargs != -1]
    options = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    usage = " ".join([path, *map(_argument, arguments), *map(_usage, options)])
    lines = [f"### {path}", "", inspect.cleandoc(command.help or "").strip(), "", "```", *_wrapped(usage), "```", ""]
    own = [each for each in options if each.help not in SHARED]
    if own:
        lines += ["| option | |", "|---|---|"]
        lines += [f"| {_names(each)} | {_help(each)} |" for each in own]
        lines.append("")
    return "\n".join(lines)


def _argument(argument: click.Argument) -> str:
    name = argument.human_readable_name
    return name if argument.required else f"[{name}]"


def _usage(option: click.Option) -> str:
    name = max(option.opts, key=len)
    text = name if option.is_flag else f"{name} {_metavar(option)}"
    return text if option.required else f"[{text}]"


def _metavar(option: click.Option) -> str:
    if option.metavar:
        return option.metavar
    if isinstance(option.type, click.Choice):
        return "|".join(map(str, option.type.choices))
    if isinstance(option.type, click.Path):
        return "FOLDER" if not option.type.file_okay else "FILE"
    if isinstance(option.type, click.types.IntParamType):
        return "N"
    return (option.name or "").rpartition("_")[2].upper()


def _names(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in option.opts)
    if option.secondary_opts:
        names += ", " + ", ".join(f"`{name}`" for name in option.secondary_opts)
    return names


def _help(option: click.Option) -> str:
    parts = [(option.help or "").strip()]
    if option.required:
        parts.append("Required.")
    if option.show_default and option.default is not None:
        parts.append(f"Default: `{option.default}`.")
    return _cell(" ".join(parts))


def _wrapped(usage: str, width: int = 100) -> list[str]:
    lines, line = [], ""
    for word in re.findall(r"\[[^]]*\]|\S+ (?=[A-Z]+\b)[A-Z:|]+|\S+", usage):
        if line and len(line) + 1 + len(word) > width:
            lines.append(line)
            line = "    " + word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line]


def exit_codes() -> str:
    """The exit codes, from the table in the code."""
    rows = re.findall(r"^\| (\d+) \| (.*) \|$", exits.__doc__ or "", re.MULTILINE)
    if [int(code) for code, _ in rows] != sorted(Exit):
        raise SystemExit("the table of exit codes in cli/exits.py does not fit its enum")
    return _table(["code", "meaning"], [[code, meaning] for code, meaning in rows])


def end_reasons() -> str:
    """Why sessions end, and the exit code of `pam db access` then."""
    _must_know(END_REASONS, EndReason)
    rows = [[f"`{reason.value}`", END_REASONS[reason], str(exit_code_of_end(reason.value))] for reason in EndReason]
    return _table(["end reason", "meaning", "exit code"], rows)


def error_codes() -> str:
    """Codes of errors that do not come from the API, with their exit codes."""
    found = {code: int(exit_code) for code, exit_code in exits._BY_CODE.items()}
    for path in sorted((SOURCE / "cli").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "ExitError" and len(node.args) == 3:
                code, _, exit_code = node.args
                if isinstance(code, ast.Constant) and isinstance(exit_code, ast.Attribute):
                    found[str(code.value)] = int(Exit[exit_code.attr])
    return _table(["code", "exit code"], [[f"`{code}`", str(found[code])] for code in sorted(found)])


def variables() -> str:
    """Every environment variable that the code reads."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        found |= set(re.findall(r"WARDGATE_[A-Z_]+[A-Z]", path.read_text()))
    _must_know(VARIABLES, found)
    rows = [[f"`{name}`", *VARIABLES[name]] for name in sorted(found)]
    return _table(["variable", "read by", "meaning"], rows)


# --- API -----------------------------------------------------------------------------------------------------------


def endpoints() -> str:
    """Every endpoint with what it needs, in the order of the OpenAPI document."""
    from wardgate.control.web.routes import endpoints as all_of

    app = asyncio.run(_app())
    summaries = {
        (method.upper(), path): operation
        for path, methods in app.openapi()["paths"].items()
        for method, operation in methods.items()
    }
    rows = []
    for each in all_of(app):
        operation = summaries.get((each.method, each.path), {})
        needs = f"`{each.permission.value}`" if each.permission else "nothing"
        rows.append([f"`{each.method} {each.path}`", needs, _first_sentence(operation)])
    return _table(["endpoint", "permission", ""], rows)


def _first_sentence(operation: dict[str, Any]) -> str:
    text = " ".join((operation.get("description") or operation.get("summary") or "").split())
    return _cell(text)


async def _app() -> Any:
    """The application over an empty installation in a temporary folder."""
    from wardgate.control.db import Base, Database
    from wardgate.control.db.engine import sqlite_url
    from wardgate.control.identity.passwords import Cost, PasswordHasher
    from wardgate.control.services import install, open_services
    from wardgate.control.settings import DoorSettings, Settings
    from wardgate.control.vault import MasterKey
    from wardgate.control.web import create_app
    from wardgate.secret import Secret

    with tempfile.TemporaryDirectory(prefix="wardgate-reference-") as name:
        folder = Path(name)
        database, master = Database(sqlite_url(folder / "wardgate.db")), MasterKey.of(bytes(32))
        hasher = PasswordHasher(Cost(memory_kib=8, iterations=1))
        await database.run(Base.metadata.create_all)
        await install(
            database,
            master,
            organisation="reference",
            admin_email="admin@example.com",
            admin_password=Secret("only for a moment"),
            hasher=hasher,
        )
        settings = Settings(folder, "http://127.0.0.1:8400", DoorSettings(hosts=frozenset()))
        services = await open_services(settings, database, [master], hasher=hasher)
        app = create_app(services)
        await services.close()
        return app


def problems() -> str:
    """Problem codes, HTTP status and exit code."""
    rows = [[f"`{code.value}`", str(_FACTS[code][0]), str(_FACTS[code][1]), _FACTS[code][2]] for code in ProblemCode]
    return _table(["code", "HTTP status", "exit code of the CLI", "title"], rows)


def roles() -> str:
    """Permissions by role."""
    from wardgate.control.identity.permissions import MACHINE, ROLE_PERMISSIONS, SELF, Permission, Role

    rows = []
    for permission in Permission:
        marks = ["yes" if permission in ROLE_PERMISSIONS[role] else "" for role in Role]
        if permission in SELF:
            marks = ["any login"] * len(marks)
        elif permission in MACHINE:
            marks = ["machines only"] * len(marks)
        rows.append([f"`{permission.value}`", *marks])
    return _table(["permission", *(role.value for role in Role)], rows)


def events() -> str:
    """Kinds of events of the control plane's audit log."""
    from wardgate.control.audit_log import Event

    return ", ".join(f"`{event.value}`" for event in Event) + ".\n"


def hop_codes() -> str:
    """Codes of a connection test's hops."""
    from wardgate.gateway.mongo.errors import Code

    return ", ".join(f"`{code.value}`" for code in Code) + ".\n"


def frames() -> str:
    """Every frame of the tunnel: from whom to whom, its fields, its meaning."""
    from wardgate.tunnel import frames as tunnel

    dialects = {
        "local proxy → gateway, control stream": tunnel.TO_GATEWAY,
        "gateway → local proxy, control stream": tunnel.TO_CLIENT,
        "local proxy → gateway, data stream": tunnel.PREFACE,
        "gateway → relay": tunnel.TO_RELAY,
        "relay → gateway": tunnel.FROM_RELAY,
    }
    rows = []
    for way, dialect in dialects.items():
        for kind, model in dialect._models.items():
            fields = ", ".join(f"`{name}`" for name in model.model_fields if name != "t")
            rows.append([way, f"`{kind}`", fields, _cell(inspect.getdoc(model) or "")])
            way = ""
    return _table(["", "`t`", "fields", ""], rows)


def rules() -> str:
    """The default policy's rules."""
    _must_know(RULES, Rule)
    return _table(["rule", "refuses"], [[f"`{rule.value}`", RULES[rule]] for rule in Rule])


# --- numbers -------------------------------------------------------------------------------------------------------


def numbers() -> str:
    """Every deadline and cap, with the comments of the code as headings."""
    lines = inspect.getsource(Numbers).splitlines()
    defaults, rows = Numbers(), []
    group = ""
    for line in lines:
        stripped = line.strip()
        if stripped.startswith("# "):
            group = stripped.removeprefix("# ").partition(":")[0].rstrip(".")
        elif found := re.match(r"(\w+): (?:int|float) = .*?(?:  # (.*))?$", stripped):
            name, reason = found[1], found[2] or ""
            rows.append([group, f"`{name}`", _number(name, getattr(defaults, name)), _cell(reason)])
            group = ""
    return _table(["", "name", "value", ""], rows)


def _number(name: str, value: float) -> str:
    if name.endswith("_bytes"):
        for unit, size in (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024)):
            if value >= size and value % size == 0 and value < 1024 * size:
                return f"{value // size} {unit}"
        return f"{value:,} bytes"
    if isinstance(value, int):
        return f"{value:,}"
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if value >= size and value % size == 0:
            return f"{value / size:g} {unit}"
    return f"{value:g} s"


# --- pages ---------------------------------------------------------------------------------------------------------

BLOCKS: Final[dict[str, Callable[[], str]]] = {
    "commands": command_blocks,
    "end-reasons": end_reasons,
    "endpoints": endpoints,
    "error-codes": error_codes,
    "events": events,
    "exit-codes": exit_codes,
    "frames": frames,
    "hop-codes": hop_codes,
    "numbers": numbers,
    "problems": problems,
    "roles": roles,
    "rules": rules,
    "variables": variables,
}


def render(text: str) -> str:
    """The page with its blocks as they should be; KeyError for a block that nothing writes."""
    return _BLOCK.sub(lambda found: f"{found[1]}\n{BLOCKS[found['name']]().rstrip()}\n\n{found[3]}", text)


def blocks_of(text: str) -> set[str]:
    """The names of the blocks in a page."""
    return {found["name"] for found in _BLOCK.finditer(text)}


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _must_know(table: Any, names: Any) -> None:
    """The table has a sentence for each of `names`, and for nothing else."""
    missing, gone = set(names) - set(table), set(table) - set(names)
    if missing or gone:
        raise SystemExit(f"tools/write_reference.py: no sentence for {sorted(missing)}, nothing left of {sorted(gone)}")


def main() -> int:
    """Write, or check."""
    stale = []
    for name in PAGES:
        path = ROOT / name
        text = path.read_text(encoding="utf-8")
        if (wanted := render(text)) != text:
            stale.append(name)
            if "--check" not in sys.argv[1:]:
                path.write_text(wanted, encoding="utf-8")
    if stale:
        sys.stdout.write(f"{'stale' if '--check' in sys.argv[1:] else 'written'}: {', '.join(stale)}\n")
    return 1 if stale and "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
