"""The tunnel alone: an echo reached directly, through TLS, and through the relay, each program in its own process.

Prints latency (200 bytes there and back), time to open a stream, throughput of one stream, and the relay's CPU time per
gigabyte. No MongoDB in it; `bench/run.py` measures the whole.

    .venv/bin/python bench/tunnel.py [--json]
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import resource
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import cast

from wardgate.api.machine import RelayAddress
from wardgate.api.models import Route
from wardgate.gateway.tunnel.listener import TunnelListener, TunnelStream
from wardgate.ids import Kind
from wardgate.net import fresh, loop
from wardgate.net.dial import connect
from wardgate.net.machine import MachineIdentity
from wardgate.net.stream import StreamDialler
from wardgate.relay.server import RelayServer
from wardgate.testing.pki import Pki
from wardgate.tunnel.names import DATA_ALPN
from wardgate.tunnel.route import make_token, server_name

KEY = bytes(range(32))
MESSAGE = bytes(200)
TURNS = 5_000
BULK = 256 * 1024 * 1024
CHUNK = 64 * 1024
OPENINGS = 200


class Service(asyncio.Protocol):
    """Echoes; a message of exactly eight bytes asks for that many bytes instead."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._writable = asyncio.Event()
        self._writable.set()
        self._sending: asyncio.Task[None] | None = None

    def data_received(self, data: bytes) -> None:
        if len(data) == 8:
            self._sending = asyncio.get_running_loop().create_task(self._send(int.from_bytes(data, "big")))
        else:
            self._transport.write(data)

    async def _send(self, size: int) -> None:
        chunk = bytes(CHUNK)
        for _ in range(size // CHUNK):
            await self._writable.wait()
            self._transport.write(chunk)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()


class Client(asyncio.BufferedProtocol):
    """Counts what comes back."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(256 * 1024))
        self._left = 0
        self._done: asyncio.Future[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._left -= nbytes
        if self._left <= 0 and self._done is not None and not self._done.done():
            self._done.set_result(None)

    async def ask(self, data: bytes, answer: int) -> None:
        self._left, self._done = answer, asyncio.get_running_loop().create_future()
        self._transport.write(data)
        await self._done

    def close(self) -> None:
        self._transport.abort()


@dataclass(frozen=True)
class Parts:
    """What the processes share; made before they part."""

    pki: Pki
    gateway: MachineIdentity
    relay: MachineIdentity


def in_process(main: Callable[[Parts, Connection], Awaitable[None]], parts: Parts) -> tuple[Connection, int]:
    """Run `main` in a child; the pipe carries its address, then the word to end, then its CPU seconds."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_child, args=(main, parts, theirs), daemon=True)
    process.start()
    theirs.close()
    return ours, process.pid or 0


def _child(main: Callable[[Parts, Connection], Awaitable[None]], parts: Parts, pipe: Connection) -> None:
    async def run() -> None:
        await main(parts, pipe)
        ended = asyncio.Event()
        asyncio.get_running_loop().add_reader(pipe.fileno(), ended.set)
        await ended.wait()
        used = resource.getrusage(resource.RUSAGE_SELF)
        pipe.send(used.ru_utime + used.ru_stime)

    loop.run(run())
    os._exit(0)


async def relay_main(parts: Parts, pipe: Connection) -> None:
    server = RelayServer(parts.relay.credentials, parts.pki.trust["gateways"], KEY)
    pipe.send(server.listen("127.0.0.1", 0))


async def gateway_main(parts: Parts, pipe: Connection) -> None:
    def handle(stream: TunnelStream) -> None:
        stream.switch(Service())

    relay_address = pipe.recv()
    door = TunnelListener(parts.gateway, authorise=lambda *_: None, handler=handle)
    door.set_relays([RelayAddress(id=parts.relay.id, name="r", address=relay_address)])
    plain = await asyncio.get_running_loop().create_server(Service, "127.0.0.1", 0)
    direct = await door.listen("127.0.0.1", 0)
    await door.wait_connected(10)
    pipe.send((f"127.0.0.1:{plain.sockets[0].getsockname()[1]}", direct))


Open = Callable[[], Awaitable[Client]]


async def measure(open_one: Open) -> dict[str, float]:
    """One way to the echo."""
    opened = []
    for _ in range(OPENINGS):
        begin = time.perf_counter()
        client = await open_one()
        await client.ask(MESSAGE, len(MESSAGE))
        opened.append(time.perf_counter() - begin)
        client.close()
    client = await open_one()
    turns = []
    for _ in range(TURNS):
        begin = time.perf_counter()
        await client.ask(MESSAGE, len(MESSAGE))
        turns.append(time.perf_counter() - begin)
    begin = time.perf_counter()
    await client.ask(BULK.to_bytes(8, "big"), BULK)
    bulk = time.perf_counter() - begin
    client.close()
    return {
        "open_ms": statistics.median(opened) * 1e3,
        "p50_us": statistics.median(turns) * 1e6,
        "p99_us": statistics.quantiles(turns, n=100)[98] * 1e6,
        "mb_s": BULK / bulk / 1e6,
    }


async def bench(parts: Parts, relay: Connection, gateway: Connection) -> dict[str, dict[str, float]]:
    relay_address = relay.recv()
    gateway.send(relay_address)
    plain, direct = gateway.recv()
    session = fresh.new_id(Kind.SESSION)
    sni = server_name(make_token(KEY, session, parts.gateway.id, int(time.time()) + 600), parts.gateway.id)
    credentials = parts.pki.session(session, parts.gateway.id)

    def dialler(kind: str, address: str) -> Open:
        route = Route.model_validate({"kind": kind, "name": "r", "address": address, "sni": sni})
        made = StreamDialler([route], parts.gateway.id, parts.pki.trust["gateways"], credentials)

        async def open_one() -> Client:
            client = Client()
            (await made.open(DATA_ALPN)).switch(client)
            return client

        return open_one

    async def open_plain() -> Client:
        client = Client()
        sock = await connect(plain, 5)
        await asyncio.get_running_loop().create_connection(lambda: client, sock=sock)
        return client

    return {
        "direct TCP": await measure(open_plain),
        "direct TLS": await measure(dialler("direct", direct)),
        "relay + TLS": await measure(dialler("relay", relay_address)),
    }


def main() -> None:
    """Measure and print."""
    pki = Pki.make()
    parts = Parts(pki, pki.machine("gateway", "g"), pki.machine("relay", "r"))
    relay, _ = in_process(relay_main, parts)
    gateway, _ = in_process(gateway_main, parts)
    results = loop.run(bench(parts, relay, gateway))
    relay.send("end")
    gateway.send("end")
    results["relay + TLS"]["relay_cpu_s"] = relay.recv()
    if "--json" in sys.argv:
        print(json.dumps(results, indent=1))
        return
    for name, facts in results.items():
        print(f"{name:12}", "  ".join(f"{key} {value:9.2f}" for key, value in facts.items()))


if __name__ == "__main__":
    main()
