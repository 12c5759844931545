"""A server that logs people in by mechanisms that no mongod here can do: PLAIN, MONGODB-AWS and MONGODB-OIDC.

What it is: hello, saslStart/saslContinue, connectionStatus and ping over OP_MSG, on TLS or not, written against the
specifications without any code of ours. The AWS side checks the signature as AWS does: it rebuilds the request from the
header that it was given. What it is not: a database.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import re
import secrets
import ssl
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import bson

from .ports import LOOPBACK

OP_MSG = 2013
_HEADER = struct.Struct("<iiii")
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<date>\d{8})/(?P<region>[^/]+)/sts/aws4_request, "
    r"SignedHeaders=(?P<names>[a-z0-9;-]+), Signature=(?P<signature>[0-9a-f]{64})"
)
_DEMANDED = {"content-length", "content-type", "host", "x-amz-date", "x-mongodb-gs2-cb-flag", "x-mongodb-server-nonce"}


@dataclass(slots=True)
class _Connection:
    user: str | None = None
    mechanism: str = ""
    nonce: bytes = b""


@dataclass
class SaslServer:
    """`users` maps a name to its password, an access key's id to its secret, or (MONGODB-OIDC) a token to a name."""

    mechanism: str
    users: Mapping[str, str]
    sts_host: str = "sts.eu-central-1.amazonaws.com"
    tls: ssl.SSLContext | None = None
    extra_hello: Mapping[str, Any] = field(default_factory=dict)
    seen: list[dict[str, Any]] = field(default_factory=list)
    spoil_nonce: bool = False  # the server's nonce does not continue the client's
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def __aenter__(self) -> SaslServer:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, 0, ssl=self.tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in tuple(self._writers):
            writer.transport.abort()
        await asyncio.sleep(0)

    @property
    def port(self) -> int:
        """Where it listens on loopback."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        connection = _Connection()
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                length, request, _, opcode = _HEADER.unpack(await reader.readexactly(16))
                raw = await reader.readexactly(length - 16)
                if opcode != OP_MSG or raw[4] != 0:
                    break
                command = bson.decode(raw[5:])
                self.seen.append(command)
                body = b"\0\0\0\0\0" + bson.encode(self._answer(connection, command))
                writer.write(_HEADER.pack(16 + len(body), 1, request, OP_MSG) + body)
        self._writers.discard(writer)
        writer.transport.abort()

    def _answer(self, connection: _Connection, command: dict[str, Any]) -> dict[str, Any]:
        match next(iter(command)):
            case "hello" | "isMaster" | "ismaster":
                hello = {"isWritablePrimary": True, "helloOk": True, "maxWireVersion": 17, "minWireVersion": 0}
                return {**hello, **self.extra_hello, "ok": 1.0}
            case "saslStart":
                return self._start(connection, command)
            case "saslContinue":
                return self._continue(connection, command)
            case "ping":
                return {"ok": 1.0}
            case "connectionStatus" if connection.user is not None:
                users = [{"user": connection.user, "db": "$external"}]
                return {"authInfo": {"authenticatedUsers": users}, "ok": 1.0}
            case name:
                return _error(13, f"command {name} requires authentication")

    def _start(self, connection: _Connection, command: dict[str, Any]) -> dict[str, Any]:
        if command["mechanism"] != self.mechanism or command["$db"] != "$external":
            return _error(334, f"Received authentication for mechanism {command['mechanism']} which is not enabled")
        payload = command["payload"]
        match self.mechanism:
            case "PLAIN":
                authorise, name, password = payload.split(b"\0")
                known = self.users.get(name.decode())
                return self._done(connection, name.decode() if not authorise and known == password.decode() else None)
            case "MONGODB-OIDC":
                return self._done(connection, self.users.get(bson.decode(payload)["jwt"]))
            case _:
                return self._challenge(connection, bson.decode(payload))

    def _done(self, connection: _Connection, user: str | None) -> dict[str, Any]:
        connection.user = user
        if user is None:
            return _error(18, "Authentication failed.")
        return {"conversationId": 1, "done": True, "payload": b"", "ok": 1.0}

    # --- MONGODB-AWS ----------------------------------------------------------------------------------------------

    def _challenge(self, connection: _Connection, first: dict[str, Any]) -> dict[str, Any]:
        if len(first["r"]) != 32 or first["p"] != 110:
            return _error(18, "Authentication failed.")
        client = secrets.token_bytes(32) if self.spoil_nonce else first["r"]
        connection.nonce = client + secrets.token_bytes(32)
        challenge = bson.encode({"s": connection.nonce, "h": self.sts_host})
        return {"conversationId": 1, "done": False, "payload": challenge, "ok": 1.0}

    def _continue(self, connection: _Connection, command: dict[str, Any]) -> dict[str, Any]:
        answer = bson.decode(command["payload"])
        return self._done(connection, self._caller(connection.nonce, answer))

    def _caller(self, nonce: bytes, answer: dict[str, Any]) -> str | None:
        """What AWS does with the request: whose signature it is, None if nobody's."""
        header = _AUTHORIZATION.fullmatch(answer["a"])
        if header is None or not nonce:
            return None
        body = "Action=GetCallerIdentity&Version=2011-06-15"
        sent = {
            "content-length": str(len(body)),
            "content-type": "application/x-www-form-urlencoded",
            "host": self.sts_host,
            "x-amz-date": answer["d"],
            "x-mongodb-gs2-cb-flag": "n",
            "x-mongodb-server-nonce": base64.b64encode(nonce).decode(),
        }
        if "t" in answer:
            sent["x-amz-security-token"] = answer["t"]
        names = header["names"].split(";")
        secret = self.users.get(header["key"])
        region_is_right = header["region"] in (self.sts_host.split(".")[1], "us-east-1")
        if names != sorted(sent) or not set(names) >= _DEMANDED or secret is None or not region_is_right:
            return None
        canonical = ["POST", "/", "", *(f"{name}:{sent[name]}" for name in names), "", header["names"]]
        canonical.append(hashlib.sha256(body.encode()).hexdigest())
        scope = f"{header['date']}/{header['region']}/sts/aws4_request"
        digest = hashlib.sha256("\n".join(canonical).encode()).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{answer['d']}\n{scope}\n{digest}"
        key = f"AWS4{secret}".encode()
        for part in (header["date"], header["region"], "sts", "aws4_request", to_sign):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return header["key"] if hmac.compare_digest(key.hex(), header["signature"]) else None


def _error(code: int, message: str) -> dict[str, Any]:
    return {"ok": 0.0, "code": code, "errmsg": message}
