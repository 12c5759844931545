"""A stolen database opens nothing: every kind of secret is put in, and none of them stands in a dump in clear.

What is random is looked for wherever a test of the control plane ends (see `control`); this one looks into PostgreSQL's
dump too, and for what people typed.
"""

from __future__ import annotations

from typing import Any

import httpx2

from ..access.test_sessions import PASSWORD as ACCOUNT_PASSWORD
from ..access.test_sessions import account, granted, lease, relay
from ..conftest import PASSWORD, assert_nothing_in_clear
from ..machines import PREFIX, Machine
from ..mfa.conftest import set_up

__all__ = ["account", "relay"]  # fixtures


async def test_no_secret_stands_in_a_dump(
    control: Any, admin: httpx2.AsyncClient, shop: str, gateway: Machine, account: dict[str, Any]
) -> None:
    session = await granted(admin, shop)
    assert (await lease(gateway, session["session"]["id"]))[0].status_code == 200
    typed = [PASSWORD, ACCOUNT_PASSWORD, session["local_password"]]
    await admin.post(f"{PREFIX}/projects/{shop}/gateways/near-db/tokens")
    await admin.post(f"{PREFIX}/relays", json={"name": "eu-1"})
    await admin.post(f"{PREFIX}/services", json={"name": "ci"})
    secret = await admin.post(f"{PREFIX}/services/ci/secrets", json={})
    assert secret.status_code == 201, secret.text
    typed.append(secret.json()["secret"])
    app = await set_up(control, admin)
    everything = control.dump()
    assert b"CREATE TABLE" in everything, "a dump that holds something"
    assert session["session"]["id"].encode() in everything
    assert_nothing_in_clear(everything, [*control.drawn, *(value.encode() for value in typed), app.secret])
    for word in (b"PRIVATE KEY", b"wgm1_", b"wge1_", b"wga1_", b"wgr1_"):
        assert word not in everything
