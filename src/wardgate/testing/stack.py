"""The whole product on this machine: control plane with relay, gateway and local proxies, each a process of its own.

It does what a person does, with the commands that a person types (docs/cli.md), and reads what
they print; it has no private door. The demo and the end-to-end tests both stand on it.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import WardgateError
from .certificates import write_private
from .mongo import Login, MongoDeployment
from .ports import LOOPBACK, free_ports
from .processes import Process, ProcessFailedError, run_child

READY_S = 30.0
COMMAND_S = 60.0
LOGS_S = 900.0  # a log of a hundred thousand commands on a busy machine
END_S = 15.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What one command of the CLI said."""

    argv: tuple[str, ...]
    status: int
    out: str
    err: str

    def json(self) -> Any:
        """The one document on standard output."""
        return json.loads(self.out)

    def json_lines(self) -> list[dict[str, Any]]:
        """One document a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    def problem(self) -> dict[str, Any]:
        """The problem document that an error with --json puts on standard error."""
        found: dict[str, Any] = json.loads(self.err)
        return found


class CommandFailedError(WardgateError):
    """A command that had to succeed did not."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(
            "command_failed",
            f"“{' '.join(answer.argv)}” ended with exit status {answer.status}:\n{answer.err or answer.out}",
        )
        self.answer = answer


