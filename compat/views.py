"""The ways to write a URI, and the deployments. Each view has a direct URI and the one of ours that must equal it.

A view is left out where it makes no sense (`replicaSet=` on a standalone, an empty password that the client refuses).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlencode

from pymongo import MongoClient

from wardgate.testing.mongo import RS1, RS3, STANDALONE, Login, MongoDeployment, Shape
from wardgate.testing.stack import Access

from .clients import Client

DEPLOYMENTS: Mapping[str, Shape] = {"standalone": STANDALONE, "rs1": RS1, "rs3": RS3}

# In views other than the first, and there only on the newest version of each client.
CORE_WORDS = ("CRUD", "connect", "bulk writes", "transactions: commit", "change streams", "hello", "retryable writes: ",
              "cursor", "read preference", "discovery", "error documents", "prompt", "rs.status", "show")  # fmt: skip


@dataclass(frozen=True, slots=True)
class View:
    """`options` go onto both URIs, `login` onto ours only; `full` names every member."""

    name: str
    options: tuple[tuple[str, str], ...] = ()
    login: bool = False
    full: bool = False
    sets_only: bool = False
    host: str = "127.0.0.1"
    whole: bool = False  # every row, every version


VIEWS = (
    View("plain", whole=True),
    View("directConnection=true", (("directConnection", "true"),)),
    View("directConnection=false", (("directConnection", "false"),)),
    View("replicaSet=", (("replicaSet", "rs0"),), sets_only=True),
    View("every member and replicaSet=", (("replicaSet", "rs0"),), full=True, sets_only=True),
    View("user, empty password", login=True),
    View("compressors=zlib", (("compressors", "zlib"),)),
    View("compressors=snappy", (("compressors", "snappy"),)),
    View("compressors=zstd", (("compressors", "zstd"),)),
    View("localhost", host="localhost"),
)


def fits(view: View, client: Client, deployment: MongoDeployment) -> bool:
    """Whether it makes sense there."""
    if view.sets_only and deployment.shape.set_name is None:
        return False
    if view.login and not client.empty_password:
        return False
    if view.name == "compressors=zstd" and client.family in ("node", "mongosh", "perl", "java"):
        return False  # their zstd is a native add-on that no registry here has
    if view.name == "compressors=snappy" and client.family in ("mongosh", "perl", "java"):
        return False
    # Before 4.x there was no such option.
    old = (client.family, client.version) == ("node", "3") or client.family in ("java", "perl")
    return not (old and view.name.startswith("directConnection"))


def direct_uri(view: View, client: Client, deployment: MongoDeployment, login: Login) -> str:
    """Straight to the deployment, as one of its users."""
    if view.full:
        return deployment.uri(login)
    head, _, query = deployment.uri(login, member=deployment.primary()).partition("?")
    options = {name: value for name, value in parse_qsl(query) if name != "directConnection"}
    return f"{head}?{urlencode({**options, **dict(view.options)})}"


def our_uri(view: View, access: Access) -> str:
    """As `pam db access` printed it, with the view's options."""
    if view.full:
        assert access.replica_set_uri is not None
        return access.replica_set_uri
    user = "compat:@" if view.login else ""
    query = f"?{urlencode(view.options)}" if view.options else ""
    return f"mongodb://{user}{view.host}:{access.port}/{query}"


def direct_labels(deployment: MongoDeployment) -> dict[str, str]:
    """Address → member."""
    return {member.address: f"member{member.index}" for member in deployment.members}


def our_labels(deployment: MongoDeployment, access: Access) -> dict[str, str]:
    """Loopback address → member: each listener is asked who is behind it."""
    real = direct_labels(deployment)
    found = dict(real)  # what is not hello's may show real names: rs.status() does
    for address in [f"127.0.0.1:{access.port}", *(member["address"] for member in access.members)]:
        with MongoClient[dict[str, Any]](f"mongodb://{address}/?directConnection=true") as client:
            port = client.admin.command("serverStatus")["host"].rpartition(":")[2]
            found[address] = real[f"127.0.0.1:{port}"]
    return {**found, f"localhost:{access.port}": found[f"127.0.0.1:{access.port}"]}


def chosen(wanted: list[str]) -> Iterator[View]:
    """The views that were asked for by name, or all."""
    for view in VIEWS:
        if not wanted or view.name in wanted:
            yield view
