"""`wardgate` with a gateway whose replies wait for the process only, not for the disk: for the bench, nothing else."""

from __future__ import annotations

import functools

from wardgate.cli.main import main
from wardgate.gateway.spool.spool import Spool

if __name__ == "__main__":
    strict = Spool.open_epoch

    @functools.wraps(strict)
    def open_epoch(*arguments: object, **named: object) -> object:
        return strict(*arguments, **{**named, "durability": "process"})  # type: ignore[arg-type]

    Spool.open_epoch = open_epoch  # type: ignore[method-assign,assignment]
    main()
