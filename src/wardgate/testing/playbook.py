"""A dialogue with the connection machine, read as a script.

`Playbook` stands for the pump: it feeds one machine, answers records with sequence numbers, and keeps every action as
a line of text, so that a test states what happens in the order in which it happens. The messages are real BSON.

    >> find #7          to the server              record intent find        a record
    << #7 ok=1 held     to the client              connect, login, sync, …   the other actions
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import bson

from ..audit import records as audit
from ..audit.codec import Assembler, Entry
from ..policy.decide import Policy
from ..proxy import actions as do
from ..proxy.connection import ProxyConnection
from ..proxy.facts import ConnectionFacts, SessionRules, Topology
from ..proxy.work import WorkLog
from ..wire.header import HEADER
from ..wire.login import LoginKeys

MORE_TO_COME = 2
EXHAUST_ALLOWED = 1 << 16
MEMBER = "db1:27017"
LISTENER = "127.0.0.1:40001"
SESSION = "ses_01k00000000000000000000000"


def counting(length: int) -> bytes:
    """Randomness for tests."""
    return bytes(range(length))


def op_msg(document: dict[str, Any], request_id: int, response_to: int = 0, flags: int = 0) -> bytes:
    """An OP_MSG around one document."""
    body = bson.encode(document)
    return HEADER.pack(21 + len(body), request_id, response_to, 2013) + struct.pack("<IB", flags, 0) + body


def op_msg_sections(sections: Iterable[bytes], request_id: int, flags: int = 0) -> bytes:
    """An OP_MSG of ready-made sections, kind byte included."""
    body = b"".join(sections)
    return HEADER.pack(20 + len(body), request_id, 0, 2013) + struct.pack("<I", flags) + body


def body_section(document: dict[str, Any]) -> bytes:
    """A kind-0 section."""
    return b"\x00" + bson.encode(document)


def sequence_section(name: str, documents: Iterable[dict[str, Any]]) -> bytes:
    """A kind-1 section."""
    payload = name.encode() + b"\x00" + b"".join(bson.encode(document) for document in documents)
    return b"\x01" + struct.pack("<i", 4 + len(payload)) + payload


def op_query(document: dict[str, Any], request_id: int, namespace: str = "admin.$cmd") -> bytes:
    """An OP_QUERY command."""
    body = struct.pack("<i", 0) + namespace.encode() + b"\x00" + struct.pack("<ii", 0, -1) + bson.encode(document)
    return HEADER.pack(16 + len(body), request_id, 0, 2004) + body


def op_reply(document: dict[str, Any], request_id: int, response_to: int) -> bytes:
    """An OP_REPLY around one document."""
    body = struct.pack("<iqii", 8, 0, 0, 1) + bson.encode(document)
    return HEADER.pack(16 + len(body), request_id, response_to, 1) + body


def document_of(message: bytes) -> dict[str, Any]:
    """The first document of an OP_MSG (kind 0 first), OP_QUERY or OP_REPLY."""
    opcode = HEADER.unpack_from(message)[3]
    if opcode == 2013:
        end = len(message) - (4 if struct.unpack_from("<I", message, 16)[0] & 1 else 0)
        return dict(bson.decode(message[21:end]))
    start = 36 if opcode == 1 else message.index(b"\x00", 20) + 9
    return dict(bson.decode(message[start:]))


def hello_document(**more: Any) -> dict[str, Any]:
    """What a primary answers to hello, roughly."""
    return {
        "isWritablePrimary": True,
        "hosts": ["db1:27017", "db2:27017"],
        "setName": "rs0",
        "me": "db1:27017",
        "primary": "db1:27017",
        "maxWireVersion": 17,
        "ok": 1.0,
        **more,
    }


def hello_request(request_id: int = 1, flags: int = 0, **more: Any) -> bytes:
    """A driver's hello, as OP_MSG."""
    client = {"application": {"name": "app"}, "driver": {"name": "test", "version": "1"}, "os": {"type": "Linux"}}
    return op_msg({"hello": 1, "helloOk": True, "client": client, "$db": "admin", **more}, request_id, 0, flags)


def command(document: dict[str, Any], request_id: int, flags: int = 0, database: str = "shop") -> bytes:
    """A command on the database `shop`."""
    return op_msg({**document, "$db": database}, request_id, 0, flags)


def reply(response_to: int, request_id: int = 900, flags: int = 0, **fields: Any) -> bytes:
    """A server's reply."""
    return op_msg({**fields, "ok": fields.get("ok", 1.0)}, request_id, response_to, flags)


