"""The parts of a streamed request: sealed one by one under a key that is made for this request alone.

The parts go into the chain while the request comes, before it is known whether it may be shown: what a command is about
can stand behind everything that it carries. So they are sealed, and the record that ends the request holds the key, or
does not: then nobody can ever open them, and the body is withheld as masking wants it. The chain protects the parts
from change as it does every record; this seal only keeps them secret.

What is sealed is the message as the client sent it (uncompressed), header included; under masking rules the documents
of its sections after masking, each section behind four zero bytes and its name. AES-256-GCM, nonce = index of the
part (96 bits, big-endian), no associated data. Law: a key seals one request, and in it every index once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..errors import WardgateError
from ..rawbson import walk
from ..wire.errors import ProtocolError
from ..wire.message import split_sections
from .records import Sequences, Streamed, UploadPart

KEY_BYTES: Final = 32


class PartsBroken(WardgateError):  # noqa: N818 - a fact about the parts, said as one
    """Parts that do not make the message that they should."""

    def __init__(self, message: str) -> None:
        super().__init__("bad_parts", message)


class PartSealer:
    """Seals the parts of one request, in order, and says in the end what they are."""

    __slots__ = ("_aead", "_digest", "_key", "count")

    def __init__(self, key: bytes) -> None:
        self.count = 0
        self._key = key
        self._aead = AESGCM(key)
        self._digest = hashlib.sha256()

    def seal(self, opened: int, data: bytes) -> UploadPart:
        """The next part."""
        self._digest.update(data)
        part = UploadPart(opened, self.count, self._aead.encrypt(_nonce(self.count), data, None))
        self.count += 1
        return part

    def streamed(self, opened: int, *, withheld: bool, masked: bool = False) -> Streamed:
        """What the record that ends the request says of its parts; `withheld` keeps key and digest from it."""
        if withheld:
            return Streamed(opened, self.count)
        return Streamed(opened, self.count, self._digest.digest(), self._key, masked)


def open_parts(streamed: Streamed, parts: Iterable[bytes]) -> tuple[bytes, Sequences]:
    """The kind-0 document and the document sequences of the message in `parts`; PartsBroken if they are not it."""
    message = _opened(streamed, parts)
    try:
        body, sections = split_sections(message)
    except ProtocolError as error:
        raise PartsBroken(f"A streamed body is no message: {error.message}") from error
    return body, sections


def section_head(name: bytes) -> bytes:
    """What precedes a section's documents where they were masked: no document is so short."""
    return bytes(4) + name + b"\0"


def open_documents(streamed: Streamed, parts: Iterable[bytes]) -> Sequences:
    """The documents of each section of a masked request; PartsBroken if the parts do not make them."""
    data = _opened(streamed, parts)
    found: list[tuple[str, bytes]] = []
    pos = 0
    try:
        while pos < len(data):
            end = data.index(0, pos + 4)
            if data[pos : pos + 4] != bytes(4):
                raise PartsBroken("A streamed body has documents of no section.")
            name = data[pos + 4 : end].decode()
            start = pos = end + 1
            while pos < len(data) and data[pos : pos + 4] != bytes(4):
                pos = walk.document_end(data, pos, len(data))
            found.append((name, data[start:pos]))
    except ValueError as error:
        raise PartsBroken(f"A streamed body has no documents: {error}") from error
    return tuple(found)


def _opened(streamed: Streamed, parts: Iterable[bytes]) -> bytes:
    try:
        aead = AESGCM(streamed.key)
        plain = b"".join(aead.decrypt(_nonce(index), data, None) for index, data in enumerate(parts))
    except (InvalidTag, ValueError) as error:
        raise PartsBroken("A part of a streamed body can't be opened.") from error
    if hashlib.sha256(plain).digest() != streamed.sha256:
        raise PartsBroken("A streamed body is not the one that its digest is of.")
    return plain


def _nonce(index: int) -> bytes:
    return index.to_bytes(12, "big")
