"""A program's data folder: its owner's alone, one program at a time, whole files or none.

Law: a private file that others could read is refused, not repaired, because it may have been read already; a file is
replaced in one step and is on disk before anything says so.
"""

from __future__ import annotations

import fcntl
import os
import stat
from pathlib import Path
from types import TracebackType

from ..errors import WardgateError

_LOCK = "lock"


class FolderLock:
    """An flock on `<folder>/lock`, held until `release` or the end of the process, however it ends."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let another program use the folder."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> FolderLock:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def claim(folder: Path) -> FolderLock:
    """Make `folder` if it is missing (0700) and be its only user; WardgateError `folder_in_use`, `folder_unusable`."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise WardgateError("folder_unusable", f"The folder {folder} can't be used: {error.strerror}.") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise WardgateError(
            "folder_in_use",
            f"The folder {folder} is in use by another wardgate program: stop it, or name another folder.",
        ) from error
    return FolderLock(descriptor)


def read_private(path: Path) -> bytes | None:
    """The content of a private file, None if there is none; WardgateError `file_exposed` if others may read it."""
    try:
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            if facts.st_uid != os.geteuid() or stat.S_IMODE(facts.st_mode) & 0o077:
                raise WardgateError(
                    "file_exposed",
                    f"{path} can be read by others: make it yours alone (chmod 600), or remove it and enrol anew.",
                )
            return file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WardgateError("folder_unusable", f"{path} can't be read: {error.strerror}.") from error


def write_private(path: Path, content: bytes) -> None:
    """Replace `path` (0600) with `content`, in one step, and durable when this returns."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise WardgateError("folder_unusable", f"{path} can't be written: {error.strerror}.") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
