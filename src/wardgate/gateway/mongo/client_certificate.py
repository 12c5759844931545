"""A client certificate with its private key, from a lease into a TLS context, without a disk.

OpenSSL's file functions are the only way that Python has for it. So the file is one of memory (memfd), which has no
name in any folder, is not inherited, and is overwritten before it is closed.
"""

from __future__ import annotations

import os
import ssl
from datetime import UTC, datetime

from cryptography import x509

from .errors import Code, MongoError


def load(context: ssl.SSLContext, pem: str) -> None:
    """Show this certificate to servers that ask for one. Raises MongoError(client_certificate_…)."""
    _check(pem)
    encoded = pem.encode()
    descriptor = os.memfd_create("client-certificate", os.MFD_CLOEXEC)
    try:
        os.write(descriptor, encoded)
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    except (ssl.SSLError, OSError) as error:
        raise _invalid() from error
    finally:
        os.pwrite(descriptor, bytes(len(encoded)), 0)
        os.close(descriptor)


def _check(pem: str) -> None:
    """It was checked when it was saved; since then it may have expired, which a server would only call an alert."""
    try:
        certificate = x509.load_pem_x509_certificates(pem.encode())[0]
    except (ValueError, IndexError) as error:
        raise _invalid() from error
    if certificate.not_valid_after_utc <= datetime.now(UTC):
        raise MongoError(
            Code.CLIENT_CERTIFICATE_EXPIRED,
            f"The account's client certificate expired on {certificate.not_valid_after_utc:%Y-%m-%d}: give the account "
            "a new one.",
        )


def _invalid() -> MongoError:
    return MongoError(
        Code.CLIENT_CERTIFICATE_INVALID,
        "The account's client certificate can't be read, or is not that of its private key: enter it again.",
    )
