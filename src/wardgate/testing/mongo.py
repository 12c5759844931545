"""Real MongoDB deployments: a standalone or a replica set, with TLS and password login or without either.

A deployment is what a customer's would be: keyFile between members, SCRAM users made through the localhost exception,
`requireTLS` with certificates of an authority of its own. Each has its own folder and ports. The methods block; from
async code call them through `asyncio.to_thread`. Members are named by their index in `members`.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from cryptography import x509
from pymongo import MongoClient
from pymongo.errors import AutoReconnect, OperationFailure, PyMongoError

from . import servers
from .certificates import LOCAL_NAMES, CertificateAuthority, write_private
from .ports import LOOPBACK, accepts, free_ports
from .processes import Process, ProcessFailedError

T = TypeVar("T")
START_S = 60.0
_NOBODY_ELECTABLE = 262  # ExceededTimeLimit: those who could take over have not caught up, or may not stand yet
SYSTEM_DATABASES = frozenset({"admin", "config", "local"})


@dataclass(frozen=True, slots=True)
class Login:
    """A MongoDB user of a deployment."""

    username: str
    password: str
    auth_db: str = "admin"


@dataclass(frozen=True, slots=True)
class Shape:
    """What to start. `set_name` None is a standalone; `election_ms` is how long a lost primary stays unnoticed."""

    set_name: str | None = "rs0"
    members: int = 1
    tls: bool = True
    auth: bool = True
    election_ms: int = 2_000
    fail_points: bool = True
    demands_certificates: bool = False  # of everybody who connects, besides a login
    host: str = LOOPBACK  # an IP address of this machine, as members are named by it
    names: tuple[str, ...] = ()  # what the certificates are for besides the local names
    arguments: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.set_name is None and self.members != 1:
            raise ValueError("a standalone has one member")


STANDALONE = Shape(set_name=None)
RS1 = Shape(members=1)
RS3 = Shape(members=3)


@dataclass(slots=True)
class Member:
    """One mongod: where it listens, where its data are, and its process while it runs."""

    index: int
    port: int
    folder: Path
    host: str = LOOPBACK
    process: Process | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        """`host:port`, as in the replica set's configuration."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _password() -> str:
    """Random, so that a grep for it finds leaks only; the punctuation wants escaping in every URI and shell."""
    return f"pw:/@%é-{secrets.token_hex(12)}"


