"""`wardgate` with a gateway that records no command: beside it, the bench shows what recording costs. For nothing else.

Connections and the session's end are recorded as always; a command's intent, parts and outcome are dropped before they
are encoded, and no reply waits for them.
"""

from __future__ import annotations

from wardgate.audit.records import CommandIntent, CommandOutcome, Record, Upload, UploadPart
from wardgate.cli.main import main
from wardgate.gateway.spool.epoch import EpochRecorder

_DROPPED = (CommandIntent, CommandOutcome, Upload, UploadPart)
_DURABLE = 0  # the head of every epoch, which is on disk before the first command

if __name__ == "__main__":
    recorded = EpochRecorder.append

    def append(self: EpochRecorder, record: Record) -> int:
        return _DURABLE if isinstance(record, _DROPPED) else recorded(self, record)

    EpochRecorder.append = append  # type: ignore[method-assign]
    main()
