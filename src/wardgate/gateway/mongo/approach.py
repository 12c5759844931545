"""From what the control plane gave to what can be dialled: SRV located, TLS context made, login ready.

Sessions and connection tests go this one way, so that a test that passed says something about sessions. For a test the
steps that can fail here become hops, which name the record, the certificate or the mechanism.
"""

from __future__ import annotations

from time import perf_counter

from ...api.machine import Credentials, MongoTarget
from ...api.models import Hop, HopKind, Mechanism, TestResult
from ...numbers import Numbers
from . import probe, srv
from .errors import Code, MongoError
from .login import Login
from .site import Site
from .target import Target

_LOGIN = frozenset({Code.LOGIN_HOST, Code.LOGIN_NEEDS_TLS, Code.LOGIN_TOKEN})
_TLS = frozenset({Code.CA_INVALID, Code.CLIENT_CERTIFICATE_EXPIRED, Code.CLIENT_CERTIFICATE_INVALID})


async def approach(model: MongoTarget, credentials: Credentials, site: Site, numbers: Numbers) -> tuple[Target, Login]:
    """The target of a lease and its login. Raises MongoError."""
    located = await srv.locate(model, site.names, numbers.tcp_connect)
    target = _target(located, credentials, site, numbers)
    return target, Login.of(credentials, target, site)


async def run_test(model: MongoTarget, credentials: Credentials | None, site: Site, numbers: Numbers) -> TestResult:
    """Test a deployment, with credentials the login too. Never raises for a fault of theirs."""
    hops: list[Hop] = []
    where = ", ".join(f"{host}:{port}" for host, port in model.hosts)
    login: Login | None = None
    try:
        if model.srv_host is not None:
            where = f"_{model.srv_service}._tcp.{model.srv_host}"
        started = perf_counter()
        located = await srv.locate(model, site.names, numbers.tcp_connect)
        if located.seeds is not None:
            duration = round((perf_counter() - started) * 1000, 2)
            hops.append(Hop(hop=HopKind.DNS, target=where, ok=True, message=located.note, duration_ms=duration))
        target = _target(located, credentials, site, numbers)
        if credentials is not None:
            login = Login.of(credentials, target, site)
    except MongoError as error:
        kind = HopKind.TLS if error.code in _TLS else HopKind.LOGIN if error.code in _LOGIN else HopKind.DNS
        failed = Hop(hop=kind, target=where, ok=False, code=error.code, message=error.message, duration_ms=0.0)
        return TestResult(ok=False, hops=[*hops, failed])
    try:
        result = await probe.test(target, login)
    finally:
        if login is not None:
            login.wipe()
    return TestResult(ok=result.ok, hops=[*hops, *result.hops])


def _target(located: srv.Located, credentials: Credentials | None, site: Site, numbers: Numbers) -> Target:
    """With the gateway's own token to give away, no host is dialled but those that it is for."""
    certificate = credentials.client_certificate if credentials is not None else None
    own_token = credentials is not None and credentials.mechanism is Mechanism.OIDC
    return Target.of(
        located.model,
        numbers,
        certificate=certificate,
        names=site.names,
        source=located.seeds,
        check_hosts=site.check_oidc_hosts if own_token else None,
    )
