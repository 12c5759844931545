"""Files that hold what only their owner may read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from .exits import Exit, ExitError


def saved(path: Path, pieces: Iterable[bytes]) -> int:
    """Write `pieces` to `path` (0600), whole or not at all; how many bytes. ExitError if it can't be written."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    size = 0
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(fd, "wb") as file:
                for piece in pieces:
                    size += file.write(piece)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise ExitError("not_written", f"{path} could not be written: {reason}.", Exit.FAILED) from error
    return size
