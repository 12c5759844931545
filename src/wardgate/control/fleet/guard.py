"""The door for machines: a signed assertion instead of a token.

    caller: Annotated[Caller, Depends(operates(Permission.MACHINE_GATEWAY_OPERATE))]

Law: an assertion is about exactly this request, of this minute, by a machine that is enrolled and not revoked, and is
accepted once, by whichever node. An embedded database has one node, which has in its memory what was used; so what was
signed before it started is refused, and the machine signs again. A revoked machine is told so (403) only after its
signature was found right; everybody else hears the same sentence.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from datetime import timedelta

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from fastapi import Request

from ...api import assertion
from ...api.problems import ProblemCode, ProblemError
from ..audit_log import Cause
from ..db import Database
from ..identity.guard import cause_of
from ..identity.permissions import Permission
from ..sources import Sources
from . import store
from .model import GatewayRow, InstanceRow, RelayRow

# An instance that enrolled before gateways had instances signs by its gateway's id.
_PREFIXES = {Permission.MACHINE_GATEWAY_OPERATE: ("gwi_", "gw_"), Permission.MACHINE_RELAY_OPERATE: ("rly_",)}


@dataclass(frozen=True, slots=True)
class Caller:
    """The machine that signed a request: a relay, or one instance of the gateway `id`."""

    id: str
    instance_id: str
    name: str
    project_id: str | None
    cause: Cause


class MachineGuard:
    """Verifies assertions for the audience `public_url`."""

    def __init__(self, database: Database, sources: Sources, public_url: str) -> None:
        self._database = database
        self._sources = sources
        self._public_url = public_url
        self._seen: set[str] = set()
        self._seen_until: deque[tuple[float, str]] = deque()
        self._started_at = int(sources.now().timestamp())

    async def verify(self, request: Request, permission: Permission) -> Caller:
        """The caller; ProblemError `not_logged_in`, or `forbidden` for a machine that was revoked."""
        header = request.headers.get("authorization", "")
        try:
            machine_id = assertion.key_id_of(header)
            if not machine_id.startswith(_PREFIXES[permission]):
                raise assertion.SignatureRefusedError("kind")
            row, owner = await self._rows(machine_id)
            claims = assertion.verify_head(
                header,
                _public_key(row.public_key),
                audience=self._public_url,
                method=request.method,
                target=_target(request),
                now=self._sources.now().timestamp(),
            )
            # Only now the body, which may be megabytes.
            assertion.verify_body(claims, await request.body())
            await self._once(claims)
        except assertion.SignatureRefusedError as refused:
            raise ProblemError(ProblemCode.NOT_LOGGED_IN, refused.message) from refused
        if owner.revoked_at is not None:
            raise _revoked(f"{owner.name} was revoked: make a new one and enrol it.", "all")
        if row.revoked_at is not None:
            raise _revoked(f"This instance of {owner.name} was revoked: enrol another with a new token.", "instance")
        kind, project_id = ("gateway", owner.project_id) if isinstance(owner, GatewayRow) else ("relay", None)
        cause = cause_of(request, actor=f"{kind} {owner.name}", actor_id=owner.id)
        request.scope["wardgate.actor"] = cause.actor
        return Caller(owner.id, row.id, owner.name, project_id, cause)

    async def _rows(self, machine_id: str) -> tuple[store.MachineRow, GatewayRow | RelayRow]:
        """The machine, and what bears its name: the gateway that it is an instance of, or itself."""
        async with self._database.read() as session:
            row = await store.machine(session, machine_id)
            if row is None or row.public_key is None:
                raise assertion.SignatureRefusedError("unknown machine")
            owner = await session.get(GatewayRow, row.gateway_id) if isinstance(row, InstanceRow) else row
            assert owner is not None  # a foreign key
            return row, owner

    async def _once(self, claims: assertion.Claims) -> None:
        """Refuse a second use. An entry is kept until the assertion is too old to be accepted anyway."""
        now = self._sources.now()
        key, seconds = f"{claims.key_id} {claims.jti}", assertion.LIFETIME + 2 * assertion.SKEW
        if self._database.address is not None:
            async with self._database.write(shared=True) as session:
                if not await store.use_assertion(session, key, now + timedelta(seconds=seconds)):
                    raise assertion.SignatureRefusedError("replay")
            return
        if claims.issued_at < self._started_at:
            raise assertion.SignatureRefusedError("before our start")
        while self._seen_until and self._seen_until[0][0] < now.timestamp():
            self._seen.discard(self._seen_until.popleft()[1])
        if key in self._seen:
            raise assertion.SignatureRefusedError("replay")
        self._seen.add(key)
        self._seen_until.append((now.timestamp() + seconds, key))

    async def sweep(self) -> None:
        """Forget what is too old; run now and then."""
        async with self._database.write() as session:
            await store.forget_assertions(session, self._sources.now())


def _revoked(sentence: str, what: str) -> ProblemError:
    return ProblemError(ProblemCode.FORBIDDEN, sentence, context={"revoked": what})


class operates:  # noqa: N801 - reads as a word at the route
    """The declaration of a machine's route, a FastAPI dependency that gives the Caller."""

    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    async def __call__(self, request: Request) -> Caller:
        """Verify this request."""
        guard: MachineGuard = request.app.state.machine_guard
        return await guard.verify(request, self.permission)


def _target(request: Request) -> str:
    """Path and query as they were sent."""
    raw: bytes = request.scope.get("raw_path") or request.scope["path"].encode()
    query: bytes = request.scope.get("query_string", b"")
    path = raw.partition(b"?")[0].decode("latin-1")
    return f"{path}?{query.decode('latin-1')}" if query else path


def _public_key(der: bytes | None) -> ec.EllipticCurvePublicKey:
    key = load_der_public_key(der or b"")
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise assertion.SignatureRefusedError("key")
    return key
