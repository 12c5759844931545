"""The URIs of a session: built from the listeners' addresses, and from nothing that a server said but a set's name.

Without local authentication they carry no `@`, because drivers take one for a login. With it they carry the session
password; `shown` is the form without it, for the arguments of a program, which every user of the machine can read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

NONE: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True)
class LocalLogin:
    """What MongoDB clients log in with. Any user name does; the account's says most."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"LocalLogin(username={self.username!r})"


def uri(
    addresses: Sequence[str],
    login: LocalLogin | None = None,
    options: Mapping[str, str] = NONE,
    *,
    shown: bool = False,
) -> str:
    """`mongodb://…/` of these addresses; a Unix socket's path stands percent-encoded, as every driver wants it."""
    hosts = ",".join(quote(each, safe="") if each.startswith("/") else each for each in addresses)
    user = "" if login is None else quote(login.username, safe="")
    if login is not None and not shown:
        user += f":{quote(login.password, safe='')}"
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in options.items())
    return f"mongodb://{user}{'@' if user else ''}{hosts}/{'?' if query else ''}{query}"


@dataclass(frozen=True, slots=True)
class Uris:
    """The URIs of one session. `set_uri` is None for what is no replica set."""

    main: str
    shown: str
    set_uri: str | None


def uris_of(
    main: str,
    members: Mapping[str, str],
    *,
    kind: str,
    set_name: str | None,
    single: bool,
    login: LocalLogin | None,
) -> Uris:
    """Of a main address and those of the members that hold data. A load balancer's clients must say that it is one."""
    options = {"loadBalanced": "true"} if kind == "load_balanced" else NONE
    seeds = [main] if single else list(members.values())
    # The name is the database's word: quoted, it can neither bring options of its own nor move a cursor.
    whole = uri(seeds, login, {"replicaSet": set_name}) if kind == "replica_set" and set_name and seeds else None
    return Uris(uri([main], login, options), uri([main], login, options, shown=True), whole)