class Wardgate:
    """The installed `wardgate` command as one person runs it: with a login folder and a domain of their own."""

    def __init__(self, folder: Path, domain: str, *, executable: Path | None = None) -> None:
        self.folder = folder
        self.domain = domain
        self.config = folder / "me"
        self.executable = executable or find_executable()
        self.variables: dict[str, str] = {}  # of its surroundings, for every command
        self.answers: list[Answer] = []  # everything that was said: what a test for leaks reads

    def environment(self, extra: Mapping[str, str] | None = None) -> dict[str, str]:
        """Ours without any WARDGATE_ variable, and those of this person.

        Compiled modules are kept whatever our own environment says: a stack starts dozens of short programs.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WARDGATE_")}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        return {
            **kept,
            "WARDGATE_DOMAIN": self.domain,
            "WARDGATE_CONFIG_DIR": str(self.config),
            **self.variables,
            **(extra or {}),
        }

    def run(
        self,
        *arguments: str | Path,
        stdin: str | None = None,
        check: bool = True,
        env: Mapping[str, str] | None = None,
        timeout: float = COMMAND_S,
    ) -> Answer:
        """Run one command to its end; CommandFailedError if it fails and `check` is set."""
        argv = [str(part) for part in arguments]
        status, out, err = run_child(
            [self.executable, *argv],
            (stdin or "").encode(),
            timeout,
            env=self.environment(env),
            cwd=self.folder,
        )
        answer = Answer(("wardgate", *argv), status, out.decode(), err.decode())
        self.answers.append(answer)
        if check and answer.status != 0:
            raise CommandFailedError(answer)
        return answer

    def start(self, name: str, *arguments: str | Path, stdin: bytes | None = None) -> Process:
        """Start one command that stays up; its log is `name.log` in the folder."""
        argv = [self.executable, *arguments]
        return Process(name, argv, self.folder, env=self.environment(), cwd=self.folder, stdin=stdin)


class Access:
    """One `wardgate pam db access --json` and its events."""

    def __init__(self, process: Process, ready: dict[str, Any]) -> None:
        self.process = process
        self.session_id: str = ready["session_id"]
        self.uri: str = ready["uri"]
        self.replica_set_uri: str | None = ready["replica_set_uri"]
        self.port: int = ready["port"]
        self.members: list[dict[str, str]] = ready["members"]
        self.expires_at: str = ready["expires_at"]

    def __enter__(self) -> Access:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stop()

    def events(self) -> list[dict[str, Any]]:
        """All events so far."""
        return [json.loads(line) for line in list(self.process.lines)]

    def wait_event(self, event: str, timeout: float = READY_S) -> dict[str, Any]:
        """The first such event; ProcessFailedError if none comes."""
        return wait_event(self.process, event, timeout)

    def close(self) -> dict[str, Any]:
        """Ctrl+C, and the `ended` event."""
        self.process.interrupt()
        ended = self.wait_event("ended", END_S)
        self.process.wait(END_S)
        return ended


class Stack:
    """Control plane, embedded relay and one gateway in `folder`; the steps are called in their order."""

    def __init__(self, folder: Path, *, executable: Path | None = None) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.api_port, self.relay_port = free_ports(2)
        self.admin_email = "admin@example.com"
        self.password_path = write_private(folder / "pw", f"Adm1n/{secrets.token_hex(12)}\n".encode())
        self.wardgate = Wardgate(folder, f"http://{LOOPBACK}:{self.api_port}", executable=executable)
        self.project_id = ""
        self.server: Process | None = None
        self.gateways: dict[str, Process] = {}
        self.relays: dict[str, Process] = {}
        self.accesses: list[Access] = []

    def __enter__(self) -> Stack:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def domain(self) -> str:
        """The control plane's URL."""
        return self.wardgate.domain

    @property
    def admin_password(self) -> str:
        """The first administrator's password, without the final newline of its file."""
        return self.password_path.read_text().removesuffix("\n")

    def up(self, gateway: str = "near-db", project: str = "shop") -> Stack:
        """Everything up to an enrolled gateway that is online."""
        self.init_server()
        self.start_server()
        self.login()
        self.create_project(project)
        self.start_gateway(gateway, self.create_gateway(gateway))
        return self

    def init_server(self) -> None:
        """`server init`: the database and the first administrator."""
        self.wardgate.run(
            *("server", "init", "--data-dir", self.folder / "wg", "--admin-email", self.admin_email),
            "--admin-password-stdin",
            stdin=self.password_path.read_text(),
        )

    def start_server(self, *options: str, relay: bool = True) -> Process:
        """`server run`, with the embedded relay unless that is not wanted."""
        listening = ("--relay-listen", f"{LOOPBACK}:{self.relay_port}") if relay else ()
        self.server = self.wardgate.start(
            "server",
            *("server", "run", "--data-dir", self.folder / "wg", "--listen", f"{LOOPBACK}:{self.api_port}"),
            *(*listening, *options, "--json"),
        )
        wait_event(self.server, "ready")
        return self.server

    def login(self) -> None:
        """`login` as the first administrator."""
        self.wardgate.run(
            "login", "--email", self.admin_email, "--password-stdin", stdin=self.password_path.read_text()
        )

    def create_project(self, name: str) -> str:
        """`project create`; its id, which the later steps use."""
        self.project_id = self.wardgate.run("project", "create", name, "--json").json()["id"]
        return self.project_id

    def create_gateway(self, name: str) -> str:
        """`gateway create`; the enrolment token."""
        created = self.wardgate.run("gateway", "create", name, "--project-id", self.project_id, "--json").json()
        token: str = created["token"]
        return token

    def gateway_token(self, name: str) -> str:
        """`gateway token`: for a further instance."""
        made = self.wardgate.run("gateway", "token", name, "--project-id", self.project_id, "--json").json()
        token: str = made["token"]
        return token

    def start_gateway(self, name: str, token: str | None = None, *options: str, instance: str = "") -> Process:
        """`gateway run`; the token (in a file, so that no process list shows it) only the first time.

        `instance` is our own word for one of several; it is known as `name-instance` here.
        """
        known = f"{name}-{instance}" if instance else name
        arguments: list[str | Path] = ["--name", name, "--data-dir", self.folder / f"gw-{known}", *options, "--json"]
        process = self.gateways[known] = self._start_machine("gateway", known, token, arguments)
        return process

    def start_relay(self, name: str, port: int | None = None) -> Process:
        """`relay create` and `relay run` the first time; then `relay run` with the port of before."""
        data_dir = self.folder / f"relay-{name}"
        token = None
        if not data_dir.exists():
            token = self.wardgate.run("relay", "create", name, "--json").json()["token"]
        listen = f"{LOOPBACK}:{port or free_ports(1)[0]}"
        arguments: list[str | Path] = ["--name", name, "--data-dir", data_dir, "--listen", listen, "--json"]
        process = self.relays[name] = self._start_machine("relay", name, token, arguments)
        return process

    def _start_machine(self, kind: str, known: str, token: str | None, arguments: list[str | Path]) -> Process:
        token_path = self.folder / f"{kind}-{known}.token"
        if token is not None:
            arguments = [*arguments, "--token-file", write_private(token_path, token.encode())]
        process = self.wardgate.start(f"{kind}-{known}", kind, "run", *arguments)
        wait_event(process, "ready")
        token_path.unlink(missing_ok=True)  # it works once
        return process

    def add_resource(
        self,
        name: str,
        deployment: MongoDeployment,
        *options: str | Path,
        gateway: str = "near-db",
        connection_string: str | None = None,
    ) -> dict[str, Any]:
        """`pam resource add` for a deployment, with its CA; the saved resource."""
        where = connection_string or deployment.connection_string
        tls: list[str | Path] = ["--ca-certificate", deployment.ca_path] if deployment.shape.tls else ["--no-ssl"]
        added: dict[str, Any] = self.wardgate.run(
            *("pam", "resource", "add", name, "--project-id", self.project_id, "--gateway", gateway),
            *("--connection-string", where, "--database", "admin", *tls, *options, "--json"),
        ).json()
        return added

    def add_account(self, name: str, resource: str, login: Login, *options: str) -> dict[str, Any]:
        """`pam account add`; the saved account."""
        added: dict[str, Any] = self.wardgate.run(
            *("pam", "account", "add", name, "--project-id", self.project_id, "--resource", resource),
            *("--username", login.username, "--password-stdin", *options, "--json"),
            stdin=login.password + "\n",
        ).json()
        return added

    def access(self, resource: str, account: str, duration: str = "1h", *options: str) -> Access:
        """`pam db access --json`, once it is ready. `close` ends it, else the stack does."""
        process = self.wardgate.start(
            f"access-{len(self.accesses)}",
            *("pam", "db", "access", "--resource", resource, "--account", account, "--project-id", self.project_id),
            *("--duration", duration, "--json", *options),
        )
        try:
            access = Access(process, wait_event(process, "ready"))
        except ProcessFailedError:
            process.stop()
            raise
        self.accesses.append(access)
        return access

    def session(self, session_id: str) -> dict[str, Any]:
        """`pam session show`."""
        found: dict[str, Any] = self.wardgate.run("pam", "session", "show", session_id, "--json").json()
        return found

    def logs(self, session_id: str) -> list[dict[str, Any]]:
        """`pam session logs`."""
        return self.wardgate.run("pam", "session", "logs", session_id, "--json", timeout=LOGS_S).json_lines()

    def verify(self, session_id: str) -> Answer:
        """`pam session verify`, whatever it answers."""
        return self.wardgate.run("pam", "session", "verify", session_id, "--json", check=False)

    def processes(self) -> Iterator[Process]:
        """Every process of ours, the clients' first: the order in which they are ended."""
        yield from (access.process for access in self.accesses)
        yield from self.gateways.values()
        yield from self.relays.values()
        if self.server is not None:
            yield self.server

    def close(self) -> None:
        """End every process in the order that lets each say goodbye."""
        with contextlib.ExitStack() as ends:  # one that does not end must not keep the others alive
            for process in reversed(list(self.processes())):
                ends.callback(process.stop)


def wait_event(process: Process, event: str, timeout: float = READY_S) -> dict[str, Any]:
    """The first JSON line of a program's standard output with that `event`."""
    marker = f'"{event}"'

    def wanted(line: str) -> bool:
        return marker in line and json.loads(line).get("event") == event

    found: dict[str, Any] = json.loads(process.wait_line(wanted, timeout))
    return found


def find_executable() -> Path:
    """The `wardgate` command of this installation, or the one on PATH."""
    found = shutil.which("wardgate", path=str(Path(sys.executable).parent)) or shutil.which("wardgate")
    if found is None:
        raise WardgateError("wardgate_missing", "The wardgate command was not found: run “make setup”.")
    return Path(found)
