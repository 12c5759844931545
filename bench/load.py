"""The load generator: one process that sends prebuilt messages and reads replies by their length.

It is the same for every path, and cheap: no driver, no BSON in the timed loop, one epoll for all connections, one
request under way on each. A path that ends at mongod costs it TLS and one SCRAM login; through wardgate it has
neither, as any client. The first reply of a connection is decoded and checked; every later one must be as long (but
those that are compressed, whose length changes with the cluster's time).

A workload that ends in `_zstd` asks for zstd in its hello, sends its message compressed and is answered so; nothing is
compressed in the timed loop.

    python -m bench.load        a target as one line of JSON on standard input, then one job a line; one answer a line

Linux only (epoll), as the rest of the bench (/proc).
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import select
import socket
import ssl
import struct
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil
from time import perf_counter, perf_counter_ns
from typing import Any

import bson

from wardgate.gateway.mongo.login import Login
from wardgate.secret import Secret
from wardgate.testing.playbook import body_section, document_of, op_msg, op_msg_sections, sequence_section
from wardgate.wire.compression import Compressor, compress, decompress, read_head
from wardgate.wire.header import Opcode, header_of

DATABASE = "bench"
ORDERS = 1_000
BLOBS = 1_500  # of 10 kB: one reply of 15 MB
NOISE = os.urandom(9_900)
_ZSTD = "_zstd"
REPLY_BYTES = 4 * 1024 * 1024  # no reply of ours comes near it
WARM_UP_S = 0.2
APART_S = 0.05
TIMEOUT_S = 60.0
_LENGTH = struct.Struct("<i")
Summary = dict[str, float]


# --- what is sent --------------------------------------------------------------------------------------------------


def order(number: int) -> dict[str, Any]:
    """One document of `orders`, about 150 bytes of BSON."""
    return {
        "_id": number,
        "customer": f"customer-{number:06}",
        "status": "open",
        "total": number * 1.25,
        "items": [{"sku": f"sku-{number:05}", "count": 3}],
    }


def small_find(lsid: dict[str, Any]) -> bytes:
    """One document by its _id."""
    return op_msg(
        {"find": "orders", "filter": {"_id": 500}, "limit": 1, "singleBatch": True, "lsid": lsid, "$db": DATABASE}, 1
    )


def thousand_find(lsid: dict[str, Any]) -> bytes:
    """The whole collection in one batch."""
    return op_msg(
        {"find": "orders", "filter": {}, "limit": ORDERS, "batchSize": ORDERS, "lsid": lsid, "$db": DATABASE}, 1
    )


def big_find(lsid: dict[str, Any]) -> bytes:
    """15 MB in one batch."""
    return op_msg({"find": "blobs", "filter": {}, "batchSize": BLOBS + 1, "lsid": lsid, "$db": DATABASE}, 1)


def big_insert(lsid: dict[str, Any]) -> bytes:
    """1,000 documents of 10 kB."""
    return _insert(lsid, 1_000)


def huge_insert(lsid: dict[str, Any]) -> bytes:
    """47 MB: as long as a message may be."""
    return _insert(lsid, 4_700)


def _insert(lsid: dict[str, Any], count: int) -> bytes:
    """Documents of 10 kB. They have no _id (the server adds one), so that the message can be sent again."""
    body = body_section({"insert": "bulk", "ordered": True, "lsid": lsid, "$db": DATABASE})
    documents = ({"number": number, "payload": NOISE} for number in range(count))
    return op_msg_sections([body, sequence_section("documents", documents)], 1)


WORKLOADS = {
    "small_find": small_find,
    "thousand_find": thousand_find,
    "big_find": big_find,
    "big_insert": big_insert,
    "huge_insert": huge_insert,
}


def split(workload: str) -> tuple[str, bool]:
    """The plain workload, and whether it is compressed."""
    return workload.removesuffix(_ZSTD), workload.endswith(_ZSTD)


def check(workload: str, reply: dict[str, Any]) -> None:
    """Whether the server did what was asked; SystemExit if not."""
    documents = len(reply.get("cursor", {}).get("firstBatch", ()))
    wanted = {
        "small_find": documents == 1,
        "thousand_find": documents == ORDERS and not reply.get("cursor", {}).get("id"),
        "big_find": documents == BLOBS and not reply.get("cursor", {}).get("id"),
        "big_insert": reply.get("n") == 1_000,
        "huge_insert": reply.get("n") == 4_700,
    }
    if reply.get("ok") != 1 or not wanted[split(workload)[0]]:
        raise SystemExit(f"{workload} failed: {str(reply)[:300]}")


# --- connections ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Target:
    """Where a path begins. `ca` None is plain TCP; `username` None needs no login."""

    host: str
    port: int
    ca: str | None = None
    username: str | None = None
    password: str | None = None

    def login(self) -> Login | None:
        """The credentials with their cache of derived keys, as a driver has one."""
        if self.username is None or self.password is None:
            return None
        return Login(self.username, Secret(self.password), "admin")


class Opener:
    """Opens connections as a driver does: TCP, TLS, hello, login."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._login = target.login()
        self._context = ssl.create_default_context(cafile=target.ca) if target.ca else None

    def open(self, compressed: bool = False) -> socket.socket:
        """One connection that can take commands; SystemExit if it was to be compressed and can't be."""
        target = self._target
        link = socket.create_connection((target.host, target.port), TIMEOUT_S)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is not None:
            link = self._context.wrap_socket(link, server_hostname=target.host)
        client = {"driver": {"name": "wardgate-bench", "version": "1"}, "os": {"type": "Linux"}}
        asked = ["zstd"] if compressed else []
        wish = {"compression": asked} if asked else {}
        hello = ask(link, {"hello": 1, "helloOk": True, "client": client, **wish, "$db": "admin"})
        if hello.get("compression", []) != asked:
            raise SystemExit(f"asked for the compressors {asked}, was told {hello.get('compression')}")
        if self._login is not None:
            conversation = self._login.conversation()
            step = conversation.next(None)
            while step is not None:
                step = conversation.next(ask(link, step))
        return link