class MongoDeployment:
    """A running deployment; use it as a context manager or call `close`."""

    def __init__(
        self,
        shape: Shape = RS1,
        folder: Path | None = None,
        *,
        logins: Mapping[str, Login] | None = None,
        mongod: Path | None = None,
    ) -> None:
        """Start it and wait until it takes writes. Without `folder` it makes a temporary one and removes it."""
        self.shape = shape
        self._mongod = mongod or servers.require(servers.MONGOD)
        self._own_folder = folder is None
        self.folder = folder or Path(tempfile.mkdtemp(prefix="wardgate-mongod-"))
        self.folder.mkdir(parents=True, exist_ok=True)
        self.ca = CertificateAuthority.create("wardgate test database authority") if shape.tls else None
        self.ca_path = self.folder / "ca.pem"
        self.logins = dict(logins) if logins is not None else default_logins()
        self.members = [
            Member(index, port, self.folder / f"member{index}", shape.host)
            for index, port in enumerate(free_ports(shape.members))
        ]
        try:
            self._prepare_files()
            for member in self.members:
                self._start(member)
            for member in self.members:
                self._wait_listening(member)
            if shape.set_name is not None:
                self._initiate()
            if shape.auth:
                self._create_logins()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> MongoDeployment:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End every member and remove what was made."""
        for member in self.members:
            if member.process is not None:
                member.process.send(signal.SIGCONT)
                member.process.kill()  # the data go with it, so there is nothing to shut down in order
                member.process = None
        if self._own_folder:
            shutil.rmtree(self.folder, ignore_errors=True)

    # --- addresses and clients ----------------------------------------------------------------------------------

    @property
    def root(self) -> Login:
        """The superuser."""
        return self.logins["root"]

    @property
    def rw(self) -> Login:
        """May read, write and drop every database."""
        return self.logins["rw"]

    @property
    def ro(self) -> Login:
        """May read every database."""
        return self.logins["ro"]

    @property
    def connection_string(self) -> str:
        """As an administrator types it into the resource form: all members, no credentials, no TLS options."""
        query = f"?replicaSet={self.shape.set_name}" if self.shape.set_name else ""
        return f"mongodb://{','.join(member.address for member in self.members)}/{query}"

    def uri(self, login: Login | None = None, *, member: int | None = None) -> str:
        """A complete URI for direct use; with `member` it stays on that one."""
        options: dict[str, str] = {}
        if member is not None:
            hosts, options["directConnection"] = self.members[member].address, "true"
        else:
            hosts = ",".join(each.address for each in self.members)
            if self.shape.set_name:
                options["replicaSet"] = self.shape.set_name
        if self.shape.tls:
            options |= {"tls": "true", "tlsCAFile": str(self.ca_path)}
            if self.shape.demands_certificates:
                options["tlsCertificateKeyFile"] = str(self.members[0].folder / "server.pem")
        userinfo = ""
        if login is not None and self.shape.auth:
            userinfo = f"{quote(login.username, safe='')}:{quote(login.password, safe='')}@"
            options["authSource"] = login.auth_db
        return f"mongodb://{userinfo}{hosts}/?{urlencode(options)}"

    @contextlib.contextmanager
    def client(self, login: Login | None = None, *, member: int | None = None, **options: Any) -> Iterator[Any]:
        """A PyMongo client straight to the deployment, as root unless told otherwise."""
        options.setdefault("serverSelectionTimeoutMS", 30_000)
        with MongoClient[dict[str, Any]](self.uri(login or self.root, member=member), **options) as client:
            yield client

    def clear(self) -> None:
        """Drop every database that is not the server's own, so that tests can share a deployment."""
        with self.client() as client:
            for name in client.list_database_names():
                if name not in SYSTEM_DATABASES:
                    client.drop_database(name)

    def create_login(self, login: Login, roles: list[Any], mechanisms: list[str] | None = None) -> Login:
        """Create a user; `mechanisms` defaults to both SCRAMs."""
        with self.client() as client:
            client[login.auth_db].command(
                "createUser",
                login.username,
                pwd=login.password,
                roles=roles,
                mechanisms=mechanisms or ["SCRAM-SHA-1", "SCRAM-SHA-256"],
                writeConcern=self._everywhere(),
            )
        return login

    def create_x509_login(self, common_name: str, roles: list[Any]) -> bytes:
        """Create a user of `$external`; key and certificate that log it in, in one PEM."""
        if self.ca is None:
            raise RuntimeError("X.509 needs TLS")
        pem = self.ca.issue_client(common_name)
        named = x509.load_pem_x509_certificate(pem).subject.rfc4514_string()
        # mongod writes bytes beyond ASCII as escapes.
        subject = "".join(c if c.isascii() else "".join(f"\\{byte:02X}" for byte in c.encode()) for c in named)
        with self.client() as client:
            places = [{"role": role, "db": "admin"} if isinstance(role, str) else role for role in roles]
            client["$external"].command("createUser", subject, roles=places, writeConcern=self._everywhere())
        return pem

    def _everywhere(self) -> dict[str, int]:
        """Every member, not the default majority: tests log in to secondaries too."""
        return {"w": sum(member.process is not None for member in self.members), "wtimeout": 30_000}

    # --- members: faults and roles ------------------------------------------------------------------------------

    def primary(self, timeout: float = 30.0) -> int:
        """The index of the member that takes writes, once there is one."""

        def look() -> int | None:
            for member in self.members:
                if member.process is not None and self._is_writable(member):
                    return member.index
            return None

        return _until(look, timeout, "no member became primary")

    def secondaries(self) -> list[int]:
        """The indexes of the running members that are not primary."""
        primary = self.primary()
        return [each.index for each in self.members if each.process is not None and each.index != primary]

    def kill(self, index: int) -> None:
        """kill -9."""
        self._process(index).kill()
        self.members[index].process = None

    def stop(self, index: int) -> None:
        """SIGTERM: the server steps down and goes through its quiesce period."""
        self._process(index).stop(timeout=60)
        self.members[index].process = None

    def restart(self, index: int) -> None:
        """Start a member that was killed or stopped, with its data, and wait until it listens."""
        self._start(self.members[index])
        self._wait_listening(self.members[index])

    def pause(self, index: int) -> None:
        """SIGSTOP: sockets stay open and nothing answers."""
        self._process(index).send(signal.SIGSTOP)

    def resume(self, index: int) -> None:
        """SIGCONT."""
        self._process(index).send(signal.SIGCONT)

    def step_down(self, seconds: int = 10) -> None:
        """Make the primary a secondary for `seconds`, as soon as another member can take over."""

        def look() -> bool | None:
            with self.client(member=self.primary()) as client, contextlib.suppress(AutoReconnect):
                try:
                    client.admin.command("replSetStepDown", seconds, secondaryCatchUpPeriodSecs=5)
                except OperationFailure as refused:
                    if refused.code != _NOBODY_ELECTABLE:
                        raise
                    return None
            return True

        _until(look, START_S, "no other member can become primary")

    # --- members: coming and going --------------------------------------------------------------------------------

    def add_member(self, **settings: Any) -> int:
        """Start one more mongod and take it into the set (`hidden`, `priority`, `arbiterOnly`, …); its index."""
        (port,) = free_ports(1)
        index = len(self.members)
        member = Member(index, port, self.folder / f"member{index}", self.shape.host)
        self.members.append(member)
        self._prepare_member(member)
        self._start(member)
        self._wait_listening(member)
        if settings.get("arbiterOnly"):
            with self.client() as client:  # else the set refuses: its own default could not be kept with an arbiter
                client.admin.command("setDefaultRWConcern", 1, defaultWriteConcern={"w": 1})
        self.reconfigure(lambda config: config.append({"_id": index, "host": member.address, **settings}))
        wanted = "arbiterOnly" if settings.get("arbiterOnly") else "secondary"

        def look() -> bool | None:
            with self._bare_client(member) as client:
                return client.admin.command("hello").get(wanted) or None

        _until(look, START_S, f"member {index} did not become {wanted}")
        return index

    def remove_member(self, index: int) -> None:
        """Take a member out of the set, and end it."""
        self.reconfigure(lambda config: config.remove(next(each for each in config if each["_id"] == index)))
        self.kill(index)

    def set_member(self, index: int, **settings: Any) -> None:
        """Change a member's settings in the set."""
        self.reconfigure(lambda config: next(each for each in config if each["_id"] == index).update(settings))

    def reconfigure(self, change: Callable[[list[dict[str, Any]]], None]) -> None:
        """Change the list of members in the set's configuration."""
        with self.client() as client:
            config = client.admin.command("replSetGetConfig")["config"]
            change(config["members"])
            config["version"] += 1
            client.admin.command("replSetReconfig", config)

    def _process(self, index: int) -> Process:
        process = self.members[index].process
        if process is None:
            raise RuntimeError(f"member {index} does not run")
        return process

    # --- starting -----------------------------------------------------------------------------------------------

    def _prepare_files(self) -> None:
        for member in self.members:
            self._prepare_member(member)
        if self.ca is not None:
            self.ca_path.write_text(self.ca.pem)
        write_private(self.folder / "keyfile", base64.b64encode(secrets.token_bytes(96)))

    def _prepare_member(self, member: Member) -> None:
        member.folder.mkdir(parents=True, exist_ok=True)
        if self.ca is not None:
            write_private(member.folder / "server.pem", self.ca.issue((*LOCAL_NAMES, *self.shape.names)))

    def _arguments(self, member: Member) -> list[str | Path]:
        shape = self.shape
        arguments: list[str | Path] = [
            *("--dbpath", member.folder, "--port", str(member.port), "--bind_ip", shape.host, "--ipv6"),
            *("--wiredTigerCacheSizeGB", "0.25", "--nounixsocket", "--quiet"),
            *("--setParameter", "diagnosticDataCollectionEnabled=false"),
        ]
        if shape.fail_points:
            arguments += ["--setParameter", "enableTestCommands=1"]
        if shape.set_name is not None:
            arguments += ["--replSet", shape.set_name, "--oplogSize", "64"]
        if shape.auth:
            arguments += ["--auth"]
            if shape.set_name is not None:
                arguments += ["--keyFile", self.folder / "keyfile"]
        if shape.tls:
            arguments += [
                *("--tlsMode", "requireTLS", "--tlsCertificateKeyFile", member.folder / "server.pem"),
                *("--tlsCAFile", self.ca_path),
            ]
            if not shape.demands_certificates:
                arguments += ["--tlsAllowConnectionsWithoutCertificates"]
        return [*arguments, *shape.arguments]

    def _start(self, member: Member) -> None:
        if member.process is not None and member.process.returncode is None:
            raise RuntimeError(f"member {member.index} runs already")
        argv = [self._mongod, *self._arguments(member)]
        member.process = Process(f"mongod{member.index}", argv, self.folder)

    def _wait_listening(self, member: Member) -> None:
        def look() -> bool | None:
            process = member.process
            if process is not None and process.returncode is not None:
                raise _mongod_failure(process)
            return True if accepts(member.port, member.host) else None

        _until(look, START_S, f"mongod on port {member.port} does not listen", pause=0.02)

    def _initiate(self) -> None:
        config = {
            "_id": self.shape.set_name,
            "members": [{"_id": each.index, "host": each.address} for each in self.members],
            "settings": {"electionTimeoutMillis": self.shape.election_ms, "heartbeatIntervalMillis": 500},
        }
        with self._bare_client(self.members[0]) as client:
            client.admin.command("replSetInitiate", config)
        self.primary(START_S)

    def _create_logins(self) -> None:
        """Through the localhost exception: the first user is root, and root makes the others."""
        root = self.root
        with self._bare_client(self.members[self.primary(START_S)]) as client:
            client.admin.command("createUser", root.username, pwd=root.password, roles=["root"])
        self.create_login(self.rw, ["readWriteAnyDatabase", "dbAdminAnyDatabase", "clusterMonitor"])
        self.create_login(self.ro, ["readAnyDatabase"])

    def _is_writable(self, member: Member) -> bool:
        try:
            with self._bare_client(member, serverSelectionTimeoutMS=2_000) as client:
                return bool(client.admin.command("hello").get("isWritablePrimary"))
        except (OperationFailure, PyMongoError):
            return False

    @contextlib.contextmanager
    def _bare_client(self, member: Member, **options: Any) -> Iterator[Any]:
        options.setdefault("serverSelectionTimeoutMS", 30_000)
        with MongoClient[dict[str, Any]](self.uri(member=member.index), **options) as client:
            yield client


MongoFactory = Callable[[Shape], MongoDeployment]


def default_logins() -> dict[str, Login]:
    """`root`, `rw` and `ro`, each with a random password."""
    return {name: Login(name, _password()) for name in ("root", "rw", "ro")}


def _mongod_failure(process: Process) -> ProcessFailedError:
    """mongod writes its log, and so its reason, to standard output."""
    tail = "\n".join(process.lines[-5:])
    return ProcessFailedError(
        "process_failed", f"{process.name} ended at its start (exit status {process.returncode}):\n{tail}"
    )


def _until(look: Callable[[], T | None], timeout: float, failure: str, pause: float = 0.1) -> T:
    deadline = time.monotonic() + timeout
    while (found := look()) is None:
        if time.monotonic() > deadline:
            raise ProcessFailedError("process_failed", f"{failure} within {timeout:.0f} s.")
        time.sleep(pause)
    return found
