"""Where the master keys come from: a file, the environment, a credential of systemd.

Each gives one key, or, while one replaces another, several: the newest stands last. Which of them seals is not said
here: the database says it (`Vault.current_id`), so that all nodes change over at one moment. Providers are asked again
when a key is met that nobody knows, so that a key that was added to a file is found without a restart; what stands in
the environment is as it was when the process started.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from ...errors import WardgateError
from . import master
from .master import MasterKey

MASTER_KEY: Final = "master.key"
CREDENTIAL: Final = "wardgate-master-key"
_CREDENTIALS: Final = "CREDENTIALS_DIRECTORY"  # systemd's name for it


class KeyProvider(Protocol):
    """A place that master keys are read from."""

    def load(self) -> Sequence[MasterKey]:
        """All of them, at least one, the newest last; WardgateError where they can't be had."""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A file that its owner alone can read, one key a line."""

    path: Path

    def load(self) -> Sequence[MasterKey]:
        """See `KeyProvider.load`."""
        return master.load(self.path)


@dataclass(frozen=True, slots=True)
class KeyVariable:
    """WARDGATE_MASTER_KEY, keys separated by white space."""

    def load(self) -> Sequence[MasterKey]:
        """See `KeyProvider.load`."""
        return master.decode_all(os.environ.get(master.VARIABLE, ""), master.VARIABLE)


@dataclass(frozen=True, slots=True)
class FixedKeys:
    """Keys that somebody has in their hand."""

    keys: Sequence[MasterKey]

    def load(self) -> Sequence[MasterKey]:
        """See `KeyProvider.load`."""
        return self.keys


def choose(data_dir: Path, named: Path | None) -> KeyProvider:
    """What was named, else the environment, else systemd's credential, else the data folder."""
    if named is not None:
        return KeyFile(named)
    if os.environ.get(master.VARIABLE):
        return KeyVariable()
    folder = os.environ.get(_CREDENTIALS)
    if folder and (Path(folder) / CREDENTIAL).exists():
        return KeyFile(Path(folder) / CREDENTIAL)
    return KeyFile(data_dir / MASTER_KEY)


def file_of(provider: KeyProvider) -> Path:
    """The file that a command may change; WardgateError where there is none."""
    if isinstance(provider, KeyFile) and provider.path.parent != Path(os.environ.get(_CREDENTIALS) or "/dev/null"):
        return provider.path
    raise WardgateError(
        "no_master_key_file",
        "The master key is not in a file of ours: put the new key behind the old one, separated by a space, where the "
        "old one comes from, and start every node again.",
    )
