"""The ways to write a URI. Each view has a direct URI and the one of ours that must equal it.

A view is left out where it makes no sense: `replicaSet=` on a standalone, an empty password that the client refuses.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .clients import Client
from .grounds import Ground

# The rows that begin so are all that runs in views other than the first, and there only on the newest version of each
# client; and on the versions between the oldest and the newest, but for one deployment. They are also the slice in the
# tests.
CORE_WORDS = ("CRUD", "connect", "bulk writes", "transactions: commit", "change streams", "hello", "retryable writes: ",
              "cursor", "read preference", "discovery", "error documents", "prompt", "rs.status", "show")  # fmt: skip
WHOLE = "rs1"  # where every version runs every row
_NO_ZSTD = ("node", "mongosh", "perl", "java")  # a native add-on that no registry here has, or unknown to them
_NO_SNAPPY = ("mongosh", "perl", "java")
_NO_DIRECT = ("perl", "java")  # older than the option


@dataclass(frozen=True, slots=True)
class View:
    """`options` go onto both URIs, `login` onto ours only; `every` names every member."""

    name: str
    options: tuple[tuple[str, str], ...] = ()
    login: bool = False
    every: bool = False
    sets_only: bool = False
    host: str = "127.0.0.1"
    whole: bool = False  # every row, every version


VIEWS = (
    View("plain", whole=True),
    View("directConnection=true", (("directConnection", "true"),)),
    View("directConnection=false", (("directConnection", "false"),)),
    View("replicaSet=", (("replicaSet", "rs0"),), sets_only=True),
    View("every member and replicaSet=", (("replicaSet", "rs0"),), every=True, sets_only=True),
    View("user, empty password", login=True),
    View("compressors=zlib", (("compressors", "zlib"),)),
    View("compressors=snappy", (("compressors", "snappy"),)),
    View("compressors=zstd", (("compressors", "zstd"),)),
    View("localhost", host="localhost"),
)


def fits(view: View, client: Client, ground: Ground) -> bool:
    """Whether it makes sense there."""
    if view.sets_only and ground.set_name is None:
        return False
    if view.login and not client.empty_password:
        return False
    if view.name == "compressors=zstd" and client.family in _NO_ZSTD:
        return False
    if view.name == "compressors=snappy" and client.family in _NO_SNAPPY:
        return False
    if ground.name == "load balanced":
        if (client.family, client.version) in {("pymongo", "3.13"), ("node", "3")}:
            return False
        if client.family in ("perl", "java", "tools") or "directConnection" in view.name:
            return False
    return not (client.family in _NO_DIRECT and "directConnection" in view.name)


def rows_of(view: View, client: Client, ground: Ground) -> Sequence[str] | None:
    """The beginnings of the rows that run there; None for all."""
    return None if view.whole and not (client.middle and ground.name != WHOLE) else CORE_WORDS


def has_to_work(needs: str, view: View, ground: Ground) -> bool:
    """Whether a row that needs this must have a result there: an error on both sides is none."""
    one_member = ("directConnection", "true") in view.options
    return needs in ground.offers and not (one_member and needs in ("many", "replica"))


def direct_uri(view: View, ground: Ground) -> str:
    """Straight to the deployment."""
    return ground.direct_uri(dict(view.options), every=view.every)


def our_uri(view: View, ground: Ground) -> str:
    """Through wardgate."""
    user = "compat:@" if view.login else ""
    return ground.our_uri(dict(view.options), every=view.every, user=user, host=view.host)


def chosen(wanted: list[str]) -> Iterator[View]:
    """The views that were asked for by name, or all."""
    for view in VIEWS:
        if not wanted or view.name in wanted:
            yield view
