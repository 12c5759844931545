"""A session under any order of what people, its gateway and time may do: the laws hold after every step."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from wardgate import sealing

from ..machines import PREFIX, Machine
from .test_sessions import account, granted, relay, relay_beat, show, sweep

__all__ = ["account", "relay"]  # fixtures

EPOCHS = st.sampled_from(["newest", "older"])
STEPS = st.lists(
    st.one_of(
        st.just(("lease",)),
        st.just(("terminate",)),
        st.just(("abandon",)),
        st.just(("sweep",)),
        st.tuples(st.just("active"), EPOCHS),
        st.tuples(st.just("ended"), EPOCHS, st.sampled_from(["client_closed", "idle", "failed_to_start", "expired"])),
        st.tuples(st.just("beat"), st.sampled_from(["newest", "older", "without"])),
        st.tuples(st.just("wait"), st.sampled_from([1, 30, 61, 599, 3_700])),
    ),
    max_size=12,
)


class Life:
    """One session, what was done to it, and what was seen of it last."""

    def __init__(
        self, control: Any, admin: httpx2.AsyncClient, gateway: Machine, relay: Machine, session_id: str
    ) -> None:
        self.control = control
        self.admin = admin
        self.gateway = gateway
        self.relay = relay
        self.id = session_id
        self.epoch = 0
        self.seen: list[dict[str, Any]] = []

    async def do(self, step: Sequence[Any]) -> None:
        """One step; whatever it is answered, it is answered by a sentence and never by a fault of ours."""
        kind = step[0]
        if kind == "wait":
            self.control.clock.forward(seconds=step[1])
            self.admin = await self.control.login("admin@example.com")  # tokens end too
        elif kind == "sweep":
            await sweep(self.control)
        elif kind in ("terminate", "abandon"):
            assert (await self.admin.post(f"{PREFIX}/sessions/{self.id}/{kind}")).status_code == 200
        elif kind == "lease":
            await self._lease()
        elif kind == "beat":
            await self._beat(step[1])
        else:
            await self._report(*step)

    async def _lease(self) -> None:
        ended = self.seen[-1]["status"] == "ended"
        _, public = sealing.generate()
        body = json.dumps({"session_id": self.id, "public_key": base64.b64encode(public).decode()}).encode()
        answer = await self.gateway.send("POST", "/gateway/leases", body)
        assert answer.status_code in (200, 403)
        if answer.status_code == 200:
            assert not ended
            assert answer.json()["epoch"] == self.epoch + 1
            assert answer.json()["expires_in_s"] > 0
            self.epoch += 1

    async def _report(self, status: str, epoch: str, reason: str | None = None) -> None:
        number = self.epoch if epoch == "newest" else self.epoch - 1
        body = json.dumps({"epoch": number, "status": status, "end_reason": reason}).encode()
        answer = await self.gateway.send("POST", f"/gateway/sessions/{self.id}/state", body)
        assert answer.status_code in (204, 409)
        if epoch == "older" and self.seen[-1]["status"] != "ended":
            assert answer.status_code == 409

    async def _beat(self, how: str) -> None:
        number = self.epoch if how == "newest" else self.epoch - 1
        listed = [] if how == "without" else [{"session_id": self.id, "epoch": number}]
        answer = await self.gateway.beat(json.dumps({"sessions": listed}).encode())
        told = [each["session_id"] for each in answer["end"]] + [each["session_id"] for each in answer["renewed"]]
        assert told == [each["session_id"] for each in listed]  # each listed one lives or dies
        if self.seen[-1]["status"] == "ended" and listed:
            assert [each["session_id"] for each in answer["end"]] == [self.id]

    async def look(self) -> None:
        """The laws."""
        now = await show(self.admin, self.id)
        history = await self._history()
        order = ["starting", "active", "ended"]
        if self.seen:
            before = self.seen[-1]
            assert order.index(now["status"]) >= order.index(before["status"])
            if before["status"] == "ended":
                assert {**now, "link": None} == {**before, "link": None}
        assert (now["end_reason"] is not None) == (now["status"] == "ended") == (now["ended_at"] is not None)
        assert [status for status, _ in history] == sorted({status for status, _ in history}, key=order.index)
        assert history[-1] == (now["status"], now["end_reason"])
        if now["end_reason"] == "failed_to_start":
            assert now["started_at"] is None
        self.seen.append(now)

    async def _history(self) -> list[tuple[str, str | None]]:
        query = text("SELECT status, end_reason FROM session_transitions WHERE session_id = :id ORDER BY number")
        async with self.control.services.database.read() as session:
            return [(row[0], row[1]) for row in await session.execute(query, {"id": self.id})]


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_laws_of_a_session(
    control: Any, admin: httpx2.AsyncClient, shop: str, gateway: Machine, relay: Machine, account: Any, steps: list[Any]
) -> None:
    await gateway.beat()
    await relay_beat(relay)
    client = await control.login("admin@example.com")
    life = Life(control, client, gateway, relay, (await granted(client, shop))["session"]["id"])
    await life.look()
    for step in [*steps, ("wait", 7_200), ("sweep",)]:
        await life.do(step)
        await life.look()
    assert life.seen[-1]["status"] == "ended"  # whatever happened: after its time, nothing is left live
