"""The deployments that lists run on, each with the session of ours that leads to it.

`sharded` and `load balanced` have doubles for mongos in front of a real mongod (no mongos can be had here); `SRV` is a
set that the gateway finds through records of a DNS server of ours, while the direct run names its members.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from wardgate.testing.dns import DnsServer
from wardgate.testing.mongo import RS1, RS3, STANDALONE, Login, MongoDeployment, Shape
from wardgate.testing.sharding import LoadBalancer, MongosDouble
from wardgate.testing.stack import Access, Stack

ACCOUNT: Final = "rw"
SRV: Final = "cluster0.compat.test"
MEMBER: Final = "m0.compat.test"


@dataclass(slots=True)
class Ground:
    """One deployment. `offers` is what rows may need; `seeds` are the addresses of the direct run, the first one chosen
    where one is enough; `options` belong to both URIs."""

    name: str
    deployment: MongoDeployment
    offers: frozenset[str]
    seeds: list[str]
    folder: Path
    access: Access
    options: dict[str, str] = field(default_factory=dict)
    cache: dict[tuple[str, str, str], list[dict[str, Any]]] = field(default_factory=dict)

    @property
    def set_name(self) -> str | None:
        """What `replicaSet=` may say."""
        return self.deployment.shape.set_name if "replica" in self.offers else None

    @property
    def admin_uri(self) -> str:
        """Straight to what does the work, as its superuser."""
        return self.deployment.uri(self.deployment.root)

    def direct_uri(self, options: Mapping[str, str], *, every: bool) -> str:
        """As an application without wardgate would have it, as the user of the account."""
        login = self.deployment.rw
        user = f"{quote(login.username, safe='')}:{quote(login.password, safe='')}"
        seeds = ",".join(self.seeds if every else self.seeds[:1])
        secure = {"tls": "true", "tlsCAFile": str(self.deployment.ca_path), "authSource": login.auth_db}
        return f"mongodb://{user}@{seeds}/?{urlencode({**secure, **self.options, **options})}"

    def our_uri(self, options: Mapping[str, str], *, every: bool, user: str, host: str) -> str:
        """As `pam db access` printed it, with the view's options."""
        seeds = f"{host}:{self.access.port}"
        if every:
            seeds = ",".join(member["address"] for member in self.access.members)
        query = {**self.options, **options}
        return f"mongodb://{user}{seeds}/{'?' + urlencode(query) if query else ''}"

    def direct_labels(self) -> dict[str, str]:
        """Address → member."""
        members = {member.address: f"member{member.index}" for member in self.deployment.members}
        return {**members, **{seed: members.get(seed, f"member{n}") for n, seed in enumerate(self.seeds)}}

    def our_labels(self) -> dict[str, str]:
        """Loopback address → member. A real address is none of them: it must not be seen."""
        real = self.direct_labels()
        if self.name == "SRV":
            real |= {f"{MEMBER}:{self.deployment.members[0].port}": "member0"}
        found = {each["address"]: real[each["member"]] for each in self.access.members}
        main = real[self.seeds[0]]
        return {f"127.0.0.1:{self.access.port}": main, f"localhost:{self.access.port}": main, **found}


Opener = Callable[[contextlib.ExitStack, Stack, Path], Ground]


def _logins() -> dict[str, Login]:
    """Letters and digits only: Debian's libmongoc can't log in with other passwords (directly, that is)."""
    return {name: Login(name, secrets.token_hex(12)) for name in ("root", "rw", "ro")}


def _access(stack: Stack, name: str, deployment: MongoDeployment, connection_string: str | None = None) -> Access:
    resource = name.replace(" ", "-").lower()
    with deployment.client() as client:  # what the database tools need beside reading and writing: the oplog
        client.admin.command("grantRolesToUser", deployment.rw.username, roles=["backup"])
    stack.add_resource(resource, deployment, connection_string=connection_string)
    stack.add_account(ACCOUNT, resource, deployment.rw)
    return stack.access(resource, ACCOUNT, "12h")