def ask(link: socket.socket, document: dict[str, Any]) -> dict[str, Any]:
    """Send one command and return its reply; for what is not timed."""
    link.sendall(op_msg(document, 1))
    return document_of(receive(link))


def receive(link: socket.socket) -> bytes:
    """One whole message."""
    data = bytearray()
    while len(data) < 4 or len(data) < _LENGTH.unpack_from(data)[0]:
        piece = link.recv(65_536)
        if not piece:
            raise SystemExit("the connection was closed in the middle of a reply")
        data += piece
    return bytes(data)


def opened(reply: bytes, compressed: bool) -> dict[str, Any]:
    """The reply's document; SystemExit if it is not as compressed as it was to be."""
    if (header_of(reply).opcode == Opcode.COMPRESSED) is not compressed:
        raise SystemExit(f"a reply is {'not ' if compressed else ''}compressed")
    return document_of(decompress(reply, read_head(reply, {Compressor.ZSTD})) if compressed else reply)


class Lane:
    """One connection in the timed loop: sends its message, counts its reply's bytes, notes the time, goes on.

    `length` is the reply's; 0: each reply says its own.
    """

    __slots__ = ("_buffer", "_have", "_length", "_message", "_said", "_sent", "_started", "link", "times", "tls")

    def __init__(self, link: socket.socket, message: bytes, length: int, buffer: memoryview) -> None:
        self.link = link
        self.tls = isinstance(link, ssl.SSLSocket)
        self.times: list[int] = []
        self._message = memoryview(message)
        self._length = length
        self._said = not length
        self._buffer = buffer
        self._sent = 0
        self._have = 0
        self._started = 0

    def start(self) -> bool:
        """Begin a request; True when it is sent whole."""
        self._sent = self._have = 0
        self._started = perf_counter_ns()
        return self.send()

    def send(self) -> bool:
        """Send what the socket takes; True when nothing is left."""
        message, total = self._message, len(self._message)
        try:
            while self._sent < total:
                self._sent += self.link.send(message[self._sent :])
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return False
        return True

    def read(self) -> bool:
        """Read what is there; True when the reply is whole."""
        try:
            while True:
                count = self.link.recv_into(self._buffer)
                if count == 0:
                    raise SystemExit("the connection was closed in the timed loop")
                if self._said and not self._have:
                    self._length = _LENGTH.unpack_from(self._buffer)[0]
                self._have += count
                if self._have >= self._length:
                    self.times.append(perf_counter_ns() - self._started)
                    if self._have > self._length:
                        raise SystemExit("a reply is longer than the first one was")
                    return True
                if not self.tls:  # a TLS record may be whole inside OpenSSL, where epoll does not see it
                    return False
        except (BlockingIOError, ssl.SSLWantReadError):
            return False


# --- jobs ----------------------------------------------------------------------------------------------------------


