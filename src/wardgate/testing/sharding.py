"""Doubles of mongos and of a load balancer, in front of a real mongod.

No mongos can be had here, so `MongosDouble` stands for one: it answers hello as a mongos does and passes everything
else to a replica set's member, which does the work. It keeps the rules that make a mongos different: cursors and
transactions live in the one that began them (a commit may be recovered elsewhere by its recoveryToken), `client` may be
512 bytes long, find has no exhaust. It takes what is compressed and answers plainly. Behind a load balancer it demands
`loadBalanced` and names its service. It is written against the specifications without any code of ours, so that a test
is no mirror.

`LoadBalancer` hands each connection to the next of its doubles and looks at nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import struct
import tempfile
import threading
from collections import Counter
from collections.abc import Awaitable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import bson
from bson import ObjectId
from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo.compression_support import decompress

from .certificates import LOCAL_NAMES
from .mongo import MongoDeployment
from .ports import LOOPBACK, free_port

T = TypeVar("T")
_HEADER = struct.Struct("<iiii")
_QUERY, _REPLY, _MSG = 2004, 1, 2013
_COMPRESSED, _COMPRESSORS = 2012, ("snappy", "zlib", "zstd")
_LAST = ("ok", "$clusterTime", "operationTime")
_CHECKSUM, _MORE_TO_COME, _EXHAUST_ALLOWED = 1, 2, 1 << 16
_CODEC: CodecOptions[dict[str, Any]] = CodecOptions(
    document_class=dict, datetime_conversion=DatetimeConversion.DATETIME_MS
)
_HELLOS = frozenset({"hello", "isMaster", "ismaster"})
CLIENT_BYTES = 512
_MESSAGE_BYTES = 48_000_000
# What a replica set's member says of itself and its set, and a mongos does not.
_OF_SETS = frozenset(
    {
        *("setName", "setVersion", "hosts", "passives", "arbiters", "primary", "me", "electionId", "secondary", "tags"),
        *("lastWrite", "hidden", "passive", "arbiterOnly", "isreplicaset", "isImplicitDefaultMajorityWC", "slaveDelay"),
        *("secondaryDelaySecs", "ismaster", "isWritablePrimary", "serviceId", "compression"),
    }
)


class Background:
    """An event loop in a thread of its own, so that blocking tests have servers beside them."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Awaitable[T]) -> T:
        """Wait for work that runs there."""

        async def carry() -> T:
            return await work

        done: Future[T] = asyncio.run_coroutine_threadsafe(carry(), self.loop)
        return done.result(30)

    def close(self) -> None:
        """Stop it, with all its tasks."""

        async def cancel() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        self.run(cancel())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