def _plain(name: str, shape: Shape, *offers: str) -> Opener:
    def open_it(ends: contextlib.ExitStack, stack: Stack, folder: Path) -> Ground:
        deployment = ends.enter_context(MongoDeployment(shape, logins=_logins()))
        seeds = [member.address for member in deployment.members]
        if shape.set_name is not None:
            seeds.insert(0, seeds.pop(deployment.primary()))
        access = _access(stack, name, deployment)
        return Ground(name, deployment, frozenset({"any", "member", *offers}), seeds, folder, access)

    return open_it


def _sharded(ends: contextlib.ExitStack, stack: Stack, folder: Path) -> Ground:
    deployment = ends.enter_context(MongoDeployment(RS1, logins=_logins()))
    doubles = [MongosDouble(deployment) for _ in range(2)]
    for double in doubles:
        ends.callback(double.close)
    seeds = [double.address for double in doubles]
    access = _access(stack, "sharded", deployment, f"mongodb://{','.join(seeds)}/")
    return Ground("sharded", deployment, frozenset({"any", "set"}), seeds, folder, access)


def _balanced(ends: contextlib.ExitStack, stack: Stack, folder: Path) -> Ground:
    deployment = ends.enter_context(MongoDeployment(RS1, logins=_logins()))
    doubles = [MongosDouble(deployment, balanced=True) for _ in range(2)]
    for double in doubles:
        ends.callback(double.close)
    front = LoadBalancer([double.port for double in doubles])
    ends.callback(front.close)
    access = _access(stack, "load balanced", deployment, f"mongodb://{front.address}/?loadBalanced=true")
    options = {"loadBalanced": "true"}
    return Ground("load balanced", deployment, frozenset({"any", "set"}), [front.address], folder, access, options)


def _srv(ends: contextlib.ExitStack, stack: Stack, folder: Path) -> Ground:
    deployment = ends.enter_context(MongoDeployment(replace(RS1, names=(MEMBER,)), logins=_logins()))
    zone = ends.enter_context(DnsServer())
    member = deployment.members[0]
    zone.add(MEMBER, "A", "127.0.0.1")
    zone.add_service(SRV, (MEMBER, member.port))
    zone.add(SRV, "TXT", '"authSource=admin&replicaSet=rs0"')
    # A gateway of its own, which asks that server and no other.
    stack.wardgate.variables["WARDGATE_GATEWAY_DNS"] = zone.address
    stack.start_gateway("with-dns", stack.create_gateway("with-dns"))
    del stack.wardgate.variables["WARDGATE_GATEWAY_DNS"]
    stack.add_resource("srv", deployment, gateway="with-dns", connection_string=f"mongodb+srv://{SRV}/")
    stack.add_account(ACCOUNT, "srv", deployment.rw)
    access = stack.access("srv", ACCOUNT, "12h")
    return Ground("SRV", deployment, frozenset({"any", "member", "set", "replica"}), [member.address], folder, access)


GROUNDS: Final[Mapping[str, Opener]] = {
    "standalone": _plain("standalone", STANDALONE),
    "rs1": _plain("rs1", RS1, "set", "replica"),
    "rs3": _plain("rs3", RS3, "set", "replica", "many"),
    "sharded": _sharded,
    "load balanced": _balanced,
    "SRV": _srv,
}


@contextlib.contextmanager
def opened(names: list[str], folder: Path) -> Iterator[list[Ground]]:
    """One control plane, one relay, one gateway, and the named deployments behind them."""
    with contextlib.ExitStack() as ends:
        stack = ends.enter_context(Stack(folder / "stack"))
        stack.up()
        grounds = []
        for name in names:
            home = folder / name.replace(" ", "-")
            home.mkdir()
            grounds.append(GROUNDS[name](ends, stack, home))
        yield grounds
