"""The steps of the demo, in the order in which a team would take them, each timed and told.

Every step but the database and the driver is a command of the CLI that the visitor can type as well; `testing.stack`
runs them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pymongo.errors import PyMongoError

from ..testing import servers
from ..testing.mongo import RS1, Login, MongoDeployment
from ..testing.ports import LOOPBACK
from ..testing.processes import Process
from ..testing.stack import Access, Stack
from . import shop
from .tell import Facts, Invitation, Teller

GATEWAY = "near-db"
PROJECT = "shop"
RESOURCE = "production-mongo"
READER = "readonly-user"
WRITER = "readwrite-user"
DURATION = "8h"
SHIPPING_S = 15.0  # records arrive within two seconds; a busy machine may take longer


class Story:
    """Everything the demo starts; as a context manager it ends all of it."""

    def __init__(self, folder: Path, teller: Teller) -> None:
        self._teller = teller
        self._folder = folder
        self._database: MongoDeployment | None = None
        self._stack = Stack(folder / "wardgate")
        self._access: Access | None = None
        self.lost: Process | None = None

    def __enter__(self) -> Story:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._stack.close()
        finally:
            if self._database is not None:
                self._database.close()

    def tell(self) -> None:
        """Every step up to the session's log."""
        self._step("database", "MongoDB", self._start_database)
        self._step("control_plane", "control plane", self._start_control_plane)
        self._step("gateway", "gateway", self._start_gateway)
        self._step("resource", "resource", self._add_resource)
        self._step("accounts", "accounts", self._add_accounts)
        self._step("access", "session", self._open_access)
        self._step("driver", "driver", self._run_driver)
        self._step("record", "record", self._show_record)

    def _step(self, name: str, title: str, take: Callable[[], Facts]) -> None:
        self._teller.begin(title)
        started = time.monotonic()
        facts = take()
        self._teller.done(name, title, facts, (time.monotonic() - started) * 1_000)

    # --- the steps ----------------------------------------------------------------------------------------------

    def _start_database(self) -> Facts:
        """A one-member replica set that wants TLS and a password, with a shop in it."""
        shape = replace(RS1, fail_points=False)
        self._database = MongoDeployment(shape, self._folder / "mongod", mongod=servers.require(servers.MONGOD))
        with self._database.client() as client:
            version: str = client.server_info()["version"]
            orders = shop.seed(client)
        port = self._database.members[0].port
        return Facts(
            f"{version}, replica set, TLS and SCRAM, {LOOPBACK}:{port}, {orders} orders",
            {"version": version, "port": port, "orders": orders},
        )

    def _start_control_plane(self) -> Facts:
        self._stack.init_server()
        self._stack.start_server()
        self._stack.login()
        self._stack.create_project(PROJECT)
        relay = f"{LOOPBACK}:{self._stack.relay_port}"
        return Facts(
            f"{self._stack.domain}, relay on {relay}, signed in as {self._stack.admin_email}",
            {"domain": self._stack.domain, "relay": relay, "project_id": self._stack.project_id},
        )

    def _start_gateway(self) -> Facts:
        self._stack.start_gateway(GATEWAY, self._stack.create_gateway(GATEWAY))
        return Facts(f"{GATEWAY} has enrolled and dialled out; it listens nowhere", {"name": GATEWAY})

    def _add_resource(self) -> Facts:
        added = self._stack.add_resource(RESOURCE, self._mongod, gateway=GATEWAY)
        hops = added["test"]["hops"]
        kinds = list(dict.fromkeys(hop["hop"] for hop in hops))
        return Facts(f"{RESOURCE}, tested through the gateway: {', '.join(kinds)}", {"name": RESOURCE, "hops": hops})

    def _add_accounts(self) -> Facts:
        for name, login in self._accounts().items():
            self._stack.add_account(name, RESOURCE, login)
        return Facts(f"{READER} and {WRITER}, logins tested, passwords sealed", {"names": [READER, WRITER]})

    def _open_access(self) -> Facts:
        self._access = self._stack.access(RESOURCE, WRITER, DURATION)
        return Facts(
            f"{WRITER} for {DURATION}, at {self._access.uri}",
            {"session_id": self._access.session_id, "uri": self._access.uri, "members": self._access.members},
        )

    def _run_driver(self) -> Facts:
        try:
            done = shop.work(self._session.uri)
        except PyMongoError as error:
            gateway = self._stack.gateways[GATEWAY]
            raise gateway.failure(f"let the driver down: {str(error)[:300]}; the end of its log") from error
        return Facts(
            f"no password, through the URI: {done.reads} orders read, {done.writes} written, a transaction, "
            f"and createUser refused ({done.refusal_code})",
            {"reads": done.reads, "writes": done.writes, "refusal_code": done.refusal_code},
        )

    def _show_record(self) -> Facts:
        """The session's log, once everything the driver did has arrived."""
        deadline = time.monotonic() + SHIPPING_S
        commands: list[dict[str, Any]] = []
        while time.monotonic() < deadline:
            commands = [
                record
                for record in self._stack.logs(self._session.session_id)
                if record["kind"] in {"command", "denied"} and record["database"] not in {"config", "local"}
            ]
            if shop.LAST_COMMAND in {record["command"] for record in commands}:
                break
            time.sleep(0.2)
        else:
            raise self._stack.gateways[GATEWAY].failure("did not ship the driver's commands; the end of its log")
        return Facts(f"{len(commands)} commands", {"commands": len(commands)}, records=commands)

    # --- the end ------------------------------------------------------------------------------------------------

    def end(self) -> None:
        """Ctrl+C on the session, and whether its record is whole."""
        if self.lost is not None:
            self._teller.failed(self.lost.failure("has ended by itself").message.splitlines())
            return
        self._teller.begin("end")
        ended = self._session.close()
        verification = self._verification()
        self._teller.ended(self._stack.session(self._session.session_id), ended["reason"], verification)

    def _verification(self) -> dict[str, Any]:
        """Asked until the gateway has shipped the last record."""
        deadline = time.monotonic() + SHIPPING_S
        while True:
            found: dict[str, Any] = self._stack.verify(self._session.session_id).json()
            if found["state"] != "open" or time.monotonic() > deadline:
                return found
            time.sleep(0.2)

    def has_lost_a_process(self) -> bool:
        """Whether one of the processes has ended by itself; `lost` is then that one."""
        running = [*self._stack.processes(), *(m.process for m in self._mongod.members if m.process is not None)]
        self.lost = next((process for process in running if process.returncode is not None), None)
        return self.lost is not None

    def invitation(self) -> Invitation:
        """What a visitor can paste."""
        return Invitation(
            session_id=self._session.session_id,
            uri=self._session.uri,
            mongosh=_mongosh(),
            wardgate=_shown(self._stack.wardgate.executable),
            domain=self._stack.domain,
            email=self._stack.admin_email,
            password_path=str(self._stack.password_path),
            config=str(self._stack.wardgate.config),
            project_id=self._stack.project_id,
            resource=RESOURCE,
            accounts=(READER, WRITER),
        )

    def _accounts(self) -> dict[str, Login]:
        return {READER: self._mongod.ro, WRITER: self._mongod.rw}

    @property
    def _mongod(self) -> MongoDeployment:
        assert self._database is not None
        return self._database

    @property
    def _session(self) -> Access:
        assert self._access is not None
        return self._access


def _mongosh() -> str:
    found = servers.find(servers.MONGOSH)
    return "mongosh" if found is None else _shown(found)


def _shown(program: Path) -> str:
    """As short as it still works when pasted here: a bare name where PATH finds the same, else relative to here."""
    for folder in os.environ.get("PATH", "").split(os.pathsep):
        if Path(folder, program.name) == program:
            return program.name
    try:
        return str(program.relative_to(Path.cwd()))
    except ValueError:
        return str(program)
