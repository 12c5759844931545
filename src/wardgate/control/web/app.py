"""The FastAPI application.

Composition only: which feature's routes stand where. What every request passes before a route sees it is in `door`,
what every failure looks like in `failures`, what the contract document says in `openapi`.
"""

from __future__ import annotations

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from ... import __version__
from ..access import routes as access_routes
from ..approvals import routes as approvals_routes
from ..devices import routes as devices_routes
from ..fleet import routes as fleet_routes
from ..identity import routes as identity_routes
from ..journal import routes as journal_routes
from ..mail_links import routes as mail_links_routes
from ..members import routes as members_routes
from ..mfa import routes as mfa_routes
from ..projects import routes as projects_routes
from ..records import routes as records_routes
from ..resources import routes as resources_routes
from ..rotation import routes as rotation_routes
from ..services import Services
from ..sso import routes as sso_routes
from ..streams import routes as streams_routes
from ..workloads import routes as workloads_routes
from . import failures, health, openapi, pages
from .door import Door
from .forms import WithoutEmpty
from .routes import API
from .site import Site

PREFIX = "/api/v1"


def create_app(services: Services) -> FastAPI:
    """The application over `services`, which the caller opens and closes."""
    app = FastAPI(
        title="wardgate",
        version=__version__,
        description="Just-in-time, passwordless and fully recorded access to MongoDB.",
        openapi_url="/api/openapi.json",
        docs_url=None,  # the stock pages load scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,  # a redirect would carry a bearer token along
        # FastAPI would send traces where the environment says so; what leaves this process is for our settings to say.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.authenticator = services.authentication
    app.state.machine_guard = services.machine_guard
    services.records.stopping = services.stopping.is_set
    app.state.site = site = Site(services)
    failures.install(app)
    api = APIRouter(prefix=PREFIX)
    for router in _routers(services):
        api.include_router(router)
    app.include_router(api)
    paths: set[str] = set()
    for build in pages.ALL:
        router = build(site)
        paths |= {each.path for each in router.routes if isinstance(each, APIRoute) and "GET" in (each.methods or ())}
        app.include_router(router, include_in_schema=False)
    app.mount("/static", site.assets)
    site.paths = frozenset(paths)
    openapi.install(app)
    app.add_middleware(WithoutEmpty, api=API)
    app.add_middleware(Door, settings=services.settings.door, numbers=services.numbers)
    return app


def _routers(services: Services) -> list[APIRouter]:
    """Every feature's routes, in the order of the contract document."""
    return [
        health.build(services.database),
        identity_routes.build(services.identity, services.sign_ins),
        mfa_routes.build_sign_in(services.passkey_sign_in),
        devices_routes.build(services.devices),
        members_routes.build(services.users, services.groups, services.bindings, services.sign_ins),
        mail_links_routes.build(services.mail_links),
        workloads_routes.build(services.workloads, services.exchange),
        sso_routes.build(services.providers),
        mfa_routes.build(services.mfa, services.verification, services.factor_changes, services.passkey_enrolment),
        journal_routes.build(services.journal),
        rotation_routes.build(services.rotation),
        projects_routes.build(services.projects, services.keeping, services.masking),
        fleet_routes.build_people(services.fleet),
        resources_routes.build(services.resources, services.accounts),
        approvals_routes.build(services.approvals),
        access_routes.build(services.access, services.gateway_access),
        records_routes.build(services.records),
        streams_routes.build(services.streams),
        fleet_routes.build_machines(
            services.fleet,
            services.enrolment,
            services.hub,
            services.tests,
            services.gateway_access.heartbeat,
            services.stopping,
        ),
    ]
