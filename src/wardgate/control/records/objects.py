"""Where batches are kept: objects that are made once, whole, and never changed.

Law: `put` returns when the object would survive a power cut. An object that the database does not know (a crash fell
between the two) means nothing; the gateway delivers it again. All of it is slow: for a thread.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol


class ObjectStore(Protocol):
    """A place for objects. Names are made by us (`intake`); each is put once."""

    def put(self, name: str, data: bytes) -> None:
        """Keep `data` under `name`; OSError if it can't be kept."""

    def get(self, name: str) -> bytes:
        """What is kept under `name`; FileNotFoundError, or another OSError if it can't be read now."""

    def delete(self, name: str) -> None:
        """Let an object go; one that is gone is no error."""


class ObjectFolder:
    """Objects as files below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, data: bytes) -> None:
        """See `ObjectStore.put`."""
        path = self._folder / name
        if not path.parent.is_dir():
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _sync_folder(self._folder)
        temporary = path.with_name(path.name + ".tmp")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)

    def get(self, name: str) -> bytes:
        """See `ObjectStore.get`."""
        return (self._folder / name).read_bytes()

    def delete(self, name: str) -> None:
        """See `ObjectStore.delete`. The folder of a session goes with its last object."""
        path = self._folder / name
        path.unlink(missing_ok=True)
        try:
            path.parent.rmdir()
        except OSError:
            return  # more is in it


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
