"""What a stranger on the path sees, and what a client certificate opens: one session, its purposes, its time.

The intruder here holds what a thief could have: a genuine certificate with its key, the routes, and a TLS stack that
checks nothing.
"""

from __future__ import annotations

import json
import select
import socket
import ssl
import struct
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import bson
import pytest
from pymongo import MongoClient

from wardgate.api.models import SessionGrant
from wardgate.net import certs
from wardgate.testing.mongo import MongoDeployment
from wardgate.testing.ports import LOOPBACK, free_port
from wardgate.testing.stack import Access, Stack

CONTROL, DATA, RELAY = "wardgate-ctl/1", "wardgate-mongo/1", "wardgate-relay/1"
MARKER = "the-marker-that-nobody-may-read-9f3c"


class Intruder:
    """A granted session whose certificate and key are in the hands of this test."""

    def __init__(self, stack: Stack, folder: Path, resource: str = "rs", account: str = "ro") -> None:
        key = certs.make_key()
        body = {
            "resource": resource,
            "account": account,
            "duration": "10m",
            "csr": certs.csr_to_pem(certs.make_csr(key)),
        }
        request = urllib.request.Request(
            f"{stack.domain}/api/v1/projects/{stack.project_id}/sessions",
            data=json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {_access_token(stack)}", "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            self.grant = SessionGrant.model_validate_json(answer.read())
        self.session_id = self.grant.session.id
        self._pem = folder / f"{self.session_id}.pem"
        self._pem.write_bytes(certs.key_to_pem(key) + self.grant.certificate.encode())
        self._open: list[ssl.SSLSocket] = []

    def context(self, alpn: str | None) -> ssl.SSLContext:
        """With the session's certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(self._pem)
        if alpn is not None:
            context.set_alpn_protocols([alpn])
        return context

    def dial(self) -> socket.socket:
        """TCP to the relay."""
        host, _, port = self.grant.routes[0].address.rpartition(":")
        return socket.create_connection((host, int(port)), timeout=15)

    def connect(self, alpn: str | None, sni: str | None = None) -> ssl.SSLSocket:
        """A stream to the gateway through the relay."""
        stream = self.context(alpn).wrap_socket(self.dial(), server_hostname=sni or self.grant.routes[0].sni)
        self._open.append(stream)
        return stream

    def hold(self, alpn: str) -> HeldStream:
        """A stream whose handshake waits for its last flight: the relay has joined it, the gateway knows nobody yet."""
        return HeldStream(self, alpn)

    def control(self, stream: ssl.SSLSocket | HeldStream | None = None) -> ssl.SSLSocket | HeldStream:
        """The control stream, up to `ready`: the session is active then."""
        stream = stream or self.connect(CONTROL)
        stream.sendall(_frame({"t": "hello", "version": "0"}))
        topology = _until(stream, "topology")
        members = {each["address"]: f"{LOOPBACK}:{40_000 + n}" for n, each in enumerate(topology["members"])}
        stream.sendall(_frame({"t": "listeners", "main": f"{LOOPBACK}:39999", "members": members}))
        _until(stream, "ready")
        return stream

    def ask(self, sni: str | None = None) -> bytes:
        """A data stream and a ping on it; what came back, nothing where it was cut."""
        try:
            return _asked(self.connect(DATA, sni))
        except OSError:
            return b""

    def close(self) -> None:
        """Drop every stream."""
        for stream in self._open:
            stream.close()


class HeldStream:
    """TLS by hand, so that the client's last flight is sent when the test wants it."""

    def __init__(self, intruder: Intruder, alpn: str) -> None:
        context = intruder.context(alpn)
        self._raw = intruder.dial()
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_hostname=intruder.grant.routes[0].sni)
        while True:
            try:
                self._tls.do_handshake()
                return
            except ssl.SSLWantReadError:
                self._raw.sendall(self._out.read())
                self._more()

    def sendall(self, data: bytes) -> None:
        """The first call ends the handshake too."""
        self._tls.write(data)
        self._raw.sendall(self._out.read())

    def recv(self, count: int) -> bytes:
        """As of a socket."""
        while True:
            try:
                return self._tls.read(count)
            except ssl.SSLWantReadError:
                if not self._more():
                    return b""
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return b""

    def close(self) -> None:
        """Drop it."""
        self._raw.close()

    def _more(self) -> bool:
        data = self._raw.recv(65_536)
        self._in.write(data)
        return bool(data)


