"""Where batches are kept: objects that are made once, whole, and never changed.

Law: `put` makes and never replaces, and returns when the object would survive a power cut. An object that the database
does not know (a crash fell between the two) means nothing; the gateway delivers it again. A store that does not answer
is not a store without the object: only FileNotFoundError says that something is missing. All of it is slow: for a
thread.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Protocol


class StoreAway(OSError):  # noqa: N818 - it is what was found, not what failed
    """The store can't keep or give anything now; `str()` says where and why, and holds no secret."""


class ObjectStore(Protocol):
    """A place for objects. Names are made by us (`intake`); each is put once."""

    def put(self, name: str, data: bytes) -> None:
        """Keep `data` under `name`; FileExistsError if there is something, StoreAway if it can't be kept."""

    def get(self, name: str) -> bytes:
        """What is kept under `name`; FileNotFoundError if there is nothing, StoreAway if it can't be read now."""

    def delete(self, name: str) -> None:
        """Let an object go; one that is gone is no error. StoreAway if it can't be done now."""


class ObjectFolder:
    """Objects as files below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, data: bytes) -> None:
        """See `ObjectStore.put`. Written aside and linked: whole or not there, and never in place of another."""
        path = self._folder / name
        try:
            if not path.parent.is_dir():
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _sync_folder(self._folder)
            temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
            try:
                fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
                with os.fdopen(fd, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                os.link(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
            _sync_folder(path.parent)
        except FileExistsError:
            raise
        except OSError as error:
            raise StoreAway(f"the folder {self._folder} does not take it: {error.strerror}") from error

    def get(self, name: str) -> bytes:
        """See `ObjectStore.get`."""
        try:
            return (self._folder / name).read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StoreAway(f"the folder {self._folder} does not give it: {error.strerror}") from error

    def delete(self, name: str) -> None:
        """See `ObjectStore.delete`. The folder of a session goes with its last object."""
        path = self._folder / name
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise StoreAway(f"the folder {self._folder} does not let it go: {error.strerror}") from error
        with suppress(OSError):
            path.parent.rmdir()  # or more is in it


class Layered:
    """A store in front of the one that was used before it: new objects go to the first, old ones are where they are."""

    def __init__(self, first: ObjectStore, older: ObjectStore) -> None:
        self._first = first
        self._older = older

    def put(self, name: str, data: bytes) -> None:
        """See `ObjectStore.put`."""
        self._first.put(name, data)

    def get(self, name: str) -> bytes:
        """See `ObjectStore.get`. The older one is a folder here, so it is asked first: that costs nothing."""
        try:
            return self._older.get(name)
        except FileNotFoundError:
            return self._first.get(name)

    def delete(self, name: str) -> None:
        """See `ObjectStore.delete`."""
        self._first.delete(name)
        self._older.delete(name)


def keep(store: ObjectStore, name: str, data: bytes) -> str:
    """Keep `data`, and the name that it has. What a crash left under the name stays: the same bytes serve, and beside
    others this gets a name of its own."""
    try:
        store.put(name, data)
    except FileExistsError:
        if store.get(name) == data:
            return name
        name = f"{name}-{secrets.token_hex(4)}"
        store.put(name, data)
    return name


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
