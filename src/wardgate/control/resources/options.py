"""What each option of a connection string means here.

An option is one of four things, and none is passed on unread:

- the gateway **honours** it, because it says how the deployment is reached;
- the **form** has a field for the same thing, so it must agree with the form;
- it concerns a **client** only (pools, read preference, write concern, …): every client sets it in its own URI, so it
  has no effect here; strings pasted from a cloud console carry several, so it is accepted with a notice, not refused;
- it is **refused**, with the sentence that says what to do instead.

Anything else is unknown, and refused by its name. Values are checked by pymongo's own validators.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final
from urllib.parse import unquote

from pymongo import uri_parser


class Role(Enum):
    """What an option means here."""

    HONOURED = auto()
    FORM = auto()
    CLIENT = auto()
    REFUSED = auto()


@dataclass(frozen=True, slots=True)
class Option:
    """One option in its documented spelling; `advice` completes “<name> …” where it is refused."""

    name: str
    role: Role
    advice: str = ""


_HONOURED = (
    "authMechanism",
    "compressors",
    "directConnection",
    "loadBalanced",
    "replicaSet",
    "srvMaxHosts",
    "srvServiceName",
    "zlibCompressionLevel",
)
_FORM = ("authSource", "ssl", "tls", "tlsAllowInvalidCertificates", "tlsInsecure")
_CLIENT = (
    "appName",
    "connectTimeoutMS",
    "enableOverloadRetargeting",
    "heartbeatFrequencyMS",
    "journal",
    "localThresholdMS",
    "maxAdaptiveRetries",
    "maxConnecting",
    "maxIdleTimeMS",
    "maxPoolSize",
    "maxStalenessSeconds",
    "minPoolSize",
    "readConcernLevel",
    "readPreference",
    "readPreferenceTags",
    "retryReads",
    "retryWrites",
    "serverMonitoringMode",
    "serverSelectionTimeoutMS",
    "serverSelectionTryOnce",
    "socketTimeoutMS",
    "timeoutMS",
    "uuidRepresentation",
    "w",
    "waitQueueMultiple",
    "waitQueueTimeoutMS",
    "wtimeoutMS",
)
_FILES = "names a file on your machine, which the gateway cannot read"
_REFUSED = {
    "authMechanismProperties": "belongs to a mechanism, and that to an account (--mechanism): leave it out",
    "authOIDCAllowedHosts": "is not for resources: the gateway's operator names the hosts that may get its token",
    "gssapiServiceName": "belongs to Kerberos (GSSAPI), which is not supported",
    "proxyHost": "is not supported: the gateway dials the database directly",
    "proxyPassword": "is not supported: the gateway dials the database directly",
    "proxyPort": "is not supported: the gateway dials the database directly",
    "proxyUsername": "is not supported: the gateway dials the database directly",
    "srvAllowedHostsSuffix": "is not supported: the hosts of an SRV record must be in its own domain",
    "tlsAllowInvalidHostnames": "is not supported alone: switch off Reject Unauthorized if you accept any certificate",
    "tlsCAFile": f"{_FILES}: put the certificates into the CA certificate field",
    "tlsCRLFile": f"{_FILES}; revocation lists are not supported yet",
    "tlsCertificateKeyFile": f"{_FILES}: a client certificate belongs to an account (--client-certificate)",
    "tlsCertificateKeyFilePassword": f"{_FILES}: a client certificate belongs to an account (--client-certificate)",
    "tlsDisableCertificateRevocationCheck": "is not supported: leave it out",
    "tlsDisableOCSPEndpointCheck": "is not supported: leave it out",
}

# Option names are case-insensitive in the connection string specification.
OPTIONS: Final[dict[str, Option]] = {
    option.name.lower(): option
    for option in (
        *(Option(name, Role.HONOURED) for name in _HONOURED),
        *(Option(name, Role.FORM) for name in _FORM),
        *(Option(name, Role.CLIENT) for name in _CLIENT),
        *(Option(name, Role.REFUSED, advice) for name, advice in _REFUSED.items()),
    )
}
REPEATABLE = frozenset({"readpreferencetags"})


def value_of(option: Option, raw: str) -> str | int | float | bool | None:
    """`raw` (percent-encoded) as pymongo's validator understands it; ValueError if it is no value of the option.

    Lists and documents, which only options without effect have, come back as None.
    """
    if option.name == "compressors":  # a list, of which pymongo silently drops what it does not know
        return unquote(raw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            parsed = uri_parser.split_options(f"{option.name}={raw}", validate=True, warn=False, normalize=False)
        except Exception as error:  # pymongo's errors, ValueError, TypeError: all mean that the value is none
            raise ValueError(option.name) from error
    value = next(iter(parsed.values()), None)
    return value if isinstance(value, str | int | float | bool) else None
