"""Leases: the right to serve one session, with the credentials sealed to a key made for this one request.

The private half lives for the length of the request; opened credentials go straight into a `Login`, which wipes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .. import sealing
from ..api.machine import Credentials, Lease, LeaseRequest, LeaseSecrets, TestSecrets, TestSecretsRequest
from ..net.machine import SignedClient
from ..secret import Secret


@dataclass(frozen=True, slots=True)
class LeasedSession:
    """A lease with its secrets opened; no repr shows them."""

    lease: Lease
    credentials: Credentials = field(repr=False)
    local_password: Secret | None = None  # what MongoDB clients may log in with


async def fetch_lease(client: SignedClient, session_id: str) -> LeasedSession:
    """Ask for the lease of `session_id`; ProblemError where the control plane refuses, UnreachableError, SealError."""
    private, public = sealing.generate()
    lease = await client.request(
        "POST", "/gateway/leases", Lease, LeaseRequest(session_id=session_id, public_key=public, masks=True)
    )
    plain = sealing.open_(private, sealing.lease_info(session_id, client.identity.id), lease.sealed)
    secrets = LeaseSecrets.model_validate_json(plain)
    password = secrets.local_password
    return LeasedSession(lease, secrets.credentials, None if password is None else Secret(password))


async def fetch_test_credentials(client: SignedClient, test_id: str) -> Credentials:
    """The credentials of a connection test that wants a login hop."""
    private, public = sealing.generate()
    answer = await client.request(
        "POST", f"/gateway/tests/{test_id}/secrets", TestSecrets, TestSecretsRequest(public_key=public)
    )
    plain = sealing.open_(private, sealing.test_info(test_id, client.identity.id), answer.sealed)
    return Credentials.model_validate_json(plain)
