"""The connection string of a resource, read once and strictly.

In: what a person typed, and the form's fields beside it. Out: structured fields (`api.machine.MongoTarget`) that the
gateway uses as they are, so no string is ever parsed twice by two parsers. Law: every part of the string is either
understood or refused in one sentence that names it; nothing is dropped silently; and no sentence repeats a part that
could hold a password.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NoReturn

from ...api.machine import MongoTarget
from ...api.problems import FieldError, ProblemCode, ProblemError
from .addresses import BadHost, check_host
from .options import OPTIONS, REPEATABLE, Option, Role, value_of

SCHEME = "mongodb://"
DEFAULT_PORT = 27017
MOST_HOSTS = 50
_NOT_IN_DATABASE = frozenset('/\\. "$*<>:|?')
MECHANISMS = ("DEFAULT", "SCRAM-SHA-1", "SCRAM-SHA-256")

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

    `$external` is one, but only for mechanisms that are not supported yet.
    """
    if name == "$external":
        detail = "The database $external is for X.509, LDAP and the like, which are not supported yet."
    elif any(char in _NOT_IN_DATABASE or not char.isprintable() for char in name) or len(name.encode()) > 63:
        detail = "The Database field is the name of the authentication database, as admin: that is no database's name."
    else:
        return
    raise ProblemError(ProblemCode.INVALID_REQUEST, detail, errors=[FieldError(field="database", message=detail)])


def parse(text: str, form: Form) -> tuple[MongoTarget, list[str]]:
    """The target that `text` and `form` describe, and notices; ProblemError `invalid_connection_string`."""
    rest = _after_scheme(text)
    if "@" in rest:
        _refuse("Leave user and password out of the connection string: they belong to an account of the resource.")
    place, question, query = rest.partition("?")
    authority, _, path = place.partition("/")
    hosts = _hosts(authority, socket_path=bool(path) and "/" in path)
    if path:
        _refuse("Leave the database out of the connection string: the Database field names the authentication one.")
    options = _options(query) if question else _Options()
    _agree(options.form, form)
    target = _target(hosts, options.honoured, form)
    return target, _notices(options.without_effect)


def _after_scheme(text: str) -> str:
    text = text.strip()
    lowered = text[:20].lower()
    if lowered.startswith("mongodb+srv://"):
        _refuse("mongodb+srv:// is not supported yet: list the hosts as mongodb://host1:27017,host2:27017.")
    if not lowered.startswith(SCHEME):
        _refuse("A connection string begins with mongodb:// and lists hosts, as mongodb://db1:27017,db2:27017.")
    if not text.isprintable() or " " in text:
        _refuse("The connection string holds a space or an unprintable character.")
    return text[len(SCHEME) :]


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


def _target(hosts: list[tuple[str, int]], options: dict[str, Value], form: Form) -> MongoTarget:
    set_name, load_balanced = options.get("replicaset"), options.get("loadbalanced") is True
    if set_name is not None and not (str(set_name).isprintable() and len(str(set_name)) <= 127):
        _refuse("The value of the option replicaSet is not valid.")
    direct = options.get("directconnection") is True
    if (direct or load_balanced) and len(hosts) > 1:
        name = "directConnection" if direct else "loadBalanced"
        _refuse(f"The option {name} goes with one host only; this string names {len(hosts)}.")
    if load_balanced and (direct or set_name is not None):
        _refuse("The option loadBalanced goes with neither replicaSet nor directConnection.")
    mechanism = options.get("authmechanism", "DEFAULT")
    if mechanism not in MECHANISMS:
        _refuse("The option authMechanism may be SCRAM-SHA-256 or SCRAM-SHA-1; others are not supported yet.")
    kept: dict[str, Value] = {}
    if mechanism != "DEFAULT":
        kept["authMechanism"] = mechanism
    if direct:
        kept["directConnection"] = True
    return MongoTarget(
        hosts=hosts,
        set_name=None if set_name is None else str(set_name),
        load_balanced=load_balanced,
        tls=form.ssl,
        reject_unauthorized=form.reject_unauthorized,
        ca_certificate=form.ca_certificate,
        auth_database=form.database,
        options=kept,
    )


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