def _access_token(stack: Stack) -> str:
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, dict):
            found.extend(inner for name, inner in value.items() if name == "access_token")
            for inner in value.values():
                walk(inner)

    walk(json.loads((stack.wardgate.config / "logins.json").read_text()))
    return found[0]


def _frame(value: dict[str, Any]) -> bytes:
    raw = json.dumps(value).encode()
    return struct.pack("<I", len(raw)) + raw


def _until(stream: ssl.SSLSocket | HeldStream, kind: str) -> dict[str, Any]:
    while True:
        (length,) = struct.unpack("<I", _exactly(stream, 4))
        frame: dict[str, Any] = json.loads(_exactly(stream, length))
        if frame["t"] == kind:
            return frame
        assert frame["t"] not in {"refused", "ended"}, frame


def _exactly(stream: ssl.SSLSocket | HeldStream, count: int) -> bytes:
    found = b""
    while len(found) < count:
        part = stream.recv(count - len(found))
        if not part:
            raise ConnectionError("the stream was cut")
        found += part
    return found


def _asked(stream: ssl.SSLSocket | HeldStream) -> bytes:
    """What a ping on a data stream brought."""
    try:
        stream.sendall(_frame({"t": "open", "member": None, "local": f"{LOOPBACK}:39999"}) + _ping())
        return stream.recv(65_536)
    except OSError:  # TLS alerts and resets are refusals too
        return b""


def _ping() -> bytes:
    """`ping` as OP_MSG."""
    body = b"\0\0\0\0\0" + bson.encode({"ping": 1, "$db": "admin"})
    return struct.pack("<iiii", 16 + len(body), 7, 0, 2013) + body


@pytest.fixture
def intruder(stack: Stack, tmp_path: Path) -> Iterator[Intruder]:
    one = Intruder(stack, tmp_path)
    yield one
    one.close()


def test_a_session_that_holds_its_own_works(stack: Stack, intruder: Intruder) -> None:
    """The yardstick for the refusals below: this is what is refused there."""
    intruder.control()
    assert b"ok" in intruder.ask()
    stack.wardgate.run("pam", "session", "terminate", intruder.session_id)


def test_no_data_before_the_session_is_active(intruder: Intruder) -> None:
    assert intruder.ask() == b""


def test_nothing_opens_after_the_end(stack: Stack, intruder: Intruder) -> None:
    """The certificate itself is good for ten minutes."""
    control = intruder.control()
    assert b"ok" in intruder.ask()
    stack.wardgate.run("pam", "session", "terminate", intruder.session_id)
    while control.recv(4096):
        pass  # until the gateway has ended it
    assert intruder.ask() == b""
    with pytest.raises((OSError, AssertionError)):
        intruder.control()


def test_nothing_comes_back_while_it_ends(intruder: Intruder) -> None:
    """Between the user's Ctrl+C and the moment when the control plane knows of it, it would give another lease."""
    control = intruder.control()
    again, data = intruder.hold(CONTROL), intruder.hold(DATA)
    control.sendall(_frame({"t": "bye", "reason": "client_closed"}))
    with pytest.raises((OSError, AssertionError)):
        intruder.control(again)
    assert _asked(data) == b""
    again.close()
    data.close()


