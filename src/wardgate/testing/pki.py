"""A wardgate CA in memory, and who may hold its certificates: gateways, relays, sessions, and wrong ones."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from ..ids import Kind
from ..net import certs, fresh
from ..net.certs import Authority, Intermediate
from ..net.machine import MachineIdentity, MachineKind
from ..net.tls import Credentials
from ..secret import Secret
from ..tunnel.names import SessionIdentity

_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Pki:
    """Root and intermediates with their keys."""

    root: Authority
    authorities: dict[Intermediate, Authority]

    @classmethod
    def make(cls, now: datetime | None = None) -> Pki:
        """A fresh one."""
        now = now or datetime.now(UTC)
        key = certs.make_key()
        root = Authority(certs.make_root(key, now), key)
        authorities = {}
        for kind in Intermediate:
            own = certs.make_key()
            authorities[kind] = Authority(certs.make_intermediate(root, kind, own.public_key(), now), own)
        return cls(root, authorities)

    @property
    def trust(self) -> dict[str, bytes]:
        """The intermediates, DER."""
        return {kind.value: certs.to_der(authority.certificate) for kind, authority in self.authorities.items()}

    def machine(self, kind: MachineKind, name: str, machine_id: str | None = None) -> MachineIdentity:
        """An enrolled gateway or relay."""
        key = certs.make_key()
        until = datetime.now(UTC) + _HOUR
        if kind == "gateway":
            machine_id = machine_id or fresh.new_id(Kind.GATEWAY)
            issuer = self.authorities[Intermediate.GATEWAYS]
            leaf = certs.issue_gateway(issuer, key.public_key(), machine_id, datetime.now(UTC), until)
        else:
            machine_id = machine_id or fresh.new_id(Kind.RELAY)
            issuer = self.authorities[Intermediate.RELAYS]
            leaf = certs.issue_relay(issuer, key.public_key(), machine_id, datetime.now(UTC), until)
        return MachineIdentity(
            kind=kind,
            id=machine_id,
            instance_id=machine_id,
            name=name,
            project_id=None,
            domain="http://127.0.0.1",
            audience="http://127.0.0.1",
            certificate=certs.to_der(leaf),
            intermediate=certs.to_der(issuer.certificate),
            root=certs.to_der(self.root.certificate),
            trust=self.trust,
            key=key,
        )

    def session(self, session_id: str, gateway_id: str, not_after: datetime | None = None) -> Credentials:
        """What a local proxy holds for one session."""
        key = certs.make_key()
        issuer = self.authorities[Intermediate.SESSIONS]
        identity = SessionIdentity(session_id, gateway_id)
        now = datetime.now(UTC)
        leaf = certs.issue_session(issuer, key.public_key(), identity, now, not_after or now + _HOUR)
        return Credentials(certs.to_pem(leaf, issuer.certificate), Secret(certs.key_to_pem(key)))
