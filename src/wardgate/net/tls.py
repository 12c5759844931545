"""TLS contexts of the tunnel: version 1.3 only, mutual, one intermediate as the only trust anchor, no tickets.

Trusting the intermediate itself (a partial chain) means that a certificate of another kind does not verify at all: a
gateway can't pose as a session, nor a session as a gateway, whatever names it bears. Names are not checked by OpenSSL
but by `tunnel.names` after the handshake, because they are URIs and compared with what the control plane said.

Law: private keys reach OpenSSL without ever being in a file that another process could open.
"""

from __future__ import annotations

import os
import ssl
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from ..secret import Secret


@dataclass(frozen=True, slots=True)
class Credentials:
    """A certificate chain (PEM, leaf first) and its private key (PEM)."""

    chain: bytes
    key: Secret


def server_context(credentials: Credentials, trust: str | bytes, alpn: Sequence[str]) -> ssl.SSLContext:
    """For accepting peers whose certificate is signed by the intermediate `trust` (DER); others fail the handshake."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, credentials, trust, alpn)
    context.num_tickets = 0  # resumption would outlive revocation
    return context


def client_context(credentials: Credentials, trust: str | bytes, alpn: Sequence[str]) -> ssl.SSLContext:
    """For dialling peers whose certificate is signed by the intermediate `trust` (DER). The caller checks who it is."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, credentials, trust, alpn)


def _context(protocol: int, credentials: Credentials, trust: str | bytes, alpn: Sequence[str]) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | ssl.VERIFY_X509_STRICT
    context.load_verify_locations(cadata=trust)
    context.set_alpn_protocols(list(alpn))
    with _private_file(credentials) as path:
        context.load_cert_chain(path)
    return context


def _leaf(chain: bytes) -> bytes:
    """The first certificate alone. Each side trusts the other's intermediate itself, so to be sent it as well only
    costs it: a fifth of its handshake."""
    end = b"-----END CERTIFICATE-----"
    return chain[: chain.index(end) + len(end)] + b"\n"


@contextmanager
def _private_file(credentials: Credentials) -> Iterator[str]:
    """A path that only this process can open: anonymous memory on Linux, elsewhere a 0600 file that is gone at once."""
    content = _leaf(credentials.chain) + credentials.key.reveal()
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("wardgate", os.MFD_CLOEXEC)
        with os.fdopen(descriptor, "r+b", buffering=0) as file:
            file.write(content)
            yield f"/proc/self/fd/{descriptor}"
        return
    with tempfile.NamedTemporaryFile(prefix="wardgate-") as file:  # mkstemp: 0600, removed on exit
        file.write(content)
        file.flush()
        yield file.name
