"""The connection string of a resource, read once and strictly.

In: what a person typed, and the form's fields beside it. Out: structured fields (`api.machine.MongoTarget`) that the
gateway uses as they are, so no string is ever parsed twice by two parsers. Law: every part of the string is either
understood or refused in one sentence that names it; nothing is dropped silently; and no sentence repeats a part that
could hold a password.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NoReturn

from ...api.machine import MongoTarget
from ...api.problems import FieldError, ProblemCode, ProblemError
from .addresses import BadHost, check_host
from .options import OPTIONS, REPEATABLE, Option, Role, value_of

SCHEME = "mongodb://"
SRV_SCHEME = "mongodb+srv://"
DEFAULT_PORT = 27017
MOST_HOSTS = 50
MOST_SRV_HOSTS = 64
COMPRESSORS = frozenset({"snappy", "zlib", "zstd"})
_SERVICE = re.compile(r"(?!-)[a-z0-9-]{1,62}(?<!-)")
_NOT_IN_DATABASE = frozenset('/\\. "$*<>:|?')
MECHANISMS = ("DEFAULT", "SCRAM-SHA-1", "SCRAM-SHA-256")
_OF_ACCOUNTS = ("MONGODB-X509", "PLAIN", "MONGODB-AWS", "MONGODB-OIDC")

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of the resource form that a string must agree with."""

    database: str = "admin"
    ssl: bool = True
    reject_unauthorized: bool = True
    ca_certificate: str | None = None


@dataclass(slots=True)
class _Options:
    """Honoured values by lower-case name, and the names of those without effect here."""

    honoured: dict[str, Value] = field(default_factory=dict)
    form: dict[str, Value] = field(default_factory=dict)
    without_effect: list[str] = field(default_factory=list)


def check_database(name: str) -> None:
    """ProblemError `invalid_request` if `name` can't be an authentication database.

    `$external` is never entered: accounts whose mechanism needs it use it whatever stands here.
    """
    if name == "$external":
        detail = (
            "Leave $external out of the Database field: accounts that log in by X.509, PLAIN, AWS or OIDC use it by "
            "themselves, and the others log in at the database named here, as admin."
        )
    elif any(char in _NOT_IN_DATABASE or not char.isprintable() for char in name) or len(name.encode()) > 63:
        detail = "The Database field is the name of the authentication database, as admin: that is no database's name."
    else:
        return
    raise ProblemError(ProblemCode.INVALID_REQUEST, detail, errors=[FieldError(field="database", message=detail)])


def parse(text: str, form: Form) -> tuple[MongoTarget, list[str]]:
    """The target that `text` and `form` describe, and notices; ProblemError `invalid_connection_string`."""
    rest, is_srv = _after_scheme(text)
    if "@" in rest:
        _refuse("Leave user and password out of the connection string: they belong to an account of the resource.")
    place, question, query = rest.partition("?")
    authority, _, path = place.partition("/")
    hosts = [] if is_srv else _hosts(authority, socket_path=bool(path) and "/" in path)
    srv_host = _srv_host(authority) if is_srv else None
    if path:
        _refuse("Leave the database out of the connection string: the Database field names the authentication one.")
    options = _options(query) if question else _Options()
    _agree(options.form, form)
    target = _target(hosts, srv_host, options.honoured, form)
    return target, _notices(options.without_effect)


def _after_scheme(text: str) -> tuple[str, bool]:
    """What follows the scheme, and whether that is mongodb+srv://."""
    text = text.strip()
    lowered = text[:20].lower()
    is_srv = lowered.startswith(SRV_SCHEME)
    if not is_srv and not lowered.startswith(SCHEME):
        _refuse(
            "A connection string begins with mongodb:// and lists hosts, as mongodb://db1:27017,db2:27017, or with "
            "mongodb+srv:// and one name."
        )
    if not text.isprintable() or " " in text:
        _refuse("The connection string holds a space or an unprintable character.")
    return text[len(SRV_SCHEME if is_srv else SCHEME) :], is_srv


