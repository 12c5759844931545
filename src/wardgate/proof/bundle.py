"""A bundle: one session's records in one file, which can be checked with the published key and nothing else.

It is a tar archive. The first member, `bundle.json`, names the epochs with their keys and objects, and holds the seals
with the certificates of the keys that signed them; the other members are the objects, frames as they were recorded.
Nothing in the archive is trusted: what is vouched for is what a genuine seal names, and all else is checked against it.
An epoch's key lets whoever has the bundle read it; it opens nothing else.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, Final

from .breaks import Link
from .epoch import HeadFacts, StoredEpoch, UnreadableObject
from .seals import StoredSeal, TrustedKeys
from .session import Checked, check

FORMAT: Final = "wardgate-bundle/1"
MANIFEST: Final = "bundle.json"
_MAX_MANIFEST: Final = 256 * 1024 * 1024
_MAX_OBJECT: Final = 64 * 1024 * 1024
_BLOCK: Final = 512


class BundleError(ValueError):
    """A file that is no bundle."""


@dataclass(frozen=True, slots=True)
class BundledEpoch:
    """An epoch as the manifest has it."""

    epoch: int
    key: bytes
    last: Link
    objects: Sequence[str]


@dataclass(frozen=True, slots=True)
class BundledSeal:
    """A seal as the manifest has it."""

    statement: bytes
    key_id: str
    signature: bytes


@dataclass(frozen=True, slots=True)
class Manifest:
    """`bundle.json`. `session` is the id's 16 bytes; `ended` is hearsay, since only a seal tells."""

    session_id: str
    session: bytes
    ended: bool
    epochs: Sequence[BundledEpoch]
    seals: Sequence[BundledSeal]
    certificates: Mapping[str, str]


# --- writing --------------------------------------------------------------------------------------------------------


def manifest_member(manifest: Manifest, facts: Mapping[str, Any]) -> bytes:
    """The first member. `facts` are for people: who exported it, when."""
    document = {
        "format": FORMAT,
        "session": manifest.session_id,
        "uuid": manifest.session.hex(),
        "ended": manifest.ended,
        **facts,
        "epochs": [
            {
                "epoch": epoch.epoch,
                "key": epoch.key.hex(),
                "seq": epoch.last.seq,
                "hash": epoch.last.hash.hex(),
                "objects": list(epoch.objects),
            }
            for epoch in manifest.epochs
        ],
        "seals": [
            {
                "statement": seal.statement.decode(),
                "key_id": seal.key_id,
                "signature": base64.b64encode(seal.signature).decode(),
            }
            for seal in manifest.seals
        ],
        "certificates": dict(manifest.certificates),
    }
    return member(MANIFEST, json.dumps(document, indent=1).encode())


def member(name: str, data: bytes) -> bytes:
    """One member of the archive."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o600
    return b"".join((info.tobuf(tarfile.USTAR_FORMAT), data, bytes(-len(data) % _BLOCK)))


def end() -> bytes:
    """What follows the last member."""
    return bytes(2 * _BLOCK)


# --- reading --------------------------------------------------------------------------------------------------------


class Bundle:
    """An open bundle. BundleError if the file is none."""

    def __init__(self, file: IO[bytes]) -> None:
        try:
            self._archive = tarfile.open(fileobj=file, mode="r:")  # noqa: SIM115 - the caller closes the file
            self._members = {info.name: info for info in self._archive if info.isreg()}
            self.manifest = _manifest(self._read(MANIFEST, _MAX_MANIFEST))
        except (tarfile.TarError, OSError, ValueError, KeyError, TypeError, RecursionError, UnreadableObject) as error:
            raise BundleError("the file is no wardgate bundle, or its list of contents is damaged") from error

    def _read(self, name: str, limit: int) -> bytes:
        info = self._members.get(name)
        if info is None:
            raise FileNotFoundError(name)
        if info.size > limit:
            raise UnreadableObject("it is larger than any object is")
        found = self._archive.extractfile(info)
        data = found.read() if found is not None else b""
        if len(data) != info.size:
            raise UnreadableObject("the bundle ends within it")
        return data

    def objects(self, epoch: BundledEpoch) -> Iterator[bytes]:
        """The frames of an epoch, object by object."""
        for name in epoch.objects:
            yield self._load(name)

    def _load(self, name: str) -> bytes:
        return self._read(name, _MAX_OBJECT)

    def check(self, trusted: TrustedKeys) -> Checked:
        """Check all of it."""
        manifest = self.manifest
        keys = {epoch.epoch: epoch.key for epoch in manifest.epochs}
        epochs = [StoredEpoch(epoch.epoch, epoch.objects, epoch.last) for epoch in manifest.epochs]

        def unseal(epoch: int, head: HeadFacts) -> bytes:
            return keys[epoch]

        seals = [
            StoredSeal(seal.statement, trusted.genuine(seal.statement, seal.signature, self._certificate(seal.key_id)))
            for seal in manifest.seals
        ]
        return check(manifest.session, manifest.session_id, epochs, seals, self._load, unseal)

    def _certificate(self, key_id: str) -> bytes | None:
        found = self.manifest.certificates.get(key_id)
        return None if found is None else found.encode()


def open_bundle(data: bytes) -> Bundle:
    """A bundle in memory."""
    return Bundle(io.BytesIO(data))


def _manifest(raw: bytes) -> Manifest:
    document = json.loads(raw)
    if document["format"] != FORMAT:
        raise ValueError("another format")
    return Manifest(
        session_id=str(document["session"]),
        session=bytes.fromhex(document["uuid"]),
        ended=document["ended"] is True,
        epochs=[_epoch(each) for each in document["epochs"]],
        seals=[
            BundledSeal(str(each["statement"]).encode(), str(each["key_id"]), _from_base64(each["signature"]))
            for each in document["seals"]
        ],
        certificates={str(key_id): str(pem) for key_id, pem in document["certificates"].items()},
    )


def _epoch(each: Mapping[str, Any]) -> BundledEpoch:
    key = bytes.fromhex(each["key"])
    if len(key) != 32:
        raise ValueError("a key has a wrong length")
    number = int(each["epoch"])
    last = Link(number, int(each["seq"]), bytes.fromhex(each["hash"]))
    return BundledEpoch(number, key, last, [str(name) for name in each["objects"]])


def _from_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
