"""The objects of batches as the parts of this feature want them: as frames, however and wherever they are stored.

Law: a store that does not answer is a problem of its own (`store_unavailable`), never a missing object: nothing is
called lost or tampered with because it could not be read now.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...api.problems import ProblemCode, ProblemError
from ...net import logs
from ...proof.epoch import Remade, UnreadableObject
from . import packing
from .keyring import Keyring
from .objects import ObjectStore, StoreAway, keep

_log = logs.get("control.records")


class Batches:
    """The store of objects behind the form that they are stored in. Slow like the store: for a thread. Everything may
    raise ProblemError `store_unavailable`."""

    def __init__(self, store: ObjectStore, keyring: Keyring) -> None:
        self._store = store
        self._keyring = keyring

    def keep(self, name: str, data: bytes) -> str:
        """Keep an object as it is, and the name that it has."""
        with _answering():
            return keep(self._store, name, data)

    def get(self, name: str) -> bytes:
        """The frames of a batch; FileNotFoundError, UnreadableObject."""
        opened = self.open(name)
        return opened.data if isinstance(opened, Remade) else opened

    def open(self, name: str) -> bytes | Remade:
        """The same, for a verification, which need not read again what was just made."""
        data = self._stored(name)
        return packing.remake(data, self._keyring.epoch_key) if packing.is_packed(data) else data

    def evidence(self, name: str) -> bytes:
        """The frames of a batch, or what is there in their place: for whoever judges it elsewhere."""
        data = self._stored(name)
        try:
            return packing.remake(data, self._keyring.epoch_key).data if packing.is_packed(data) else data
        except UnreadableObject:
            return data

    def delete(self, name: str) -> None:
        """Let an object go."""
        with _answering():
            self._store.delete(name)

    def _stored(self, name: str) -> bytes:
        with _answering():
            return self._store.get(name)


@contextmanager
def _answering() -> Iterator[None]:
    try:
        yield
    except StoreAway as error:
        _log.error("records.store_away", why=str(error))
        problem = f"The store of records is not available: {error}."
        raise ProblemError(ProblemCode.STORE_UNAVAILABLE, problem) from error
