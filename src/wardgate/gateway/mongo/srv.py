"""mongodb+srv://: from one name to hosts and a few options (Initial DNS Seedlist Discovery, MongoDB specification).

It turns the control plane's target with `srv_host` into one with `hosts`, in the gateway's own network, so that private
zones work, and looks again for sharded clusters (`Seeds`). What it is not: name resolution of those hosts; that happens
at every dial.

Law: a host outside the SRV name's own domain is refused, whoever the DNS says it is; TXT says nothing but authSource,
replicaSet and loadBalanced; what the resource says itself stands above both.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from urllib.parse import unquote

from ...api.machine import MongoTarget
from .errors import Code, MongoError, quoted
from .names import Names, Service
from .target import ADDRESSES_MAX, join_address, split_address

RESCAN_MIN = 60.0  # seconds, of the specification
_TXT_OPTIONS = frozenset({"authsource", "replicaset", "loadbalanced"})
_random = random.SystemRandom()


@dataclass(frozen=True, slots=True)
class Located:
    """A target whose hosts are known, and what there is to say about how they were found."""

    model: MongoTarget
    note: str = ""
    seeds: Seeds | None = None


@dataclass(frozen=True, slots=True)
class Seeds:
    """How the hosts of a deployment were found, to be asked again."""

    names: Names = field(repr=False)
    host: str
    service: str
    max_hosts: int
    ttl: int

    @property
    def record(self) -> str:
        """The name of the SRV record."""
        return f"_{self.service}._tcp.{self.host}"

    @property
    def pause(self) -> float:
        """Seconds until the next look."""
        return max(RESCAN_MIN, float(self.ttl))

    async def again(self, known: Iterable[str], timeout: float) -> tuple[tuple[str, ...], float]:
        """The addresses as of now, and how long to wait before the next look.

        Hosts outside the domain are left out this time, not refused: the cluster goes on with the others. Of more than
        `max_hosts` those that are known stay. Raises MongoError, also where no host is left.
        """
        found = await self.names.service(self.record, timeout)
        inside = [join_address(*each) for each in found.hosts if _is_inside(self.host, each[0]) and _is_address(each)]
        if not inside:
            raise MongoError(Code.DNS_SRV_HOST, f"The SRV record {quoted(self.record)} names no host of its domain.")
        kept = [each for each in known if each in inside]
        new = [each for each in inside if each not in kept]
        room = len(new) if not self.max_hosts else max(self.max_hosts - len(kept), 0)
        seeds = tuple((kept + _random.sample(new, min(room, len(new))))[:ADDRESSES_MAX])
        return seeds, max(RESCAN_MIN, float(found.ttl))


async def locate(model: MongoTarget, names: Names, timeout: float) -> Located:
    """The target with its hosts; one that names them is itself. Raises MongoError(dns_…)."""
    if model.srv_host is None:
        return Located(model)
    seeds = Seeds(names, model.srv_host, model.srv_service, model.srv_max_hosts, 0)
    found = await names.service(seeds.record, timeout)
    _check_hosts(seeds, found)
    options = _options(model.srv_host, await names.texts(model.srv_host, timeout))
    set_name = model.set_name if model.set_name is not None else options.get("replicaset")
    balanced = model.load_balanced or (options.get("loadbalanced") == "true" and model.set_name is None)
    hosts = list(found.hosts)
    if model.srv_max_hosts and (set_name is not None or balanced):
        what = "replicaSet" if set_name is not None else "loadBalanced"
        raise MongoError(Code.DNS_TXT_INVALID, f"srvMaxHosts goes with neither replicaSet nor loadBalanced ({what}).")
    if balanced and set_name is not None:
        raise _txt(model.srv_host, "names both a replica set and a load balancer")
    if balanced and len(hosts) > 1:
        raise MongoError(
            Code.DNS_SRV_HOST,
            f"The SRV record {quoted(seeds.record)} names {len(hosts)} hosts; a load balancer is one.",
        )
    if model.srv_max_hosts:
        hosts = _random.sample(hosts, min(model.srv_max_hosts, len(hosts)))
    located = model.model_copy(update={"hosts": hosts, "set_name": set_name, "load_balanced": balanced})
    seeds = Seeds(names, seeds.host, seeds.service, seeds.max_hosts, found.ttl)
    return Located(located, _note(model, hosts, options), seeds)


def _check_hosts(seeds: Seeds, found: Service) -> None:
    if len(found.hosts) > ADDRESSES_MAX:
        raise MongoError(
            Code.DNS_SRV_HOST, f"The SRV record {quoted(seeds.record)} names more than {ADDRESSES_MAX} hosts."
        )
    for host, port in found.hosts:
        if not _is_inside(seeds.host, host) or not _is_address((host, port)):
            raise MongoError(
                Code.DNS_SRV_HOST,
                f"The SRV record {quoted(seeds.record)} names {quoted(host, 253)}:{port}, which is not in the domain "
                f"{quoted(_domain(seeds.host))}: a gateway follows it only within its own domain.",
            )


def _domain(srv_host: str) -> str:
    """The part that hosts must share: all but the first label, or all of a name with fewer than three."""
    labels = srv_host.split(".")
    return ".".join(labels[1:] if len(labels) > 2 else labels)


def _is_inside(srv_host: str, host: str) -> bool:
    return host.lower().endswith("." + _domain(srv_host))


def _is_address(host_and_port: tuple[str, int]) -> bool:
    try:
        split_address(join_address(*host_and_port))
    except ValueError:
        return False
    return True


def _options(srv_host: str, texts: list[str]) -> dict[str, str]:
    """What the TXT record says, by lower-case name."""
    if not texts:
        return {}
    if len(texts) > 1:
        raise _txt(srv_host, f"stands there {len(texts)} times; one is allowed")
    options: dict[str, str] = {}
    for part in texts[0].split("&"):
        name, equals, value = part.partition("=")
        if not equals or name.lower() not in _TXT_OPTIONS or not value or name.lower() in options:
            raise _txt(
                srv_host, f"says {quoted(part, 60)}; only authSource, replicaSet and loadBalanced may stand there"
            )
        options[name.lower()] = unquote(value)
    if options.get("loadbalanced", "true") not in ("true", "false"):
        raise _txt(srv_host, "gives loadBalanced another value than true or false")
    return options


def _note(model: MongoTarget, hosts: list[tuple[str, int]], options: dict[str, str]) -> str:
    said = f"names {', '.join(quoted(join_address(*each), 80) for each in hosts)}"
    source = options.get("authsource")
    if source is not None and source != model.auth_database:
        said += (
            f"; its TXT record says authSource={quoted(source, 64)}, but the resource's database "
            f"{quoted(model.auth_database, 64)} is what counts"
        )
    return said


def _txt(srv_host: str, what: str) -> MongoError:
    return MongoError(Code.DNS_TXT_INVALID, f"The TXT record of {quoted(srv_host)} {what}.")
