"""What the relay does with peers that are not who they should be: slow, silent, many, or speaking something else."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import Any

import pytest

from wardgate.net import dial
from wardgate.numbers import DEFAULT
from wardgate.relay.server import DialBack, judge
from wardgate.tunnel.client_hello import LIMIT, Malformed
from wardgate.tunnel.names import DATA_ALPN

QUICK = replace(DEFAULT, client_hello=0.3)
HALF_A_HELLO = b"\x16\x03\x01\x02\x00\x01"


async def until(condition: Any) -> None:
    while not condition():
        await asyncio.sleep(0.005)


async def connect(lab: Any) -> socket.socket:
    return await dial.connect(lab.relay_address.address, 5)


async def ended(sock: socket.socket) -> bool:
    try:
        return await asyncio.get_running_loop().sock_recv(sock, 1) == b""
    except ConnectionResetError:
        return True
    finally:
        sock.close()


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.1\r\n\r\n", b"WGB2" + bytes(16), b"\x16\x03\x01\x00\x00", b"\x00" * 64]
)
async def test_other_protocols_are_cut_without_an_answer(lab: Any, data: bytes) -> None:
    sock = await connect(lab)
    sock.send(data)
    assert await ended(sock)
    assert lab.relay.refused == {"malformed": 1}


async def test_a_slow_hello_is_cut_at_its_deadline(make_lab: Any) -> None:
    lab = await make_lab(QUICK, connected=False)
    sock = await connect(lab)
    for byte in HALF_A_HELLO:
        sock.send(bytes([byte]))
        await asyncio.sleep(0.005)
    assert lab.relay.statistics()["half_open"] == 1
    assert await ended(sock)
    assert lab.relay.refused == {"first_bytes_late": 1}
    assert lab.relay.statistics()["half_open"] == 0


async def test_a_hello_may_come_in_pieces(lab: Any, session_id: str) -> None:
    """Through a double that passes on seven bytes at a time."""
    host, port = dial.split_address(lab.relay_address.address)

    async def dribble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection(host, port)
        up_writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

        async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, size: int) -> None:
            while data := await source.read(size):
                target.write(data)
                await target.drain()
                await asyncio.sleep(0)
            target.close()

        await asyncio.gather(copy(reader, up_writer, 7), copy(up_reader, writer, 65536), return_exceptions=True)

    double = await asyncio.start_server(dribble, "127.0.0.1", 0)
    port_of_double = double.sockets[0].getsockname()[1]
    routes = [lab.route(session_id, address=f"127.0.0.1:{port_of_double}")]
    stream = await lab.dialler(session_id, routes=routes).open(DATA_ALPN)
    assert await lab.echo(stream, b"in pieces") == b"in pieces"
    double.close()


async def test_half_open_peers_of_one_address_are_capped(make_lab: Any, session_id: str) -> None:
    lab = await make_lab(replace(DEFAULT, half_open_per_address=3))
    slow = []
    for _ in range(3):
        sock = await connect(lab)
        sock.send(HALF_A_HELLO)
        slow.append(sock)
    await until(lambda: lab.relay.statistics()["half_open"] == 3)
    one_more = await connect(lab)
    one_more.send(HALF_A_HELLO)
    assert await ended(one_more)
    assert lab.relay.refused == {"too_many_half_open": 1}
    # who speaks at once is never half-open, so others are not locked out
    assert await lab.echo(await lab.dialler(session_id).open(DATA_ALPN), b"still served") == b"still served"
    for sock in slow:
        sock.close()
    await until(lambda: lab.relay.statistics()["half_open"] == 0)


async def test_half_open_peers_are_capped_in_all(make_lab: Any) -> None:
    lab = await make_lab(replace(DEFAULT, half_open_total=2), connected=False)
    slow = []
    for _ in range(2):
        sock = await connect(lab)
        sock.send(b"WGB1 half")
        slow.append(sock)
    await until(lambda: lab.relay.statistics()["half_open"] == 2)
    one_more = await connect(lab)
    one_more.send(b"W")
    assert await ended(one_more)
    for sock in slow:
        sock.close()


async def test_a_peer_that_says_goodbye_early_is_let_go(lab: Any) -> None:
    sock = await connect(lab)
    sock.send(HALF_A_HELLO)
    await until(lambda: lab.relay.statistics()["half_open"] == 1)
    sock.shutdown(socket.SHUT_WR)
    assert await ended(sock)
    assert lab.relay.statistics()["half_open"] == 0


async def test_a_stalled_tls_handshake_on_the_control_name_is_cut(make_lab: Any) -> None:
    import ssl

    lab = await make_lab(replace(DEFAULT, tls_handshake=0.3), connected=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="relay.wardgate.internal")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    sock = await connect(lab)
    sock.send(outgoing.read())
    await until(lambda: lab.relay.refused["handshake_failed"] == 1)
    assert lab.relay.gateways == []
    sock.close()


def test_judging_first_bytes() -> None:
    assert judge(b"W", LIMIT) == 20
    assert judge(b"WGB1" + bytes(15), LIMIT) == 20
    assert judge(b"WGB1" + bytes(16) + b"more", LIMIT) == DialBack(bytes(16))
    assert judge(b"\x16", LIMIT) == 5
    assert isinstance(judge(b"WGA", LIMIT), Malformed)