class _Server:
    """A port that can be closed and opened again, with every connection of it."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.port = free_port()
        self._tls = tls
        self._background = Background()
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.start()

    @property
    def address(self) -> str:
        """`127.0.0.1:port`."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def connections(self) -> int:
        """Those that are open."""
        return len(self._writers)

    def start(self) -> None:
        """Listen (again)."""

        async def listen() -> asyncio.Server:
            return await asyncio.start_server(self._accept, LOOPBACK, self.port, ssl=self._tls)

        if self._server is None:
            self._server = self._background.run(listen())

    def kill(self) -> None:
        """Refuse connections and cut those that there are."""

        async def drop() -> None:
            assert self._server is not None
            self._server.close()
            for writer in tuple(self._writers):
                writer.transport.abort()

        if self._server is not None:
            self._background.run(drop())
            self._server = None
            self._forget()

    def _forget(self) -> None:
        """What is lost with the process."""

    def close(self) -> None:
        """End it for good."""
        self.kill()
        self._background.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                await self._serve(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        raise NotImplementedError


async def _both(one: Awaitable[None], other: Awaitable[None]) -> None:
    """Until either ends."""
    tasks = [asyncio.ensure_future(one), asyncio.ensure_future(other)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class LoadBalancer(_Server):
    """Round robin over backends that are given as ports on loopback; those that refuse are passed over."""

    def __init__(self, backends: Sequence[int]) -> None:
        self._backends = list(backends)
        self.served: Counter[int] = Counter()
        super().__init__()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in self._backends:
            self._backends.append(backend := self._backends.pop(0))
            try:
                up_reader, up_writer = await asyncio.open_connection(LOOPBACK, backend)
            except OSError:
                continue
            self.served[backend] += 1
            try:
                await _both(_copy(reader, up_writer), _copy(up_reader, writer))
            finally:
                up_writer.transport.abort()
            return


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(64 * 1024):
        sink.write(data)
        await sink.drain()


@dataclass(slots=True)
class _Asked:
    """What a reply is for."""

    request: int
    name: str
    in_transaction: bool = False


@dataclass(slots=True)
class _Link:
    """One client connection and its connection to mongod."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter
    waiting: dict[int, _Asked] = field(default_factory=dict)
    asked: _Asked | None = None  # what the chain of replies that is under way answers
    greeted: bool = False
    compressors: list[str] = field(default_factory=list)  # agreed with the client


class MongosDouble(_Server):
    """One mongos. `balanced` puts it behind a load balancer; `commands` counts what it was asked."""

    def __init__(self, deployment: MongoDeployment, *, member: int = 0, balanced: bool = False) -> None:
        self._upstream = deployment.members[member].port
        self._balanced = balanced
        self._service_id = ObjectId()
        self.commands: Counter[str] = Counter()
        self.cursors: set[int] = set()
        self.transactions: set[tuple[bytes, int]] = set()
        self._up_tls = _client_tls(deployment)
        super().__init__(_server_tls(deployment))

    def _forget(self) -> None:
        self.cursors.clear()
        self.transactions.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(
            LOOPBACK, self._upstream, ssl=self._up_tls, server_hostname=LOOPBACK if self._up_tls else None
        )
        link = _Link(writer, up_writer)
        try:
            await _both(self._requests(reader, link), self._replies(up_reader, link))
        finally:
            up_writer.transport.abort()

    # --- requests -------------------------------------------------------------------------------------------------

    async def _requests(self, reader: asyncio.StreamReader, link: _Link) -> None:
        while True:
            raw = await _message(reader)
            if _HEADER.unpack_from(raw)[3] == _COMPRESSED and link.compressors:
                raw = _opened(raw)
            _, request, _, opcode = _HEADER.unpack_from(raw)
            if opcode == _QUERY:
                self._query(link, raw, request)
            elif opcode == _MSG:
                self._command(link, raw, request)
            else:
                return  # nothing was negotiated
            await link.server.drain()

    def _query(self, link: _Link, raw: bytes, request: int) -> None:
        start = raw.index(b"\0", 20) + 1 + 8
        document = bson.decode(raw[start:], codec_options=_CODEC)
        inner = document.get("$query", document)
        refused = self._hello(link, inner)
        link.waiting[request] = _Asked(request, "hello")
        if refused is not None:
            link.client.write(_op_reply(refused, request))
            return
        link.server.write(_framed(raw[16:start] + bson.encode(document), request, _QUERY))

    def _command(self, link: _Link, raw: bytes, request: int) -> None:
        flags, start, end = _body(raw)
        command = bson.decode(raw[start:end], codec_options=_CODEC)
        name = next(iter(command))
        self.commands[name] += 1
        refused = self._hello(link, command) if name in _HELLOS else self._judge(name, command)
        if refused is not None:
            if not flags & _MORE_TO_COME:
                link.client.write(_op_msg(refused, request))
            return
        if not flags & _MORE_TO_COME:
            link.waiting[request] = _Asked(request, name, command.get("autocommit") is False)
        changed = name in _HELLOS or command.pop("recoveryToken", None) is not None
        exhausts = bool(flags & _EXHAUST_ALLOWED) and name not in _HELLOS
        if changed or exhausts:
            flags &= ~(_CHECKSUM | (_EXHAUST_ALLOWED if exhausts else 0))
            rest = raw[20 : start - 1], raw[end : len(raw) - (4 if _body(raw)[0] & _CHECKSUM else 0)]
            body = struct.pack("<I", flags) + rest[0] + b"\0" + bson.encode(command) + rest[1]
            raw = _framed(body, request, _MSG)
        link.server.write(raw)

    def _hello(self, link: _Link, hello: dict[str, Any]) -> dict[str, Any] | None:
        """Make it a mongod's hello; or what is wrong with it."""
        asked = hello.pop("compression", None)
        if asked is not None:
            link.compressors = [each for each in asked if each in _COMPRESSORS]
        balanced = bool(hello.pop("loadBalanced", False))
        client = hello.get("client")
        if client is not None and len(bson.encode(client)) > CLIENT_BYTES:
            return _error(185, "ClientMetadataDocumentTooLarge", f"The client metadata is over {CLIENT_BYTES} bytes")
        if self._balanced and not balanced and not link.greeted:
            what = (
                "The server is being accessed through a load balancer, but this driver does not have load balancing on"
            )
            return _error(354, "LoadBalancerSupportMismatch", what)
        link.greeted = True
        return None

    def _judge(self, name: str, command: dict[str, Any]) -> dict[str, Any] | None:
        """What only the mongos that began it can do."""
        if name == "getMore" and command["getMore"] not in self.cursors:
            return _error(43, "CursorNotFound", f"cursor id {command['getMore']} not found")
        if name == "killCursors" and not self.cursors & set(command["cursors"]):
            empty: dict[str, Any] = {key: [] for key in ("cursorsKilled", "cursorsAlive", "cursorsUnknown")}
            return {**empty, "cursorsNotFound": command["cursors"], "ok": 1.0}
        if command.get("autocommit") is False:
            key = bytes(command["lsid"]["id"]), int(command["txnNumber"])
            if command.get("startTransaction"):
                self.transactions.add(key)
            elif key not in self.transactions and "recoveryToken" not in command:
                error = _error(251, "NoSuchTransaction", f"{name} of a transaction that was begun at another mongos")
                return {**error, "errorLabels": ["TransientTransactionError"]}
        return None

    # --- replies --------------------------------------------------------------------------------------------------

    async def _replies(self, reader: asyncio.StreamReader, link: _Link) -> None:
        while True:
            raw = await _message(reader)
            _, _, response_to, opcode = _HEADER.unpack_from(raw)
            asked = link.waiting.pop(response_to, None) or link.asked
            if opcode == _REPLY:
                document = bson.decode(raw[36:], codec_options=_CODEC)
                link.client.write(_op_reply(self._grid(link, document), response_to))
            else:
                assert asked is not None
                link.client.write(self._reply(link, asked, raw))
            await link.client.drain()

    def _reply(self, link: _Link, asked: _Asked, raw: bytes) -> bytes:
        flags, start, end = _body(raw)
        link.asked = asked if flags & _MORE_TO_COME else None
        _, request, response_to, _ = _HEADER.unpack_from(raw)
        document = bson.decode(raw[start:end], codec_options=_CODEC)
        if asked.name in _HELLOS:
            document = self._grid(link, document)
        else:
            cursor = document.get("cursor")
            if isinstance(cursor, dict) and cursor.get("id"):
                self.cursors.add(cursor["id"])
            if not asked.in_transaction:
                return raw
            document["recoveryToken"] = {"recoveredShardId": "shard0"}
        body = struct.pack("<I", flags & ~_CHECKSUM) + b"\0" + bson.encode(document)
        return _framed(body, request, _MSG, response_to)

    def _grid(self, link: _Link, hello: dict[str, Any]) -> dict[str, Any]:
        """A mongod's hello as a mongos says it."""
        if hello.get("ok") != 1:
            return hello
        writable = "isWritablePrimary" if "isWritablePrimary" in hello else "ismaster"
        kept = {name: value for name, value in hello.items() if name not in _OF_SETS}
        service = {"serviceId": self._service_id} if self._balanced else {}
        own = {name: kept.pop(name) for name in tuple(kept) if name in _LAST}
        compression = {"compression": link.compressors} if link.compressors else {}
        return {writable: True, "msg": "isdbgrid", **service, **kept, **compression, **own}


# --- bytes --------------------------------------------------------------------------------------------------------


async def _message(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(16)
    return head + await reader.readexactly(_HEADER.unpack(head)[0] - 16)


def _opened(raw: bytes) -> bytes:
    """The message in a compressed one."""
    opcode, _, compressor = struct.unpack_from("<iiB", raw, 16)
    return _framed(bytes(decompress(raw[25:], compressor, _MESSAGE_BYTES)), _HEADER.unpack_from(raw)[1], opcode)


def _framed(body: bytes, request: int, opcode: int, response_to: int = 0) -> bytes:
    return _HEADER.pack(16 + len(body), request, response_to, opcode) + body


def _op_msg(document: dict[str, Any], response_to: int) -> bytes:
    return _framed(b"\0\0\0\0\0" + bson.encode(document), 1, _MSG, response_to)


def _op_reply(document: dict[str, Any], response_to: int) -> bytes:
    return _framed(struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(document), 1, _REPLY, response_to)


def _body(raw: bytes) -> tuple[int, int, int]:
    """The flags of an OP_MSG, and where its kind-0 document begins and ends."""
    flags: int = struct.unpack_from("<I", raw, 16)[0]
    place = 20
    while raw[place] != 0:
        place += 1 + struct.unpack_from("<i", raw, place + 1)[0]
    return flags, place + 1, place + 1 + struct.unpack_from("<i", raw, place + 1)[0]


def _error(code: int, name: str, message: str) -> dict[str, Any]:
    return {"ok": 0.0, "code": code, "codeName": name, "errmsg": message}


def _client_tls(deployment: MongoDeployment) -> ssl.SSLContext | None:
    if deployment.ca is None:
        return None
    return ssl.create_default_context(cadata=deployment.ca.pem)


def _server_tls(deployment: MongoDeployment) -> ssl.SSLContext | None:
    if deployment.ca is None:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with tempfile.TemporaryDirectory(prefix="wardgate-mongos-") as folder:
        path = Path(folder) / "server.pem"
        path.write_bytes(deployment.ca.issue((*LOCAL_NAMES, *deployment.shape.names)))
        context.load_cert_chain(path)
    return context
