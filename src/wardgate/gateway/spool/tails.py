"""Epochs that are owed a tail: a note on disk, so that a gateway which dies between delivering the last frame of an
earlier life and saying that it was the last does say it in its next life."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Final

from ...audit.chain import Link
from .epoch import EpochKey

_NAME: Final = "tails.json"


def load(folder: Path) -> dict[EpochKey, Link]:
    """What was noted; nothing if there is no note or it can't be read (then those epochs stay incomplete)."""
    try:
        noted = json.loads((folder / _NAME).read_bytes())
        return {
            (bytes.fromhex(item["session"]), int(item["epoch"])): Link(
                int(item["epoch"]), int(item["seq"]), bytes.fromhex(item["hash"])
            )
            for item in noted
        }
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def save(folder: Path, tails: dict[EpochKey, Link]) -> None:
    """Replace the note; on disk when this returns."""
    note = [
        {"session": session.hex(), "epoch": link.epoch, "seq": link.seq, "hash": link.hash.hex()}
        for (session, _), link in tails.items()
    ]
    path = folder / _NAME
    temporary = path.with_suffix(".tmp")
    with temporary.open("wb") as file:
        file.write(json.dumps(note).encode())
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
