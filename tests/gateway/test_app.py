"""How a gateway leaves that was not asked to: with an error, which is an exit status other than 0."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wardgate.api.problems import ProblemCode, ProblemError
from wardgate.cli.exits import Exit, exit_code_of
from wardgate.errors import WardgateError
from wardgate.gateway import app
from wardgate.gateway.spool.spool import Spool
from wardgate.net.machine import SignedClient
from wardgate.testing.pki import Pki
from wardgate.testing.ports import free_ports


@pytest.fixture
async def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[app.Gateway]:
    """One whose control plane is away; it is taken for known there."""
    identity = replace(Pki.make().machine("gateway", "near-db"), domain=f"http://127.0.0.1:{free_ports(1)[0]}")
    config = app.GatewayConfig(data_dir=tmp_path, name="near-db", token=None)
    client, spool = SignedClient(identity), await Spool.open(tmp_path / "spool", config.numbers)

    async def known(_: object) -> None:
        return

    monkeypatch.setattr(app.Gateway, "_first_beat", known)
    yield app.Gateway(config, client, spool)
    await spool.close()
    await client.close()


async def test_a_loop_that_dies_is_a_failure(gateway: app.Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    async def dies(*_: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("wardgate.gateway.link.follow", dies)
    with pytest.raises(WardgateError, match="failed inside") as failed:
        await gateway.run(lambda: None)
    assert exit_code_of(failed.value) == Exit.FAILED


@pytest.mark.parametrize("what", ["all", "instance"])
async def test_revocation_is_a_refusal(gateway: app.Gateway, what: str) -> None:
    running = asyncio.create_task(gateway.run(lambda: None))
    sentence = "near-db was revoked: make a new one and enrol it."
    await gateway._refused(ProblemError(ProblemCode.FORBIDDEN, sentence, context={"revoked": what}))
    with pytest.raises(WardgateError, match="was revoked") as failed:
        await running
    assert exit_code_of(failed.value) == Exit.REFUSED


async def test_a_signal_is_no_failure(gateway: app.Gateway) -> None:
    gateway.stop()
    await gateway.run(lambda: None)