def _srv_host(authority: str) -> str:
    """The one name of a mongodb+srv:// string."""
    if "," in authority:
        _refuse("A mongodb+srv:// string has one name only: its SRV record lists the hosts.")
    if ":" in authority or "[" in authority:
        _refuse("The name of a mongodb+srv:// string has no port: its SRV record holds the ports.")
    if not authority:
        _refuse("The connection string names no host: write it as mongodb+srv://cluster.example.com.")
    try:
        host = check_host(authority)
    except BadHost as error:
        _refuse(f"“{authority[:100]}” {error}.")
    if host.replace(".", "").isdecimal():
        _refuse("A mongodb+srv:// string needs a name, not an IP address: its hosts are looked up in DNS.")
    if "." not in host:
        _refuse(f"“{host[:100]}” is no name with a domain, which a mongodb+srv:// string needs.")
    return host


def _hosts(authority: str, *, socket_path: bool) -> list[tuple[str, int]]:
    if socket_path or "%" in authority or authority.endswith(".sock"):
        _refuse("Unix sockets are not supported: name the database by host and port.")
    if not authority:
        _refuse("The connection string names no host: write it as mongodb://db1:27017.")
    hosts = [_host(part) for part in authority.split(",")]
    if len(hosts) > MOST_HOSTS:
        _refuse(f"The connection string names {len(hosts)} hosts; at most {MOST_HOSTS} are accepted.")
    for host, port in hosts:
        if hosts.count((host, port)) > 1:
            _refuse(f"The connection string names {host}:{port} twice.")
    return hosts


def _host(part: str) -> tuple[str, int]:
    if not part:
        _refuse("The connection string has an empty place in its list of hosts.")
    if part.startswith("["):
        host, bracket, suffix = part[1:].partition("]")
        if not bracket or ":" not in host or (suffix and not suffix.startswith(":")):
            _refuse("An IPv6 address is written in brackets with the port after them, as [2001:db8::1]:27017.")
        port_text = suffix[1:] if suffix else None
    else:
        host, colon, after = part.partition(":")
        if ":" in after:
            _refuse("An IPv6 address is written in brackets with the port after them, as [2001:db8::1]:27017.")
        port_text = after if colon else None
    try:
        return check_host(host), _port(port_text)
    except BadHost as error:
        _refuse(f"“{host[:100]}” {error}.")


def _port(text: str | None) -> int:
    if text is None:
        return DEFAULT_PORT
    if not (text.isascii() and text.isdecimal() and len(text) <= 5 and 1 <= int(text) <= 65535):
        _refuse("A port in the connection string is not a number from 1 to 65535.")
    return int(text)


def _options(query: str) -> _Options:
    result = _Options()
    seen: set[str] = set()
    if ";" in query:  # a separator that the specification dropped: parsers differ on it
        _refuse("The options of a connection string are written as name=value, joined by &.")
    for part in query.split("&") if query else []:
        name, equals, raw = part.partition("=")
        if not equals or not name:
            _refuse("The options of a connection string are written as name=value, joined by &.")
        option = OPTIONS.get(name.lower())
        if option is None:
            _refuse(f"“{_shown(name)}” is not an option of a connection string.")
        if option.name.lower() in seen and option.name.lower() not in REPEATABLE:
            _refuse(f"The option {option.name} is given twice.")
        seen.add(option.name.lower())
        _sort(result, option, raw)
    return result


def _sort(result: _Options, option: Option, raw: str) -> None:
    if option.role is Role.REFUSED:
        _refuse(f"The option {option.name} {option.advice}.")
    try:
        value = value_of(option, raw)
    except ValueError:
        _refuse(f"The value of the option {option.name} is not valid.")
    if option.role is Role.CLIENT:
        if option.name not in result.without_effect:
            result.without_effect.append(option.name)
        return
    if value is None or value == "":
        _refuse(f"The value of the option {option.name} is not valid.")
    (result.honoured if option.role is Role.HONOURED else result.form)[option.name.lower()] = value


def _agree(options: dict[str, Value], form: Form) -> None:
    """Refuses options that contradict a field of the form: the form says how the connection is secured."""
    for name in ("tls", "ssl"):
        if name in options and options[name] is not form.ssl:
            state = "on" if form.ssl else "off"
            _refuse(f"The option {name} contradicts the form, where Enable SSL is {state}: leave it out of the string.")
    for name, shown in (("tlsinsecure", "tlsInsecure"), ("tlsallowinvalidcertificates", "tlsAllowInvalidCertificates")):
        if name in options and options[name] is form.reject_unauthorized:
            state = "on" if form.reject_unauthorized else "off"
            _refuse(
                f"The option {shown} contradicts the form, where Reject Unauthorized is {state}: "
                "leave it out of the string."
            )
    if "authsource" in options and options["authsource"] != form.database:
        _refuse("The option authSource contradicts the form: put the authentication database into the Database field.")


