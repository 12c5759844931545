"""Leases: the right to serve one session, with the credentials sealed to a key made for this one request.

The private half lives for the length of the request. What comes out is a `LeasedSession` whose password is a `Secret`;
the plaintext JSON is parsed and dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .. import sealing
from ..api.machine import Credentials, Lease, LeaseRequest, LeaseSecrets, TestSecrets, TestSecretsRequest
from ..net.machine import SignedClient
from ..secret import Secret


@dataclass(frozen=True, slots=True)
class MongoUser:
    """A MongoDB user with its password."""

    username: str
    mechanism: str
    password: Secret = field(repr=False)

    @classmethod
    def of(cls, credentials: Credentials) -> MongoUser:
        """From the sealed part of an answer."""
        return cls(credentials.username, credentials.mechanism, Secret(credentials.password))


@dataclass(frozen=True, slots=True)
class LeasedSession:
    """A lease with its credentials opened."""

    lease: Lease
    user: MongoUser


async def fetch_lease(client: SignedClient, session_id: str) -> LeasedSession:
    """Ask for the lease of `session_id`; ProblemError where the control plane refuses, UnreachableError, SealError."""
    private, public = sealing.generate()
    lease = await client.request(
        "POST", "/gateway/leases", Lease, LeaseRequest(session_id=session_id, public_key=public)
    )
    plain = sealing.open_(private, sealing.lease_info(session_id, client.identity.id), lease.sealed)
    secrets = LeaseSecrets.model_validate_json(plain)
    return LeasedSession(lease, MongoUser.of(secrets.credentials))


async def fetch_test_user(client: SignedClient, test_id: str) -> MongoUser:
    """The credentials of a connection test that wants a login hop."""
    private, public = sealing.generate()
    answer = await client.request(
        "POST", f"/gateway/tests/{test_id}/secrets", TestSecrets, TestSecretsRequest(public_key=public)
    )
    plain = sealing.open_(private, sealing.test_info(test_id, client.identity.id), answer.sealed)
    return MongoUser.of(Credentials.model_validate_json(plain))
