"""The ways to one mongod: straight, through HAProxy, through wardgate.

    direct     client ──TLS, SCRAM──────────────────────────────────────────────────► mongod
    haproxy    client ──TCP──► haproxy ──TLS──► haproxy (TCP) ──► haproxy ──TLS─────► mongod     bytes only
    wardgate   client ──TCP──► local proxy ──TLS──► relay ──► gateway ──TLS, SCRAM──► mongod     and everything recorded

HAProxy's chain is the yardstick: a good C program that does nothing but the same number of hops and of TLS legs. Each
of its three programs has one thread, as each of ours has one event loop. Its client logs in by itself (SCRAM passes as
bytes). `wardgate-process` is wardgate with a gateway that does not wait for the disk (durability “process”): what
waiting costs. `wardgate-unrecorded` records no command at all, which nobody can choose: what recording costs.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from wardgate.testing import servers
from wardgate.testing.certificates import CertificateAuthority, write_private
from wardgate.testing.mongo import RS1, MongoDeployment
from wardgate.testing.ports import LOOPBACK, accepts, free_ports
from wardgate.testing.processes import Process
from wardgate.testing.stack import Stack, wait_event

from .load import BLOBS, DATABASE, NOISE, ORDERS, Target, order
from .watch import Watched, children

# Gateways that do less, by the module of ours that starts them.
LIGHTER = {"wardgate-process": "bench.relaxed", "wardgate-unrecorded": "bench.unrecorded"}
_HAPROXY = """
global
    maxconn 4096
    nbthread 1
    ssl-default-bind-options ssl-min-ver TLSv1.3
    ssl-default-server-options ssl-min-ver TLSv1.3
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
{body}
"""


@dataclass(frozen=True, slots=True)
class Way:
    """One way to the database: where it begins and which processes carry it."""

    name: str
    target: Target
    processes: tuple[Watched, ...] = ()


@contextlib.contextmanager
def database(folder: Path) -> Iterator[MongoDeployment]:
    """A replica set of one member with TLS and SCRAM, with the documents that are read."""
    with MongoDeployment(RS1, folder / "mongod") as deployment:
        with deployment.client() as client:
            client[DATABASE].orders.insert_many([order(number) for number in range(ORDERS)])
            client[DATABASE].blobs.insert_many([{"_id": number, "payload": NOISE} for number in range(BLOBS)])
        yield deployment


def drop_inserts(deployment: MongoDeployment) -> None:
    """Forget what the inserts left and have it on disk, so that every round starts alike."""
    with deployment.client() as client:
        client[DATABASE].bulk.drop()
        client[DATABASE].create_collection("bulk")
        client.admin.command("fsync")


def direct(deployment: MongoDeployment) -> Way:
    """No hop."""
    return Way("direct", _login_target(deployment, deployment.members[0].port), (_mongod(deployment),))


@contextlib.contextmanager
def haproxy(deployment: MongoDeployment, folder: Path) -> Iterator[Way]:
    """Three HAProxies in a row; ServerMissingError without one."""
    program = servers.require(servers.HAPROXY)
    folder.mkdir()
    pem = write_private(folder / "hop.pem", CertificateAuthority.create("wardgate bench").issue())
    first, second, third = free_ports(3)
    mongod = deployment.members[0].port
    hops = [
        ("haproxy 1 (TLS out)", first, "", f"{LOOPBACK}:{second} ssl verify none"),
        ("haproxy 2 (TCP)", second, "", f"{LOOPBACK}:{third}"),
        ("haproxy 3 (TLS in, out)", third, f" ssl crt {pem}", f"{LOOPBACK}:{mongod} ssl verify none"),
    ]
    with contextlib.ExitStack() as ends:
        watched = []
        for number, (label, port, bind, server) in enumerate(hops, 1):
            config = folder / f"haproxy{number}.cfg"
            body = f"listen hop\n    bind {LOOPBACK}:{port}{bind}\n    server next {server}\n"
            config.write_text(_HAPROXY.format(body=body))
            process = Process(f"haproxy{number}", [program, "-db", "-f", config], folder)
            ends.callback(_kill, process)
            watched.append(Watched(label, process.pid))
            _wait_accepts(process, port)
        target = Target(LOOPBACK, first, None, deployment.rw.username, deployment.rw.password)
        yield Way("haproxy", target, (*watched, _mongod(deployment)))


@contextlib.contextmanager
def wardgate(deployment: MongoDeployment, folder: Path, names: Sequence[str]) -> Iterator[list[Way]]:
    """Control plane and relay, and for each name a gateway and a local proxy with one open session."""
    with Stack(folder) as stack:
        stack.up(gateway="wardgate")
        for name in LIGHTER.keys() & names:
            _start_lighter_gateway(stack, name)
        yield [_access(stack, name, deployment) for name in names]


def _start_lighter_gateway(stack: Stack, name: str) -> None:
    """As Stack.start_gateway does, with a module of the bench for the program."""
    token = write_private(stack.folder / f"{name}.token", stack.create_gateway(name).encode())
    stack.gateways[name] = process = Process(
        name,
        [
            *(sys.executable, "-m", LIGHTER[name], "gateway", "run", "--name", name, "--json"),
            *("--data-dir", stack.folder / name, "--token-file", token),
        ],
        stack.folder,
        env=stack.wardgate.environment(),
        cwd=Path(__file__).resolve().parents[1],
    )
    wait_event(process, "ready")


def _access(stack: Stack, name: str, deployment: MongoDeployment) -> Way:
    stack.add_resource(name, deployment, gateway=name)
    stack.add_account("rw", name, deployment.rw)
    access = stack.access(name, "rw", "4h")
    assert stack.server is not None
    processes = (
        Watched("local proxy", access.process.pid),
        *(Watched("relay", pid) for pid in children(stack.server.pid)[:1]),
        Watched("gateway", stack.gateways[name].pid),
        Watched("control plane", stack.server.pid),
        _mongod(deployment),
    )
    return Way(name, Target(LOOPBACK, access.port), processes)


@contextlib.contextmanager
def all_of(names: Sequence[str], deployment: MongoDeployment, folder: Path) -> Iterator[list[Way]]:
    """The named ways, in that order, all up."""
    found: dict[str, Way] = {}
    ours = [name for name in names if name.startswith("wardgate")]
    with contextlib.ExitStack() as ends:
        if "direct" in names:
            found["direct"] = direct(deployment)
        if "haproxy" in names:
            found["haproxy"] = ends.enter_context(haproxy(deployment, folder / "haproxy"))
        if ours:
            ways = ends.enter_context(wardgate(deployment, folder / "wardgate", ours))
            found |= {way.name: way for way in ways}
        yield [found[name] for name in names]


def _login_target(deployment: MongoDeployment, port: int) -> Target:
    login = deployment.rw
    return Target(LOOPBACK, port, str(deployment.ca_path), login.username, login.password)


def _mongod(deployment: MongoDeployment) -> Watched:
    process = deployment.members[0].process
    assert process is not None
    return Watched("mongod", process.pid)


def _kill(process: Process) -> None:
    process.send(signal.SIGKILL)  # it has nothing to save
    process.wait(10)


def _wait_accepts(process: Process, port: int) -> None:
    deadline = time.monotonic() + 10
    while not accepts(port):
        if process.returncode is not None or time.monotonic() > deadline:
            raise process.failure("does not listen")
        time.sleep(0.02)