def drive(lanes: list[Lane], *, seconds: float, operations: int | None) -> float:
    """Keep every lane busy for `seconds`, or for `operations` in all; the seconds until the last reply."""
    by_descriptor = {lane.link.fileno(): lane for lane in lanes}
    poll = select.epoll()
    for descriptor in by_descriptor:
        poll.register(descriptor, select.EPOLLIN)
    begun = perf_counter()
    until = begun + seconds
    left = 10**9 if operations is None else operations
    busy = 0

    def begin(lane: Lane) -> None:
        if not lane.start():
            poll.modify(lane.link.fileno(), select.EPOLLIN | select.EPOLLOUT)

    for lane in lanes:
        if left > 0:
            left, busy = left - 1, busy + 1
            begin(lane)
    while busy:
        for descriptor, event in poll.poll(TIMEOUT_S) or _stuck():
            lane = by_descriptor[descriptor]
            if event & select.EPOLLOUT and lane.send():
                poll.modify(descriptor, select.EPOLLIN)
            if event & ~select.EPOLLOUT and lane.read():
                if left > 0 and (operations is not None or perf_counter() < until):
                    left -= 1
                    begin(lane)
                else:
                    busy -= 1
    poll.close()
    return perf_counter() - begun


def _stuck() -> list[tuple[int, int]]:
    raise SystemExit(f"no reply for {TIMEOUT_S:.0f} s")


@contextlib.contextmanager
def lanes_of(opener: Opener, workload: str, count: int) -> Iterator[list[Lane]]:
    """`count` connections, each of which has done the workload once and had its reply checked."""
    lanes = []
    buffer = memoryview(bytearray(REPLY_BYTES))
    plain, compressed = split(workload)
    try:
        for _ in range(count):
            link = opener.open(compressed)
            message = WORKLOADS[plain]({"id": bson.Binary(uuid.uuid4().bytes, 4)})
            if compressed:
                message = compress(message, Compressor.ZSTD)
            link.sendall(message)
            first = receive(link)
            check(workload, opened(first, compressed))
            link.setblocking(False)
            lanes.append(Lane(link, message, 0 if compressed else len(first), buffer))
        yield lanes
    finally:
        for lane in lanes:
            lane.link.close()


def run_load(opener: Opener, job: dict[str, Any]) -> Summary:
    """A job {workload, connections, seconds | operations}."""
    with lanes_of(opener, job["workload"], job["connections"]) as lanes:
        if job.get("operations") is None:
            drive(lanes, seconds=min(WARM_UP_S, job["seconds"]), operations=None)
            for lane in lanes:
                lane.times.clear()
        print(json.dumps({"event": "begin"}), flush=True)
        sys.stdin.readline()
        used = _cpu()
        took = drive(lanes, seconds=job.get("seconds") or 0, operations=job.get("operations"))
        times = [each for lane in lanes for each in lane.times]
        return {**summary(times), "per_second": len(times) / took, "seconds": took, "client_cpu_s": _cpu() - used}


def run_connect(opener: Opener, job: dict[str, Any]) -> Summary:
    """A job {workload: "connect" | "connect_apart", operations}: open, first command, close; one after the other.

    `connect` measures how many connections can be opened; `connect_apart` what one that is opened now and then waits
    for, after all that is done ahead for it is done.
    """
    apart = APART_S if job["workload"] == "connect_apart" else 0.0
    message = small_find({"id": bson.Binary(uuid.uuid4().bytes, 4)})
    opener.open().close()  # a driver derives its SCRAM keys once, not for each connection
    print(json.dumps({"event": "begin"}), flush=True)
    sys.stdin.readline()
    times = []
    used, began = _cpu(), perf_counter()
    for _ in range(job["operations"]):
        time.sleep(apart)
        started = perf_counter_ns()
        link = opener.open()
        link.sendall(message)
        reply = receive(link)
        times.append(perf_counter_ns() - started)
        check("small_find", document_of(reply))
        link.close()
    took = perf_counter() - began
    return {**summary(times), "per_second": len(times) / took, "seconds": took, "client_cpu_s": _cpu() - used}


def summary(times_ns: list[int]) -> Summary:
    """Count and percentiles in microseconds (nearest rank)."""
    ordered = sorted(times_ns)

    def rank(part: float) -> float:
        return ordered[ceil(len(ordered) * part) - 1] / 1000

    return {
        "count": len(ordered),
        "p50_us": rank(0.5),
        "p90_us": rank(0.9),
        "p99_us": rank(0.99),
        "max_us": ordered[-1] / 1000,
    }


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Serve jobs until standard input ends."""
    opener = Opener(Target(**json.loads(sys.stdin.readline())))
    gc.disable()
    for line in sys.stdin:
        job = json.loads(line)
        answer = run_connect(opener, job) if job["workload"].startswith("connect") else run_load(opener, job)
        print(json.dumps({"event": "done", **answer}), flush=True)
        gc.collect()


if __name__ == "__main__":
    main()
