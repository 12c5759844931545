"""Where batches are kept: files that are made once, whole, and never changed.

Law: `put` returns when the object would survive a power cut. An object that the database does not know (a crash fell
between the two) means nothing; the gateway delivers it again.
"""

from __future__ import annotations

import os
from pathlib import Path


class ObjectFolder:
    """Objects as files below one folder. Names are made by us (`intake`). Slow: for a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, name: str, data: bytes) -> None:
        """Keep `data` under `name`."""
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
        """What is kept under `name`; FileNotFoundError."""
        return (self._folder / name).read_bytes()


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
