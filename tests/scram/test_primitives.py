"""The RFCs' own examples, MongoDB's deviation, and every shape that must be refused."""

from __future__ import annotations

import base64
import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardgate.scram import primitives as p

SHA1, SHA256 = p.Mechanism.SHA_1, p.Mechanism.SHA_256


def test_rfc_7677_example() -> None:
    first = p.ClientFirst.parse(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
    server = p.ServerFirst.parse(
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    keys = p.derive_keys(SHA256, p.prepare_password(SHA256, "user", "pencil"), server.salt, server.iterations)
    signed = p.auth_message(first, server, p.ClientFinal(server.nonce, b""))
    final = p.ClientFinal(server.nonce, p.client_proof(SHA256, keys.client_key, signed))

    assert final.encode() == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    assert p.ServerFinal(p.server_signature(SHA256, keys.server_key, signed)).encode() == (
        b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    )
    assert p.proof_is_right(SHA256, p.stored_key(SHA256, keys.client_key), signed, final.proof)


def test_rfc_5802_example() -> None:
    """The RFC hashes the password itself; MongoDB's digest is another input to the same arithmetic."""
    first = p.ClientFirst("user", b"fyko+d2lbbFgONRv9qkxdawL")
    server = p.ServerFirst.parse(b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096")
    keys = p.derive_keys(SHA1, b"pencil", server.salt, server.iterations)
    signed = p.auth_message(first, server, p.ClientFinal(server.nonce, b""))

    assert base64.b64encode(p.client_proof(SHA1, keys.client_key, signed)) == b"v0X8v3Bz2T0CJGbJQyF0X+HI4Ts="
    assert base64.b64encode(p.server_signature(SHA1, keys.server_key, signed)) == b"rmF9pqV8S7suAoZWja4dJRkFsKQ="


def test_mongodb_sha1_digest() -> None:
    assert p.prepare_password(SHA1, "user", "pencil") == b"1c33006ec1ffd90f9cadcbcc0e118200"


@pytest.mark.parametrize(
    ("password", "prepared"),
    [
        ("pencil", b"pencil"),
        ("I\u00adX", b"IX"),
        ("\u2168", b"IX"),
        ("a\u00a0b", b"a b"),
        ("pässwörd", "pässwörd".encode()),
    ],
)
def test_saslprep(password: str, prepared: bytes) -> None:
    assert p.prepare_password(SHA256, "user", password) == prepared


@pytest.mark.parametrize("password", ["\u0007", "\u0627\u0031", "\u00ad"])
def test_password_that_saslprep_prohibits(password: str) -> None:
    with pytest.raises(p.ScramError) as caught:
        p.prepare_password(SHA256, "user", password)
    assert caught.value.code == "scram_password"
    assert password not in str(caught.value)
    assert p.prepare_password(SHA1, "user", password)


@given(st.text())
def test_names_survive_escaping(name: str) -> None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return
    escaped = p.escape_name(name)
    assert b"," not in escaped
    assert p.unescape_name(escaped) == name


@pytest.mark.parametrize("data", [b"a=b", b"a=2c", b"a,b", b"=", b"\xff"])
def test_bad_names(data: bytes) -> None:
    with pytest.raises(p.ScramError):
        p.unescape_name(data)


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"r=abc",
        b"r=abc,s=QQ==",
        b"s=QQ==,r=abc,i=4096",
        b"r=abc,s=QQ==,i=4096,r=abc",
        b"r=abc,s=QQ==,i=4096,r",
        b"r=abc,s=,i=4096",
        b"r=abc,s=!!!!,i=4096",
        b"r=abc,s=QQ==,i=-1",
        b"r=abc,s=QQ==,i=0",
        b"r=abc,s=QQ==,i=4096x",
        b"r=abc,s=QQ==,i=99999999999999999999",
        b"r=,s=QQ==,i=4096",
        b"r=a\x00c,s=QQ==,i=4096",
        b"m=x,r=abc,s=QQ==,i=4096",
        b"e=unknown-user",
        b"r=" + b"a" * 5000 + b",s=QQ==,i=4096",
    ],
)
def test_server_first_refused(message: bytes) -> None:
    with pytest.raises(p.ScramError):
        p.ServerFirst.parse(message)


def test_optional_extension_is_ignored() -> None:
    assert p.ServerFirst.parse(b"r=abc,s=QQ==,i=4096,x=later").iterations == 4096


@pytest.mark.parametrize(
    "message",
    [
        b"y,,n=user,r=abc",
        b"p=tls-unique,,n=user,r=abc",
        b"n,a=other,n=user,r=abc",
        b"n,,r=abc,n=user",
        b"n,,m=1,n=u,r=a",
    ],
)
def test_client_first_refused(message: bytes) -> None:
    with pytest.raises(p.ScramError):
        p.ClientFirst.parse(message)


@pytest.mark.parametrize("message", [b"c=eSws,r=abc,p=QQ==", b"c=biws,p=QQ==,r=abc", b"c=biws,r=abc"])
def test_client_final_refused(message: bytes) -> None:
    with pytest.raises(p.ScramError):
        p.ClientFinal.parse(message)


def test_refusal_text_of_a_hostile_server_is_harmless() -> None:
    with pytest.raises(p.ScramError) as caught:
        p.ServerFinal.parse(b"e=\x1b[31mred\n" + b"x" * 1000)
    assert caught.value.code == "scram_refused"
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("proof", [b"", b"short", bytes(32), bytes(33)])
def test_wrong_proofs(proof: bytes) -> None:
    assert not p.proof_is_right(SHA256, bytes(32), b"message", proof)


@given(st.binary(max_size=200))
def test_parsers_only_ever_refuse(data: bytes) -> None:
    for parse in (p.ServerFirst.parse, p.ServerFinal.parse, p.ClientFirst.parse, p.ClientFinal.parse):
        with contextlib.suppress(p.ScramError):
            parse(data)


_nonces = st.text(alphabet=[chr(c) for c in range(0x21, 0x7F) if chr(c) != ","], min_size=1).map(str.encode)


@given(_nonces, st.binary(min_size=1, max_size=64), st.integers(1, 10**9), st.binary(min_size=1, max_size=64))
def test_messages_round_trip(nonce: bytes, salt: bytes, iterations: int, proof: bytes) -> None:
    made = p.ServerFirst.make(nonce, salt, iterations)
    assert p.ServerFirst.parse(made.raw) == made
    assert p.ClientFinal.parse(p.ClientFinal(nonce, proof).encode()) == p.ClientFinal(nonce, proof)
    assert p.ServerFinal.parse(p.ServerFinal(proof).encode()).signature == proof
    assert p.ClientFirst.parse(p.ClientFirst("a,b=c", nonce).encode()) == p.ClientFirst("a,b=c", nonce)


def test_keys_do_not_print() -> None:
    keys = p.derive_keys(SHA256, b"pencil", b"salt", 1)
    assert bytes(keys.client_key).hex() not in repr(keys)
    assert repr(bytes(keys.client_key)) not in repr(keys)
    keys.wipe()
    assert not any(keys.client_key)
