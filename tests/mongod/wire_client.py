"""A client that speaks the wire protocol byte by byte: for asking a real mongod what it does with odd messages."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Mapping
from types import TracebackType
from typing import Any

import bson

from wardgate.scram.client import ScramClient
from wardgate.scram.primitives import Mechanism
from wardgate.testing.mongo import Login, MongoDeployment
from wardgate.wire.header import HEADER
from wardgate.wire.message import build_msg, parse_reply


class RawClient:
    """One connection to a deployment's first member."""

    def __init__(self, deployment: MongoDeployment, login: Login | None = None) -> None:
        plain = socket.create_connection(("127.0.0.1", deployment.members[0].port), timeout=20)
        context = ssl.create_default_context(cafile=str(deployment.ca_path))
        self._socket = context.wrap_socket(plain, server_hostname="127.0.0.1")
        if login is not None:
            self.log_in(login)

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def ask(self, message: bytes) -> bytes | None:
        """The reply message; None where the server closes instead."""
        try:
            self._socket.sendall(message)
            return self._message()
        except (ConnectionError, ssl.SSLError):
            return None

    def run(self, document: Mapping[str, Any], database: str = "admin", flags: int = 0) -> dict[str, Any]:
        """A command as an OP_MSG, its reply decoded."""
        answer = self.ask(build_msg(bson.encode({**document, "$db": database}), 7, flags=flags))
        assert answer is not None
        return dict(bson.decode(parse_reply(answer).body))

    def log_in(self, login: Login) -> None:
        """SCRAM-SHA-256 without any hello."""
        client = ScramClient(Mechanism.SHA_256, login.username, login.password, b"n" * 24)
        reply = self.run({"saslStart": 1, "mechanism": "SCRAM-SHA-256", "payload": client.start(),
                          "options": {"skipEmptyExchange": True}})  # fmt: skip
        while (payload := client.step(reply["payload"])) is not None:
            reply = self.run({"saslContinue": 1, "conversationId": reply["conversationId"], "payload": payload})

    def _message(self) -> bytes | None:
        head = self._exactly(HEADER.size)
        if head is None:
            return None
        rest = self._exactly(struct.unpack_from("<i", head)[0] - HEADER.size)
        return None if rest is None else head + rest

    def _exactly(self, size: int) -> bytes | None:
        data = b""
        while len(data) < size:
            more = self._socket.recv(size - len(data))
            if not more:
                return None
            data += more
        return data
