"""A segment: one file of frames, filled with zeros before the first is written.

Overwriting zeros that are already on disk changes no metadata, so `fdatasync` costs no journal commit; and the space
is there when it is needed, so a full disk is noticed before a record is refused a place, not while one is written.
Recovery takes what is not zero behind the last good frame for a torn tail.

Law: a segment is written by one process only, front to back, and never again after it was closed or failed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

_BLOCK: Final = 1024 * 1024
_ZEROS: Final = bytes(_BLOCK)
SUFFIX: Final = ".seg"
DAMAGED: Final = ".damaged"


class Segment:
    """An open segment. `end` is where the next frame goes; `trusted` says that this process wrote all of it."""

    def __init__(self, number: int, path: Path, fd: int, size: int, *, trusted: bool) -> None:
        self.number = number
        self.path = path
        self.fd = fd
        self.size = size
        self.end = 0
        self.trusted = trusted

    @property
    def free(self) -> int:
        """Bytes left."""
        return self.size - self.end

    def write(self, data: bytes) -> None:
        """Hand `data` to the kernel; OSError if it did not take it whole, and then the segment is no longer usable."""
        written = os.pwrite(self.fd, data, self.end)
        if written != len(data):
            raise OSError(f"the system took {written} of {len(data)} bytes")
        self.end += written

    def read(self, offset: int, length: int) -> bytes:
        """What lies there, shorter only at the end of the file."""
        parts = []
        while length > 0:
            part = os.pread(self.fd, length, offset)
            if not part:
                break
            parts.append(part)
            offset += len(part)
            length -= len(part)
        return b"".join(parts)


def _path(folder: Path, number: int) -> Path:
    return folder / f"{number:010d}{SUFFIX}"


def _create(folder: Path, number: int) -> tuple[Path, int]:
    path = _path(folder, number)
    return path, os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)


def prepare(folder: Path, number: int, size: int) -> Segment:
    """A segment whose zeros and whose name are on disk. Slow: for a thread. It goes in steps, so that the syncs of the
    segment in use find the disk free in between."""
    path, fd = _create(folder, number)
    try:
        for offset in range(0, size, _BLOCK):
            os.pwrite(fd, _ZEROS[: size - offset], offset)
            os.fdatasync(fd)
        os.fsync(fd)
        _sync_folder(folder)
    except OSError:
        os.close(fd)
        path.unlink(missing_ok=True)
        raise
    return Segment(number, path, fd, size, trusted=True)


def allocate(folder: Path, number: int, size: int) -> Segment:
    """A segment at once, for when none is prepared: its space is the file's but not yet zeros, so syncs cost more."""
    path, fd = _create(folder, number)
    try:
        os.posix_fallocate(fd, 0, size)
        os.fsync(fd)
        _sync_folder(folder)
    except OSError:
        os.close(fd)
        path.unlink(missing_ok=True)
        raise
    return Segment(number, path, fd, size, trusted=True)


def found(folder: Path) -> list[Segment]:
    """The segments that an earlier process left in `folder` (made if missing), oldest first."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    segments = []
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        if not path.stem.isdecimal():
            continue
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        size = os.fstat(fd).st_size
        segment = Segment(int(path.stem), path, fd, size, trusted=False)
        segment.end = size
        segments.append(segment)
    return segments


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
