"""What is bound to a user, as it is asked again while a session lives."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from wardgate.control.audit_log import Cause
from wardgate.control.identity.actor import Binding, Scope
from wardgate.control.identity.permissions import Role

PLACE = Scope("prj_1", "res_1", "acc_1")


async def held(control: Any, user_id: str) -> tuple[Binding, ...]:
    async with control.services.database.read() as session:
        found: tuple[Binding, ...] = await control.services.identity.user_bindings(session, user_id)
        return found


async def test_bindings_end_with_their_time_and_with_their_user(control: Any) -> None:
    async with await control.user("ann@example.com", (Role.CONNECTOR, PLACE)) as ann:
        user_id = (await ann.get("/api/v1/auth/whoami")).json()["id"]
        ends = control.clock() + timedelta(minutes=1)
        await control.services.identity.grant(Cause("test"), user_id, Role.AUDITOR, Scope("prj_2"), expires_at=ends)
        assert {(b.role, b.scope) for b in await held(control, user_id)} == {
            (Role.CONNECTOR, PLACE),
            (Role.AUDITOR, Scope("prj_2")),
        }
        control.clock.forward(minutes=1)
        assert [b.role for b in await held(control, user_id)] == [Role.CONNECTOR]
        await control.execute("UPDATE users SET disabled_at = created_at WHERE email = 'ann@example.com'")
        assert await held(control, user_id) == ()
        assert (await ann.get("/api/v1/auth/whoami")).status_code == 401
    assert await held(control, "usr_gone") == ()