class Playbook:
    """One machine under test and the script of what it asked for."""

    def __init__(
        self,
        *,
        topology: Topology | None = None,
        main: bool = False,
        work: WorkLog | None = None,
        machine: Mapping[str, Any] | None = None,
        **rules: Any,
    ) -> None:
        """`machine` is what the connection machine is made with besides, `rules` the session's."""
        self.work = work or WorkLog()
        rules.setdefault("policy", Policy())
        rules.setdefault("login_keys", LoginKeys(counting))
        self.machine = ProxyConnection(
            ConnectionFacts(
                connection=1,
                session=SESSION,
                user="ann@example.com",
                peer="127.0.0.1:50000",
                local=LISTENER,
                member=None if main else MEMBER,
            ),
            SessionRules(work=self.work, random=counting, **rules),
            topology or Topology("replica_set", {MEMBER: LISTENER}),
            **(machine or {}),
        )
        self.now = 1000.0
        self.actions: list[do.Action] = []
        self.records: list[audit.Record] = []
        self.to_client = b""
        self.to_server = b""
        self._seq = 0
        self._pending_intent = False

    # --- inputs -------------------------------------------------------------------------------------------------------

    def start(self) -> list[str]:
        """The stream opens."""
        return self.run(self.machine.start())

    def client(self, *data: bytes) -> list[str]:
        """The client sends these, each at once."""
        return [line for each in data for line in self.run(self.machine.client_data(each, self.now))]

    def server(self, *data: bytes) -> list[str]:
        """The server sends these, each at once."""
        return [line for each in data for line in self.run(self.machine.server_data(each, self.now))]

    def event(self, event: Callable[..., list[do.Action]], *arguments: Any, **more: Any) -> list[str]:
        """Any other input: a bound method of the machine, called with `arguments` and the time."""
        return self.run(event(*arguments, self.now, **more))

    def ready(self) -> None:
        """Bring it to where a client said hello and ran a ping, with a logged-in server connection."""
        self.start()
        self.event(self.machine.server_ready, MEMBER)
        self.client(hello_request(1))
        self.server(op_msg(hello_document(), 800, 1))
        self.client(command({"count": "warm"}, 2))
        self.event(self.machine.logged_in)
        self.server(reply(2, n=0))
        self.clear()

    def bodies(self) -> list[audit.CommandIntent | audit.Denied]:
        """Every command that was recorded, with its whole body."""
        whole: list[audit.CommandIntent | audit.Denied] = []
        for record in self.records:
            if isinstance(record, audit.CommandIntent | audit.Denied):
                assembler = Assembler(Entry(0, record, ()))
                for part in self.records:
                    if isinstance(part, audit.UploadPart):
                        assembler.add(part)
                found = assembler.record()
                assert isinstance(found, audit.CommandIntent | audit.Denied)
                whole.append(found)
        return whole

    def state(self) -> str:
        """The name of the machine's state."""
        return self.machine.state.name

    def clear(self) -> None:
        """Forget what happened so far."""
        self.actions.clear()
        self.records.clear()
        self.to_client = self.to_server = b""

    # --- the pump's part ----------------------------------------------------------------------------------------------

    def run(self, actions: list[do.Action]) -> list[str]:
        """Carry actions out as the pump would; their lines."""
        lines = []
        intents = 0
        proceeds = False
        for action in actions:
            self.actions.append(action)
            lines.append(line_of(action))
            if isinstance(action, do.Record):
                self._seq += 1
                self.records.append(action.record)
                if isinstance(action.record, audit.CommandIntent):
                    intents += 1
                    assert intents == 1, "two intents in one list"
                    self.machine.recorded(self._seq)
                elif isinstance(action.record, audit.Upload):
                    self.machine.recorded(self._seq)
            elif isinstance(action, do.Proceed):
                proceeds = True
            elif isinstance(action, do.ToClient):
                self.to_client += action.data
            elif isinstance(action, do.ToServer):
                self.to_server += action.data
        if proceeds:
            lines += self.run(self.machine.proceed(self.now))
        return lines


def line_of(action: do.Action) -> str:
    """One action as a line of the script."""
    match action:
        case do.ToServer(data):
            return f">> {_message(data, request=True)}"
        case do.ToClient(data, held):
            return f"<< {_message(data)}{' held' if held else ''}"
        case do.Record(record):
            return f"record {_record(record)}"
        case do.AwaitDurable():
            return "sync"
        case do.Proceed():
            return "proceed"
    words = {
        do.ConnectServer: "connect",
        do.Login: "login",
        do.PauseClient: "pause client",
        do.ResumeClient: "resume client",
        do.AbortServer: "abort server",
        do.FinishServer: "finish server",
        do.CloseClient: "close client",
    }
    return words[type(action)]


def _message(data: bytes, *, request: bool = False) -> str:
    if len(data) < 21 or HEADER.unpack_from(data)[0] != len(data):
        return f"{len(data)} bytes"
    _, request_id, response_to, _ = HEADER.unpack_from(data)
    try:
        document = document_of(data)
    except (bson.errors.InvalidBSON, ValueError):
        return f"{len(data)} bytes"
    if request:
        return f"{next(iter(document), '?')} #{request_id}"
    code = f" code={document['code']}" if "code" in document else ""
    return f"#{response_to} ok={document.get('ok', 0):g}{code}"


def _record(record: audit.Record) -> str:
    match record:
        case audit.Upload(bytes_in=size):
            return f"upload {size}"
        case audit.UploadPart(index=index):
            return f"part {index}"
        case audit.CommandIntent(command=name):
            return f"intent {name}"
        case audit.CommandOutcome(ok=ok, error=error, unacknowledged=True):
            return "outcome unacknowledged"
        case audit.CommandOutcome(ok=None, error=error):
            return f"outcome none: {error}"
        case audit.CommandOutcome(ok=ok, documents=documents, code=code, more=more):
            text = f"outcome ok={ok:g}"
            text += f" documents={documents}" if documents is not None else ""
            text += f" code={code}" if code is not None else ""
            return text + (" more" if more else "")
        case audit.Denied(command=name, rule=rule, code=code):
            return f"denied {name} {rule} code={code}"
        case audit.ConnectionOpened():
            return "opened"
        case audit.ConnectionHello(client_app=app):
            return f"hello {app}"
        case audit.ConnectionClosed(reason=reason):
            return f"closed {reason}"
        case audit.Malformed(from_server=True):
            return "malformed from server"
        case audit.Malformed():
            return "malformed"
    return type(record).__name__
