"""The CA certificate field: PEM that holds certificates of authorities, and nothing else.

Checked when it is entered, because a mistake here would only show as “certificate verify failed” at the first access.
A private key pasted along is refused before anything of it is stored or repeated.
"""

from __future__ import annotations

import re
from datetime import datetime
from typing import NoReturn

from cryptography import x509

from ...api.problems import FieldError, ProblemCode, ProblemError

MOST_CERTIFICATES = 200
_BLOCK = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


def check(pem: str, now: datetime) -> str:
    """The certificates of `pem` alone (comments dropped); ProblemError `invalid_request` if they are no authorities."""
    if "PRIVATE KEY" in pem:
        _refuse("It holds a private key: paste only certificates, and treat that key as exposed.")
    blocks = list(_BLOCK.finditer(pem))
    if not blocks:
        _refuse("It holds no PEM certificate: it begins with -----BEGIN CERTIFICATE-----.")
    if len(blocks) > MOST_CERTIFICATES:
        _refuse(f"It holds {len(blocks)} certificates; at most {MOST_CERTIFICATES} are accepted.")
    for number, block in enumerate(blocks, 1):
        if block[1] != "CERTIFICATE":
            _refuse(f"Block {number} is not a certificate.")
        _check_one(block[0], number, now)
    return "\n".join(block[0] for block in blocks) + "\n"


def _check_one(pem: str, number: int, now: datetime) -> None:
    which = f"Certificate {number}"
    try:
        certificate = x509.load_pem_x509_certificate(pem.encode())
        extensions = certificate.extensions
    except (ValueError, x509.DuplicateExtension):
        _refuse(f"{which} cannot be read.")
    name = _subject(certificate)
    try:
        constraints = extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        constraints = None
    if constraints is None or not constraints.ca:
        _refuse(f"{which}{name} is not an authority's: enter the CA that signed the server's certificate.")
    if certificate.not_valid_after_utc <= now:
        _refuse(f"{which}{name} expired on {certificate.not_valid_after_utc:%Y-%m-%d}.")
    if certificate.not_valid_before_utc > now:
        _refuse(f"{which}{name} is not valid before {certificate.not_valid_before_utc:%Y-%m-%d}.")


def _subject(certificate: x509.Certificate) -> str:
    """The common name in brackets, harmless to print; empty if there is none."""
    try:
        values = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    except ValueError:
        return ""
    text = str(values[0].value) if values else ""
    text = "".join(char for char in text if char.isprintable())[:64]
    return f" ({text})" if text else ""


def _refuse(what: str) -> NoReturn:
    detail = f"The CA certificate was refused. {what}"
    raise ProblemError(ProblemCode.INVALID_REQUEST, detail, errors=[FieldError(field="ca_certificate", message=detail)])
