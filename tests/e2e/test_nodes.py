"""Two control-plane nodes over one PostgreSQL, a gateway that reaches them through a balancer, and the loss of one."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from wardgate.testing.mongo import MongoDeployment
from wardgate.testing.ports import LOOPBACK, free_port
from wardgate.testing.postgres import PostgresCluster
from wardgate.testing.processes import Process
from wardgate.testing.sharding import LoadBalancer
from wardgate.testing.stack import Stack, Wardgate, wait_event

SOON_S = 15.0  # of a machine that is busy; the test says when it is done, this only when it has failed


@dataclass
class Nodes:
    """Node `a` is the stack's own server; the gateway and the people of `stack` come through the balancer."""

    stack: Stack
    ports: dict[str, int]
    relay_ports: dict[str, int]
    processes: dict[str, Process]

    def at(self, node: str) -> Wardgate:
        """The command, spoken to one node directly: with a login of its own there."""
        one = Wardgate(self.stack.folder, f"http://{LOOPBACK}:{self.ports[node]}")
        one.config = self.stack.folder / f"at-{node}"
        if not one.config.exists():
            password = self.stack.password_path.read_text()
            one.run("login", "--email", self.stack.admin_email, "--password-stdin", stdin=password)
        return one

    def start(self, node: str, public_url: str) -> None:
        folder = self.stack.folder / f"wg-{node}"
        options = ("--data-dir", folder, "--master-key-file", self.stack.folder / "wg" / "master.key")
        listen = ("--listen", f"{LOOPBACK}:{self.ports[node]}", "--public-url", public_url, "--json")
        relay = ("--relay-listen", f"{LOOPBACK}:{self.relay_ports[node]}")
        process = self.stack.wardgate.start(f"node-{node}", "server", "run", *options, *listen, *relay)
        wait_event(process, "ready")
        self.processes[node] = process


@pytest.fixture
def nodes(postgres: PostgresCluster, mongod_rs1: MongoDeployment) -> Iterator[Nodes]:
    folder = Path(tempfile.mkdtemp(prefix="wardgate-nodes-"))
    stack = Stack(folder)
    ports = {"a": free_port(), "b": free_port()}
    balancer = LoadBalancer([ports["b"], ports["a"]])
    stack.wardgate.domain = f"http://{LOOPBACK}:{balancer.port}"
    stack.wardgate.variables["WARDGATE_DATABASE_URL"] = postgres.url(postgres.create())
    running = Nodes(stack, ports, {"a": free_port(), "b": free_port()}, {})
    try:
        stack.init_server()
        (folder / "records").mkdir()
        for node in ports:  # what a shared file system, or a bucket, is for real nodes
            (folder / f"wg-{node}").mkdir(mode=0o700)
            (folder / f"wg-{node}" / "records").symlink_to(folder / "records")
            running.start(node, stack.wardgate.domain)
        stack.login()
        stack.create_project("shop")
        stack.start_gateway("near-db", stack.create_gateway("near-db"))
        stack.add_resource("rs", mongod_rs1)
        stack.add_account("rw", "rs", mongod_rs1.rw)
        yield running
    finally:
        stack.close()
        for process in running.processes.values():
            process.stop()
        balancer.close()
        shutil.rmtree(folder, ignore_errors=True)


def until(look: Any, what: str) -> Any:
    """What `look` answers as soon as it is something."""
    deadline = time.monotonic() + SOON_S
    while not (found := look()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found


def test_what_is_said_at_one_node_holds_at_the_other(nodes: Nodes) -> None:
    stack = nodes.stack
    access = stack.access("rs", "rw")
    client: MongoClient[Any] = MongoClient(access.uri, serverSelectionTimeoutMS=30_000)
    with client:
        client["nodes"]["made"].insert_one({"_id": "first"})
    for node in ("a", "b"):  # whichever of them has the gateway's link
        assert nodes.at(node).run("pam", "session", "show", access.session_id, "--json").json()["status"] == "active"
        listed = nodes.at(node).run("gateway", "list", "--project-id", stack.project_id, "--json").json()
        assert [each["status"] for each in listed] == ["online"]
    for node in ("a", "b"):
        one = stack.access("rs", "rw")
        nodes.at(node).run("pam", "session", "terminate", one.session_id)
        assert one.wait_event("ended", SOON_S)["reason"] == "terminated"
    access.close()
    shown = until(
        lambda: [
            each for each in stack.logs(access.session_id) if each["kind"] == "command" and each["command"] == "insert"
        ],
        "the insert on record",
    )
    assert shown[0]["ok"] == 1


def test_one_node_is_lost_and_the_other_goes_on(nodes: Nodes) -> None:
    stack = nodes.stack
    access = stack.access("rs", "rw")
    nodes.at("a"), nodes.at("b")
    client: MongoClient[Any] = MongoClient(access.uri, serverSelectionTimeoutMS=30_000, retryWrites=True)
    with client:
        for lost, kept in (("b", "a"), ("a", "b")):
            nodes.processes[lost].kill()
            client["nodes"]["made"].insert_one({"_id": f"without {lost}"})
            left = nodes.at(kept)

            def online(left: Wardgate = left) -> bool:
                listed = left.run("gateway", "list", "--project-id", stack.project_id, "--json").json()
                return [each["status"] for each in listed] == ["online"]

            until(online, "the gateway is linked to the node that is left")
            ended = stack.access("rs", "rw")
            left.run("pam", "session", "terminate", ended.session_id)
            assert ended.wait_event("ended", SOON_S)["reason"] == "terminated"
            nodes.start(lost, stack.wardgate.domain)
        assert client["nodes"]["made"].count_documents({"_id": {"$regex": "^without"}}) == 2
    access.close()
    assert until(lambda: stack.verify(access.session_id).status == 0, "the session verifies")
