"""What a token's claims must be, and from where a service may come: pure, and read in one way.

Law: a pattern is text in which `*` stands for any characters and nothing else means anything; it is compared with all
of the claim, letter by letter. A claim that is a list meets it with one of its texts; numbers and truth values are
compared as JSON writes them; anything else, and a claim that is missing, meets nothing.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from ...api.problems import FieldError, ProblemCode, ProblemError
from ..identity.permissions import ServiceScope
from ..settings import Network

_MOST_STARS: Final = 4  # more would make a comparison long, and nobody's claim needs them
_LONGEST_CLAIM: Final = 2_048
_OURS: Final = frozenset({"iss", "aud", "exp", "nbf", "iat", "jti"})  # judged already, or no identity


def check_conditions(conditions: Mapping[str, str]) -> None:
    """ProblemError `invalid_request` where a condition can't be meant."""
    for claim, pattern in conditions.items():
        if claim in _OURS:
            raise _bad("conditions", f"“{claim}” says nothing of who the token is for: name sub, or another claim.")
        if not pattern.replace("*", ""):
            raise _bad("conditions", f"The condition on “{claim}” is met by anything: write what it must be.")
        if pattern.count("*") > _MOST_STARS or not (claim + pattern).isprintable():
            raise _bad("conditions", f"The condition on “{claim}” has more than {_MOST_STARS} * or is no plain text.")


def unmet(conditions: Mapping[str, str], claims: Mapping[str, Any]) -> str | None:
    """The first claim that is not as it must be; None where all are."""
    for claim, pattern in sorted(conditions.items()):
        if not any(matches(pattern, text) for text in _texts(claims.get(claim))):
            return claim
    return None


def matches(pattern: str, text: str) -> bool:
    """Whether `text` is what `pattern` says."""
    expression = ".*".join(re.escape(part) for part in pattern.split("*"))
    return len(text) <= _LONGEST_CLAIM and re.fullmatch(expression, text, re.DOTALL) is not None


def _texts(value: Any) -> Iterable[str]:
    found = value if isinstance(value, list) else [value]
    for each in found[:100]:
        if isinstance(each, bool):
            yield "true" if each else "false"
        elif isinstance(each, str | int):
            yield str(each)


# --- networks and scopes, as the columns of a service hold them -----------------------------------------------------


def networks_text(networks: Iterable[str]) -> str:
    """As they are kept; ProblemError `invalid_request`."""
    found = []
    for text in networks:
        try:
            found.append(str(ipaddress.ip_network(text.strip(), strict=True)))
        except ValueError:
            raise _bad("networks", f"“{text[:64]}” is no network: write it as 203.0.113.0/24.") from None
    return " ".join(dict.fromkeys(found))


def networks_of(text: str) -> tuple[Network, ...]:
    """As they are meant."""
    return tuple(ipaddress.ip_network(each) for each in text.split())


def comes_from(networks: str, address: str | None) -> bool:
    """Whether a request from `address` may be made. Where networks are named, an unknown address is in none."""
    allowed = networks_of(networks)
    if not allowed:
        return True
    try:
        ip = ipaddress.ip_address(address or "")
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, ipaddress.IPv6Address) else None
    return any((mapped or ip) in network for network in allowed)


def scopes_text(scopes: Iterable[str]) -> str:
    """As they are kept."""
    return " ".join(sorted(frozenset(scopes)))


def scopes_of(*texts: str) -> frozenset[ServiceScope]:
    """The scopes that are in every one of `texts`."""
    found = [frozenset(ServiceScope(each) for each in text.split()) for text in texts]
    return frozenset.intersection(*found)


def _bad(field: str, message: str) -> ProblemError:
    return ProblemError(ProblemCode.INVALID_REQUEST, message, errors=[FieldError(field=field, message=message)])
