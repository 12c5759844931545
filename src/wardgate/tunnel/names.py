"""Who is who in the tunnel: URIs in certificates, names in SNI, purposes in ALPN.

A certificate of wardgate's CA says what its holder is in exactly one URI subject alternative name; nothing else in it
(subject, DNS names) is ever an argument for access. This file reads and writes those URIs and the server names under
`wardgate.internal`, a domain that exists in no DNS.

It does not verify signatures, validity or purpose: TLS has done that with the one intermediate that the context trusts.
Law: a name that is not exactly in our form is no name.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from .. import ids
from ..errors import WardgateError
from ..ids import Kind

DOMAIN: Final = "wardgate.internal"
RELAY_NAME: Final = f"relay.{DOMAIN}"
CONTROL_ALPN: Final = "wardgate-ctl/1"
DATA_ALPN: Final = "wardgate-mongo/1"
RELAY_ALPN: Final = "wardgate-relay/1"
STREAM_ALPNS: Final = (CONTROL_ALPN, DATA_ALPN)
_SCHEME = "wardgate:"
_TAG = re.compile(r"[0-9a-f]{32}")


class IdentityError(WardgateError):
    """A certificate or a name that says nothing we know."""

    def __init__(self, message: str) -> None:
        super().__init__("bad_identity", message)


@dataclass(frozen=True, slots=True)
class SessionIdentity:
    """The local proxy of one session, towards one gateway."""

    session_id: str
    gateway_id: str

    @property
    def uri(self) -> str:
        """`wardgate:session/<session>/gateway/<gateway>`."""
        return f"{_SCHEME}session/{self.session_id}/gateway/{self.gateway_id}"


@dataclass(frozen=True, slots=True)
class GatewayIdentity:
    """A gateway."""

    gateway_id: str

    @property
    def uri(self) -> str:
        """`wardgate:gateway/<gateway>`."""
        return f"{_SCHEME}gateway/{self.gateway_id}"


@dataclass(frozen=True, slots=True)
class RelayIdentity:
    """A relay."""

    relay_id: str

    @property
    def uri(self) -> str:
        """`wardgate:relay/<relay>`."""
        return f"{_SCHEME}relay/{self.relay_id}"


Identity = SessionIdentity | GatewayIdentity | RelayIdentity


@dataclass(frozen=True, slots=True)
class PeerCertificate:
    """What a verified certificate says: who, until when (UTC), and which key; see `instance_tag`."""

    identity: Identity
    not_after: datetime
    tag: str


def parse_uri(uri: str) -> Identity:
    """The identity that `uri` names; IdentityError if it is in none of the three forms."""
    match uri.removeprefix(_SCHEME).split("/") if uri.startswith(_SCHEME) else []:
        case ["session", session, "gateway", gateway]:
            if ids.is_id(session, Kind.SESSION) and ids.is_id(gateway, Kind.GATEWAY):
                return SessionIdentity(session, gateway)
        case ["gateway", gateway]:
            if ids.is_id(gateway, Kind.GATEWAY):
                return GatewayIdentity(gateway)
        case ["relay", relay]:
            if ids.is_id(relay, Kind.RELAY):
                return RelayIdentity(relay)
    raise IdentityError("The certificate names nobody that wardgate knows.")


def peer_certificate(der: bytes) -> PeerCertificate:
    """Identity and end of a certificate (DER); IdentityError unless it has exactly one URI, in one of our forms."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        raise IdentityError("The certificate can't be read or names nobody.") from error
    if len(uris) != 1:
        raise IdentityError("The certificate names nobody, or more than one.")
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return PeerCertificate(parse_uri(uris[0]), certificate.not_valid_after_utc, instance_tag(key))


def peer_identity(der: bytes) -> Identity:
    """The identity in a certificate (DER); IdentityError as `peer_certificate`."""
    return peer_certificate(der).identity


def instance_tag(public_key: bytes) -> str:
    """What tells the instances of one gateway apart: 32 hexadecimal digits of the hash of their key (DER).

    All instances bear the gateway's one name, because to a session they are one; the key is what each has for itself.
    """
    return hashlib.sha256(public_key).hexdigest()[:32]


def is_instance_tag(text: str) -> bool:
    """Whether `text` is in the form of one."""
    return _TAG.fullmatch(text) is not None


def gateway_label(gateway_id: str) -> str:
    """The DNS label of a gateway: its id with `-` for `_`."""
    ids.to_bytes(gateway_id, Kind.GATEWAY)
    return gateway_id.replace("_", "-")


def gateway_of_label(label: str) -> str | None:
    """The gateway that `label` names, or None."""
    gateway_id = label.replace("-", "_", 1)
    if "_" in label or not ids.is_id(gateway_id, Kind.GATEWAY):
        return None
    return gateway_id


def gateway_dns_name(gateway_id: str) -> str:
    """The wildcard name in a gateway's certificate: `*.<gateway>.wardgate.internal`."""
    return f"*.{gateway_label(gateway_id)}.{DOMAIN}"
