"""The keys of epochs: opened with the audit key that their heads name."""

from __future__ import annotations

from ... import sealing
from ...api.problems import ProblemCode, ProblemError
from ...errors import WardgateError
from ..vault import AuditKeys


class Keyring:
    """Opens epoch keys, and keeps none; who follows an epoch does while it is open (`intake`)."""

    def __init__(self, keys: AuditKeys) -> None:
        self._keys = keys

    def epoch_key(self, session_id: str, epoch: int, key_id: str, sealed: bytes) -> bytes:
        """The key of one epoch; ProblemError `records_refused` if it was not sealed for it, or to a key of ours."""
        try:
            private = self._keys.audit_private(key_id).reveal()
            return sealing.open_(private, sealing.epoch_info(session_id, epoch), sealed)
        except WardgateError as error:
            raise ProblemError(ProblemCode.RECORDS_REFUSED, error.message) from error