def _target(hosts: list[tuple[str, int]], srv_host: str | None, options: dict[str, Value], form: Form) -> MongoTarget:
    set_name, load_balanced = options.get("replicaset"), options.get("loadbalanced") is True
    if set_name is not None and not (str(set_name).isprintable() and len(str(set_name)) <= 127):
        _refuse("The value of the option replicaSet is not valid.")
    direct = options.get("directconnection") is True
    if (direct or load_balanced) and len(hosts) > 1:
        name = "directConnection" if direct else "loadBalanced"
        _refuse(f"The option {name} goes with one host only; this string names {len(hosts)}.")
    if load_balanced and (direct or set_name is not None):
        _refuse("The option loadBalanced goes with neither replicaSet nor directConnection.")
    service, most = _srv(srv_host, options, direct=direct, balanced=load_balanced, set_name=set_name)
    kept = _kept(options)
    if direct:
        kept["directConnection"] = True
    return MongoTarget(
        hosts=hosts,
        srv_host=srv_host,
        srv_service=service,
        srv_max_hosts=most,
        set_name=None if set_name is None else str(set_name),
        load_balanced=load_balanced,
        tls=form.ssl,
        reject_unauthorized=form.reject_unauthorized,
        ca_certificate=form.ca_certificate,
        auth_database=form.database,
        options=kept,
    )


def _srv(
    srv_host: str | None, options: dict[str, Value], *, direct: bool, balanced: bool, set_name: Value | None
) -> tuple[str, int]:
    """The service's name and the most hosts, of options that go with mongodb+srv:// only."""
    if srv_host is None:
        for option in ("srvServiceName", "srvMaxHosts"):
            if option.lower() in options:
                _refuse(f"The option {option} goes with mongodb+srv:// only.")
        return "mongodb", 0
    if direct:
        _refuse("The option directConnection goes with one host by its address, not with mongodb+srv://.")
    service, most = str(options.get("srvservicename", "mongodb")).lower(), options.get("srvmaxhosts", 0)
    if not _SERVICE.fullmatch(service):
        _refuse("The value of the option srvServiceName is not valid.")
    if not isinstance(most, int) or not 0 <= most <= MOST_SRV_HOSTS:
        _refuse(f"The value of the option srvMaxHosts is not a number up to {MOST_SRV_HOSTS}.")
    if most and (balanced or set_name is not None):
        _refuse("The option srvMaxHosts goes with neither replicaSet nor loadBalanced.")
    return service, int(most)


def _kept(options: dict[str, Value]) -> dict[str, Value]:
    """What the gateway reads by name: the mechanism and the compression towards the server."""
    kept: dict[str, Value] = {}
    mechanism = options.get("authmechanism", "DEFAULT")
    if mechanism in _OF_ACCOUNTS:
        _refuse(
            f"Leave authMechanism={mechanism} out of the connection string: each account of the resource has its own "
            "mechanism (--mechanism)."
        )
    if mechanism not in MECHANISMS:
        _refuse("The option authMechanism may be SCRAM-SHA-256 or SCRAM-SHA-1; accounts can have others (--mechanism).")
    if mechanism != "DEFAULT":
        kept["authMechanism"] = mechanism
    if "compressors" in options:
        names = str(options["compressors"]).split(",")
        if not set(names) <= COMPRESSORS or len(set(names)) < len(names):
            _refuse("The option compressors may list zstd, snappy and zlib, each once, joined by commas.")
        kept["compressors"] = ",".join(names)
    if "zlibcompressionlevel" in options:
        kept["zlibCompressionLevel"] = options["zlibcompressionlevel"]
    return kept


def _notices(names: list[str]) -> list[str]:
    return [
        f"{name} in the connection string has no effect here: each client sets it in its own URI." for name in names
    ]


def _shown(name: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in name[:60])


def _refuse(detail: str) -> NoReturn:
    raise ProblemError(
        ProblemCode.INVALID_CONNECTION_STRING,
        detail,
        errors=[FieldError(field="connection_string", message=detail)],
    )
