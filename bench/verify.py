"""What verifying a session costs: CPU seconds for a hundred thousand records, online and on an exported bundle.

    .venv/bin/python -m bench.verify [--commands N] [--rounds N] [--batch N] [--folder DIR] [--profile FILE]

Online is `session verify` in the control plane: chains, seals, and every row of the database against its record.
Offline is the check of a bundle in memory. A command is two records.
"""

from __future__ import annotations

import argparse
import cProfile
import shutil
import statistics
import tempfile
from pathlib import Path
from time import process_time

import uvloop
from sqlalchemy import update

from wardgate.api.audit import ExportFormat
from wardgate.api.models import SessionStatus, VerificationState
from wardgate.audit.records import SessionClosed
from wardgate.control.access.model import SessionRow
from wardgate.control.audit_log import Cause
from wardgate.control.identity.actor import Actor, Binding, Scope
from wardgate.control.identity.permissions import Role
from wardgate.net import logs
from wardgate.proof.bundle import open_bundle
from wardgate.proof.seals import TrustedKeys

from .ingest import open_control


async def _run(asked: argparse.Namespace, folder: Path) -> dict[str, list[float]]:
    control = await open_control(folder)
    records = control.services.records
    gateway = await control.session()
    for _ in range(asked.commands // asked.batch):
        await control.service(gateway.batch(asked.batch))
    await control.service(gateway.frame(SessionClosed("client_closed")))
    async with control.services.database.write() as session:
        await session.execute(
            update(SessionRow)
            .where(SessionRow.id == gateway.session_id)
            .values(status=SessionStatus.ENDED, ended_at=control.services.sources.now())
        )
    await records.sweep()
    actor = Actor("usr_a", "a@example.com", "s", Cause("a@example.com"), (Binding(Role.ADMIN, Scope()),))
    trusted = TrustedKeys("".join(key.certificate for key in records.keys().items).encode())
    found: dict[str, list[float]] = {"online": [], "bundle": []}
    profile = cProfile.Profile() if asked.profile else None
    for _ in range(asked.rounds):
        began = process_time()
        answer = await records.verify(actor, gateway.session_id)
        took = process_time() - began
        if answer.state is not VerificationState.VERIFIED:
            raise SystemExit(f"{answer}")
        found["online"].append(took / answer.records * 100_000)
        pieces = await records.export(actor, gateway.session_id, ExportFormat.BUNDLE)
        data = b"".join([piece async for piece in pieces])
        if profile is not None:
            profile.enable()
        began = process_time()
        checked = open_bundle(data).check(trusted)
        took = process_time() - began
        if profile is not None:
            profile.disable()
        if checked.broken is not None or not checked.sealed:
            raise SystemExit(f"{checked}")
        found["bundle"].append(took / checked.records * 100_000)
    await control.services.close()
    if profile is not None:
        profile.dump_stats(asked.profile)
    return found


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commands", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=500, help="commands in one object of the store")
    parser.add_argument("--folder", type=Path, default=None, help="where to work")
    parser.add_argument("--profile", type=Path, default=None, help="write cProfile's figures of the bundle's check")
    asked = parser.parse_args()
    logs.configure("bench", level="warning")
    work = Path(tempfile.mkdtemp(prefix="wardgate-bench-", dir=asked.folder))
    try:
        found = uvloop.run(_run(asked, work))
    finally:
        shutil.rmtree(work)
    for way, seconds in found.items():
        print(f"{way:<8} {statistics.median(seconds):6.2f} s of CPU per 100,000 records", flush=True)


if __name__ == "__main__":
    main()
