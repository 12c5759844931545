"""A gateway that is killed at any moment has lost nothing that it promised."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from wardgate.audit.records import CommandIntent, CommandOutcome
from wardgate.gateway.spool.shipper import Shipper
from wardgate.gateway.spool.spool import Spool
from wardgate.numbers import Numbers

from .receiver import Receiver

_WRITER = Path(__file__).with_name("writer.py")


def _killed_after(folder: Path, public: bytes, lines: int) -> list[tuple[str, str, int]]:
    """The promises of a writer that was killed when it had made about `lines` of them."""
    with subprocess.Popen(
        [sys.executable, str(_WRITER), str(folder), public.hex()], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        said = [child.stdout.readline() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        said += child.stdout.readlines()
    promises = []
    for line in said:
        if line.endswith("\n"):  # the last line may have been cut
            what, session, seq = line.split()
            promises.append((what, session, int(seq)))
    return promises


@pytest.mark.parametrize("index", range(5))
async def test_killed_at_any_moment(tmp_path: Path, index: int) -> None:
    receiver = Receiver()
    promises = _killed_after(tmp_path, receiver.public, random.randint(1, 1500))
    spool = await Spool.open(tmp_path, Numbers())
    shipper = Shipper(spool, receiver.post, interval=0.01)
    shipper.start()
    assert await shipper.flush(60)
    assert promises
    for what, session, seq in promises:
        record = receiver.records[session, 1][seq - 1]
        assert isinstance(record, CommandIntent if what == "w" else CommandOutcome)
    for key, records in receiver.records.items():
        assert receiver.readers[key].closed
        pairs = [record.intent_seq for record in records if isinstance(record, CommandOutcome)]
        assert pairs == list(range(1, 2 * len(pairs), 2))
    await shipper.close()
    await spool.close()
    assert not list(tmp_path.glob("*.damaged"))
