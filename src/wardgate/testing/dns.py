"""A small DNS server on loopback, over UDP and TCP, for names that exist in a test only.

It answers from a table that a test changes while it runs, and can fail on purpose: refuse, stay silent, or cut its UDP
answers so that only TCP has them. It serves from threads, so that blocking and asynchronous tests can use it alike.
"""

from __future__ import annotations

import socketserver
import threading
from collections import Counter
from enum import Enum, auto
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from .ports import LOOPBACK

_TRIES = 20  # a port that is free for TCP may be taken for UDP
_MESSAGE_BYTES = 65_535


class Fault(Enum):
    """How a name fails."""

    REFUSED = auto()
    SILENT = auto()
    TRUNCATED = auto()  # over UDP only, so that a resolver has to come again over TCP


class _Udp(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        data, sock = self.request
        reply = cast("_UdpServer", self.server).owner.answer(data, udp=True)
        if reply is not None:
            sock.sendto(reply, self.client_address)


class _Tcp(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        head = self.rfile.read(2)
        if len(head) < 2:
            return
        data = self.rfile.read(int.from_bytes(head, "big"))
        reply = cast("_TcpServer", self.server).owner.answer(data, udp=False)
        if reply is not None:
            self.wfile.write(len(reply).to_bytes(2, "big") + reply)


class _UdpServer(socketserver.ThreadingUDPServer):
    daemon_threads = True
    owner: DnsServer


class _TcpServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    owner: DnsServer


class DnsServer:
    """Use it as a context manager; `add` and `clear` records at any time."""

    def __init__(self) -> None:
        self.asked: Counter[tuple[str, str]] = Counter()
        self._records: dict[tuple[str, str], tuple[int, list[str]]] = {}
        self._faults: dict[str, Fault] = {}
        self._udp, self._tcp = _bind()
        self._udp.owner = self._tcp.owner = self
        self._threads = [
            threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
            for server in (self._udp, self._tcp)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> DnsServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop answering."""
        for server in (self._udp, self._tcp):
            server.shutdown()
            server.server_close()
        for thread in self._threads:
            thread.join()

    @property
    def address(self) -> str:
        """`127.0.0.1:port`, as WARDGATE_GATEWAY_DNS takes it."""
        return f"{LOOPBACK}:{self.port}"

    @property
    def port(self) -> int:
        """The port, of UDP and TCP."""
        port: int = self._tcp.server_address[1]
        return port

    def add(self, name: str, kind: str, *values: str, ttl: int = 60) -> None:
        """Set a name's records of one kind, in the text form of zone files: `add("a.test", "A", "127.0.0.1")`."""
        self._records[_key(name), kind] = (ttl, list(values))

    def add_service(self, host: str, *places: tuple[str, int], service: str = "mongodb", ttl: int = 60) -> None:
        """The SRV record of `mongodb+srv://host`."""
        values = [f"0 0 {port} {target}." for target, port in places]
        self.add(f"_{service}._tcp.{host}", "SRV", *values, ttl=ttl)

    def remove(self, name: str, kind: str) -> None:
        """Forget a name's records of one kind."""
        self._records.pop((_key(name), kind), None)

    def fail(self, name: str, fault: Fault | None) -> None:
        """Let every question for a name fail, or no longer."""
        if fault is None:
            self._faults.pop(_key(name), None)
        else:
            self._faults[_key(name)] = fault

    def answer(self, data: bytes, *, udp: bool) -> bytes | None:
        """The reply to one message, None for silence."""
        try:
            query = dns.message.from_wire(data)
        except dns.exception.DNSException:
            return None
        if len(query.question) != 1 or query.opcode() != dns.opcode.QUERY:
            return None
        question = query.question[0]
        name, kind = _key(question.name.to_text()), dns.rdatatype.to_text(question.rdtype)
        self.asked[name, kind] += 1
        fault = self._faults.get(name)
        if fault is Fault.SILENT:
            return None
        reply = dns.message.make_response(query, recursion_available=True)
        if fault is Fault.REFUSED:
            reply.set_rcode(dns.rcode.SERVFAIL)
        elif fault is Fault.TRUNCATED and udp:
            reply.flags |= dns.flags.TC
        else:
            self._fill(reply, question.name, name, kind)
        return reply.to_wire(max_size=_MESSAGE_BYTES)

    def _fill(self, reply: dns.message.Message, asked: dns.name.Name, name: str, kind: str) -> None:
        found = self._records.get((name, kind))
        if found is not None:
            ttl, values = found
            reply.answer.append(dns.rrset.from_text_list(asked, ttl, dns.rdataclass.IN, kind, values))
        elif all(known != name for known, _ in self._records):
            reply.set_rcode(dns.rcode.NXDOMAIN)


def _key(name: str) -> str:
    return name.rstrip(".").lower()


def _bind() -> tuple[_UdpServer, _TcpServer]:
    for _ in range(_TRIES):
        tcp = _TcpServer((LOOPBACK, 0), _Tcp)
        try:
            return _UdpServer(tcp.server_address, _Udp), tcp
        except OSError:
            tcp.server_close()
    raise OSError("no port is free for both UDP and TCP")
