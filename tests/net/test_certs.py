from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from wardgate.ids import Kind
from wardgate.net import certs, fresh
from wardgate.net.tls import Credentials, client_context, server_context
from wardgate.testing.pki import Pki
from wardgate.tunnel.names import GatewayIdentity, RelayIdentity, SessionIdentity, peer_certificate, peer_identity

PKI = Pki.make()
SESSION, GATEWAY = fresh.new_id(Kind.SESSION), fresh.new_id(Kind.GATEWAY)


def leaf_of(chain: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificates(chain)[0]


def test_leaves_say_who_they_are_and_nothing_else() -> None:
    gateway, relay = PKI.machine("gateway", "g"), PKI.machine("relay", "r")
    session = leaf_of(PKI.session(SESSION, GATEWAY).chain)
    assert peer_identity(gateway.certificate) == GatewayIdentity(gateway.id)
    assert peer_identity(relay.certificate) == RelayIdentity(relay.id)
    assert peer_identity(certs.to_der(session)) == SessionIdentity(SESSION, GATEWAY)
    usage = session.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]


def test_a_certificate_is_back_dated_and_ends_when_it_was_told_to() -> None:
    until = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=5)
    session = leaf_of(PKI.session(SESSION, GATEWAY, until).chain)
    assert session.not_valid_after_utc == until
    assert datetime.now(UTC) - session.not_valid_before_utc >= timedelta(minutes=5)
    assert peer_certificate(certs.to_der(session)).not_after == until


def test_a_request_gives_its_public_key_only() -> None:
    key = certs.make_key()
    der = certs.make_csr(key)
    pem = x509.load_der_x509_csr(der).public_bytes(Encoding.PEM)
    assert certs.csr_public_key(der) == certs.csr_public_key(pem) == key.public_key()


def test_bad_requests_are_refused() -> None:
    name = x509.Name([])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    p384 = builder.sign(ec.generate_private_key(ec.SECP384R1()), hashes.SHA256()).public_bytes(Encoding.DER)
    rsa_key = rsa.generate_private_key(65537, 2048)
    other = builder.sign(rsa_key, hashes.SHA256()).public_bytes(Encoding.DER)
    forged = bytearray(certs.make_csr(certs.make_key()))
    forged[-1] ^= 1
    for csr in (p384, other, bytes(forged), b"", b"-----BEGIN CERTIFICATE REQUEST-----\n", b"\x30\x00"):
        with pytest.raises(certs.CsrError):
            certs.csr_public_key(csr)


def test_a_key_survives_its_file_and_other_keys_are_refused() -> None:
    key = certs.make_key()
    assert certs.key_from_pem(certs.key_to_pem(key)).public_key() == key.public_key()
    with pytest.raises(ValueError, match="P-256"):
        certs.key_from_pem(certs.key_to_pem(ec.generate_private_key(ec.SECP384R1())))


def handshake(
    server: Credentials, server_trust: str, client: Credentials, client_trust: str
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Both ends after a handshake in memory; ssl.SSLError if either refuses."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    a = server_context(server, PKI.trust[server_trust], ["x/1"]).wrap_bio(to_server, to_client, server_side=True)
    b = client_context(client, PKI.trust[client_trust], ["x/1"]).wrap_bio(to_client, to_server, server_hostname="x")
    for _ in range(4):
        for end in (b, a):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    b.write(b"ping")
    assert a.read(4) == b"ping"
    return a, b


def test_a_session_and_its_gateway_understand_each_other() -> None:
    gateway, session = PKI.machine("gateway", "g"), PKI.session(SESSION, GATEWAY)
    server, client = handshake(gateway.credentials, "sessions", session, "gateways")
    assert server.version() == client.version() == "TLSv1.3"
    assert not client.session_reused
    assert server.context.num_tickets == 0


@pytest.mark.parametrize("wrong", ["gateway", "relay"])
def test_machines_are_no_sessions(wrong: str) -> None:
    gateway = PKI.machine("gateway", "g")
    other = PKI.machine("gateway" if wrong == "gateway" else "relay", "other")
    with pytest.raises(ssl.SSLError):
        handshake(gateway.credentials, "sessions", other.credentials, "gateways")


def test_a_session_is_no_gateway() -> None:
    session = PKI.session(SESSION, GATEWAY)
    with pytest.raises(ssl.SSLError):
        handshake(session, "sessions", session, "sessions")


def test_the_root_is_not_trusted_for_leaves_of_another_intermediate() -> None:
    relay, session = PKI.machine("relay", "r"), PKI.session(SESSION, GATEWAY)
    with pytest.raises(ssl.SSLError):
        handshake(relay.credentials, "sessions", session, "gateways")


def test_keys_do_not_show_themselves() -> None:
    identity = PKI.machine("gateway", "g")
    shown = f"{identity!r} {identity.credentials!r} {PKI!r}"
    assert "PRIVATE" not in shown
    assert "redacted" in shown
