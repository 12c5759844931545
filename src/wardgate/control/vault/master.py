"""The master key: 32 random bytes that everything else is sealed under, and where it is kept.

It stands as one line of text, `wgm1_` and base64url, in a file that only its owner can read (default
`<data-dir>/master.key`; outside the data folder with `--master-key-file`, so that a copy of the folder opens nothing)
or in WARDGATE_MASTER_KEY. While one key replaces another, both stand there, the newer one behind the older. Law: a file
that others can read is refused, not repaired: whoever could read it may have.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from ...errors import WardgateError
from ...secret import Secret

VARIABLE = "WARDGATE_MASTER_KEY"
_PREFIX = "wgm1_"
KEY_BYTES = 32
_MOST_FILE_BYTES = 4096
_MOST_KEYS = 8


@dataclass(frozen=True, slots=True)
class MasterKey:
    """The key and a name for it (a hash) that says which one sealed a project key without telling anything of it."""

    key_id: str
    key: Secret

    @staticmethod
    def of(raw: bytes) -> MasterKey:
        """The master key that is `raw`."""
        if len(raw) != KEY_BYTES:
            raise ValueError("a master key has exactly 32 bytes")
        return MasterKey(hashlib.sha256(b"wardgate master key id v1" + raw).hexdigest()[:16], Secret(raw))


def decode(text: str, source: str) -> MasterKey:
    """The key that `text` holds; WardgateError `invalid_master_key` naming `source`, never the text."""
    body = text.strip()
    try:
        raw = base64.urlsafe_b64decode(body.removeprefix(_PREFIX) + "=" * (-len(body.removeprefix(_PREFIX)) % 4))
    except (binascii.Error, ValueError):
        raw = b""
    if not body.startswith(_PREFIX) or len(raw) != KEY_BYTES:
        raise WardgateError("invalid_master_key", f"{source} does not hold a wardgate master key.")
    return MasterKey.of(raw)


def decode_all(text: str, source: str) -> list[MasterKey]:
    """The keys that `text` holds, separated by white space, the newest last; WardgateError as `decode`."""
    words = text.split()
    if len(words) > _MOST_KEYS:
        raise WardgateError("invalid_master_key", f"{source} holds more than {_MOST_KEYS} master keys.")
    return [decode(word, source) for word in words or [""]]


def encode(raw: bytes) -> str:
    """`raw` as the line that `decode` reads."""
    return _PREFIX + base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def create(path: Path, raw: bytes) -> MasterKey:
    """Write a new key file, 0600; WardgateError if there is one already or it can't be written."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise WardgateError("master_key_exists", f"There is already a master key at {path}.") from None
    except OSError as error:
        raise WardgateError("master_key_unwritable", f"{path} can't be written: {error.strerror}.") from None
    with os.fdopen(descriptor, "w") as file:
        file.write(encode(raw) + "\n")
        file.flush()
        os.fsync(file.fileno())
    return MasterKey.of(raw)


def load(path: Path) -> list[MasterKey]:
    """The keys in the file at `path`, the newest last; WardgateError if it is missing, exposed or no key."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise WardgateError(
            "no_master_key", f"There is no master key at {path}: name its file with --master-key-file."
        ) from None
    except OSError as error:
        raise WardgateError("no_master_key", f"The master key {path} can't be read: {error.strerror}.") from None
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(file.fileno())  # of the opened file: no other one can take its place in between
        if not stat.S_ISREG(facts.st_mode):
            raise WardgateError("invalid_master_key", f"{path} is not a file.")
        if facts.st_mode & 0o077:
            raise WardgateError(
                "master_key_exposed",
                f"The master key {path} can be read by others: run chmod 600 {path} and consider who may have read it.",
            )
        text = file.read(_MOST_FILE_BYTES)
    return decode_all(text.decode("ascii", "replace"), str(path))
