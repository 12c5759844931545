"""A driver's whole pool and its monitors: as many server connections as client connections, and none afterwards."""

from __future__ import annotations

import socket
import time
from typing import Any

import bson
from pymongo import MongoClient

from wardgate.testing.mongo import MongoDeployment
from wardgate.testing.playbook import command, document_of, hello_request
from wardgate.wire.header import HEADER

SOCKETS = 200
SPARES = 8  # more connections than clients that a session may have ready at a member


def ask(client: socket.socket, message: bytes) -> dict[str, Any]:
    client.sendall(message)
    data = b""
    while len(data) < 16 or len(data) < HEADER.unpack_from(data)[0]:
        more = client.recv(65_536)
        assert more, "the connection was closed"
        data += more
    return document_of(data)


def ours(deployment: MongoDeployment) -> int:
    """Server connections that bear our attribution."""
    with MongoClient[dict[str, Any]](deployment.uri(deployment.root, member=0)) as root:
        stages = [{"$currentOp": {"allUsers": True, "idleConnections": True}}]
        return sum(str(each.get("appName", "")).startswith("wardgate:") for each in root.admin.aggregate(stages))


def test_two_hundred_of_them_come_and_go(mongod_rs1: MongoDeployment, gateway: Any) -> None:
    with gateway(mongod_rs1) as it:
        sockets = [socket.create_connection(("127.0.0.1", it.main_port), timeout=60) for _ in range(SOCKETS)]
        try:
            for number, client in enumerate(sockets):
                assert ask(client, hello_request(1))["ok"] == 1
                if number % 2:  # the others are monitors, which never log in
                    find = command(
                        {"find": "things", "filter": {"_id": bson.Int64(number)}}, 2, database="many_sockets"
                    )
                    assert ask(client, find)["ok"] == 1
            assert len(it.streams) == SOCKETS
            assert SOCKETS <= ours(mongod_rs1) <= SOCKETS + SPARES
        finally:
            for client in sockets:
                client.close()
        deadline = time.monotonic() + 30
        while it.streams or ours(mongod_rs1) > SPARES:
            assert time.monotonic() < deadline, "connections stayed behind their clients"
            time.sleep(0.05)
