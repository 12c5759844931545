from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.tunnel import client_hello
from wardgate.tunnel.client_hello import ClientHello, Incomplete, Malformed, parse


def real_hello(name: str | None = "relay.wardgate.internal", alpn: tuple[str, ...] = ("wardgate-relay/1",)) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    if alpn:
        context.set_alpn_protocols(list(alpn))
    outgoing = ssl.MemoryBIO()
    tls = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return outgoing.read()


HELLO = real_hello()


def refragment(hello: bytes, cuts: list[int]) -> bytes:
    """The same handshake message in other records."""
    message = hello[5:]
    places = sorted({min(max(1, cut), len(message) - 1) for cut in cuts})
    parts = [message[a:b] for a, b in zip([0, *places], [*places, len(message)], strict=True)]
    return b"".join(b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part for part in parts)


def test_a_real_hello_says_name_and_protocols() -> None:
    assert parse(HELLO) == ClientHello("relay.wardgate.internal", ("wardgate-relay/1",), len(HELLO))


def test_name_and_protocols_may_be_missing() -> None:
    hello = real_hello(None, ())
    assert parse(hello) == ClientHello(None, (), len(hello))


def test_what_follows_the_hello_is_not_read() -> None:
    found = parse(HELLO + b"\x17anything")
    assert isinstance(found, ClientHello)
    assert found.size == len(HELLO)


@given(st.lists(st.integers(1, 600), max_size=12))
def test_records_may_cut_it_anywhere(cuts: list[int]) -> None:
    data = refragment(HELLO, cuts)
    assert parse(data) == ClientHello("relay.wardgate.internal", ("wardgate-relay/1",), len(data))


@given(st.lists(st.integers(1, 600), max_size=6), st.data())
def test_a_beginning_asks_for_more_but_never_too_much(cuts: list[int], data: st.DataObject) -> None:
    whole = refragment(HELLO, cuts)
    length = data.draw(st.integers(0, len(whole) - 1))
    found = parse(whole[:length])
    assert isinstance(found, Incomplete)
    assert length < found.need <= len(whole)


@given(st.lists(st.tuples(st.integers(0, len(HELLO) - 1), st.integers(0, 255)), max_size=8), st.integers(0, 600))
def test_a_mutated_hello_is_judged_without_an_exception(changes: list[tuple[int, int]], cut: int) -> None:
    mutated = bytearray(HELLO)
    for at, value in changes:
        mutated[at] = value
    found = parse(bytes(mutated[:cut]))
    if isinstance(found, Incomplete):
        assert cut < found.need <= client_hello.LIMIT


@given(st.binary(max_size=200))
def test_any_bytes_are_judged(data: bytes) -> None:
    parse(data)
    parse(b"\x16\x03\x01" + data)
    body = b"\x01" + len(data).to_bytes(3, "big") + data
    parse(b"\x16\x03\x01" + len(body).to_bytes(2, "big") + body)


def hello_with(extensions: bytes) -> bytes:
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\x13\x01" + b"\x01\x00" + len(extensions).to_bytes(2, "big")
    body += extensions
    message = b"\x01" + len(body).to_bytes(3, "big") + body
    return b"\x16\x03\x01" + len(message).to_bytes(2, "big") + message


def extension(kind: int, data: bytes) -> bytes:
    return kind.to_bytes(2, "big") + len(data).to_bytes(2, "big") + data


def names(*entries: bytes) -> bytes:
    joined = b"".join(entries)
    return extension(0, len(joined).to_bytes(2, "big") + joined)


def host(name: bytes) -> bytes:
    return b"\x00" + len(name).to_bytes(2, "big") + name


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n", "not a handshake record"),
        (b"\x16\x02", "not TLS"),
        (b"\x16\x03\x01\x00\x00", "bad record length"),
        (b"\x16\x03\x01\x40\x01", "bad record length"),
        (b"\x16\x03\x01\x00\x04\x02\x00\x00\x00", "not a ClientHello"),
        (b"\x16\x03\x01\x00\x04\x01\xff\xff\xff", "too long"),
        (hello_with(names(host(b"a")) + names(host(b"b"))), "a repeated extension"),
        (hello_with(names(host(b"a"), host(b"b"))), "bytes after a field's end"),
        (hello_with(names(host(b""))), "bad server name"),
        (hello_with(names(host(b"a\0b"))), "bad server name"),
        (hello_with(names(host("é".encode()))), "bad server name"),
        (hello_with(names(b"\x01\x00\x01a")), "a server name of an unknown type"),
        (hello_with(extension(0, b"\xff\xff")), "a length beyond its field"),
        (hello_with(extension(16, b"\x00\x01\x00")), "an empty protocol name"),
        (hello_with(extension(16, b"\x00\x00")), "no protocol names"),
    ],
)
def test_hostile_hellos(data: bytes, why: str) -> None:
    assert parse(data) == Malformed(why)


def test_many_tiny_records_are_refused() -> None:
    data = b"".join(b"\x16\x03\x01\x00\x01" + HELLO[5 + i : 6 + i] for i in range(100))
    assert parse(data) == Malformed("too many records")


def test_the_limit_is_on_all_records_together() -> None:
    assert parse(HELLO, limit=len(HELLO) - 1) == Malformed("too long")
    assert parse(HELLO[:5], limit=100) == Malformed("too long")