def test_a_lost_control_stream_opens_nothing_new(stack: Stack, intruder: Intruder) -> None:
    intruder.control().close()
    answers = [intruder.ask() for _ in range(20)]  # the gateway notices the loss at its next turn of the loop
    assert answers[-1] == b""
    stack.wardgate.run("pam", "session", "terminate", intruder.session_id)


def test_one_session_does_not_open_another(stack: Stack, intruder: Intruder, tmp_path: Path) -> None:
    """A genuine certificate of a session that is not active, on the route of one that is."""
    other = Intruder(stack, tmp_path)
    other.control()
    assert b"ok" in other.ask()
    assert intruder.ask(sni=other.grant.routes[0].sni) == b""
    stack.wardgate.run("pam", "session", "terminate", other.session_id)
    other.close()


@pytest.mark.parametrize("alpn", [RELAY, "h2", None])
def test_no_other_purpose(stack: Stack, intruder: Intruder, alpn: str | None) -> None:
    intruder.control()
    for sni in (None, "relay.wardgate.internal"):
        try:
            stream = intruder.connect(alpn, sni)
            stream.sendall(_frame({"t": "open", "member": None, "local": f"{LOOPBACK}:39999"}) + _ping())
            answer = stream.recv(65_536)
        except OSError:
            answer = b""
        assert answer == b""
    stack.wardgate.run("pam", "session", "terminate", intruder.session_id)


class Recorder:
    """A relay's wire: forwards every connection and keeps all bytes of both directions."""

    def __init__(self, port: int, target: int) -> None:
        self.seen = bytearray()
        self._target = target
        self._listener = socket.create_server((LOOPBACK, port))
        self._threads: list[threading.Thread] = []
        self._closed = threading.Event()
        self._start(self._accept)

    def _start(self, work: Any, *arguments: Any) -> None:
        thread = threading.Thread(target=work, args=arguments, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _accept(self) -> None:
        while not self._closed.is_set():
            if select.select([self._listener], [], [], 0.1)[0]:
                inner, _ = self._listener.accept()
                self._start(self._carry, inner)

    def _carry(self, inner: socket.socket) -> None:
        with inner, socket.create_connection((LOOPBACK, self._target)) as outer:
            other = {inner: outer, outer: inner}
            while not self._closed.is_set():
                for ready in select.select(list(other), [], [], 0.1)[0]:
                    try:
                        data = ready.recv(65_536)
                        self.seen += data
                        other[ready].sendall(data)
                    except OSError:
                        return
                    if not data:
                        return

    def close(self) -> None:
        """Cut everything."""
        self._closed.set()
        for thread in self._threads:
            thread.join(10)
        self._listener.close()


def test_the_relay_can_read_nothing(mongod_rs1: MongoDeployment, tmp_path: Path) -> None:
    with mongod_rs1.client() as client:
        client.tunnel.secrets.drop()
        client.tunnel.secrets.insert_one({"text": MARKER})
    port = free_port()
    with Stack(tmp_path) as stack:
        recorder = Recorder(port, stack.relay_port)
        try:
            stack.init_server()
            stack.start_server("--relay-advertise", f"{LOOPBACK}:{port}")
            stack.login()
            stack.create_project("shop")
            stack.start_gateway("near-db", stack.create_gateway("near-db"))
            stack.add_resource("rs", mongod_rs1)
            stack.add_account("rw", "rs", mongod_rs1.rw)
            access: Access = stack.access("rs", "rw")
            with MongoClient[dict[str, Any]](access.uri) as client:
                assert [each["text"] for each in client.tunnel.secrets.find()] == [MARKER]
                client.tunnel.secrets.insert_one({"text": MARKER})
            access.close()
        finally:
            stack.close()
            recorder.close()
    seen = bytes(recorder.seen)
    assert b"wardgate.internal" in seen  # the server names: it is the relay's wire indeed
    for readable in (MARKER, "secrets", "find", "isMaster", "hello", "saslStart", mongod_rs1.rw.password):
        assert readable.encode() not in seen
