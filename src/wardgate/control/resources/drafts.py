"""A filled-in resource form: understood, looked at, tried. Nothing is saved here.

Law: a draft is judged by exactly the code that judges what is saved, so that “it would be refused” and “it works” are
never said of something else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ...api.machine import MongoTarget
from ...api.models import DraftCheck, ResourceDraft, TestResult
from ...api.problems import FieldError, ProblemError
from ..db import Database
from ..identity.actor import Actor, Scope
from ..identity.permissions import Permission
from ..sources import Sources
from . import authorities
from .connection_string import Form, check_database, parse
from .ports import GatewayFacts, Gateways, Tester


@dataclass(frozen=True, slots=True)
class Draft:
    """A filled-in form that was understood."""

    gateway: GatewayFacts
    connection_string: str
    form: Form
    target: MongoTarget
    notices: list[str]


class ResourceDrafts:
    """Drafts as actors see them, and what saving makes of a form."""

    def __init__(self, database: Database, sources: Sources, gateways: Gateways, tester: Tester) -> None:
        self._database = database
        self._sources = sources
        self._gateways = gateways
        self._tester = tester

    def understand(self, gateway: GatewayFacts, text: str, form: Form) -> Draft:
        """The form as it will be used; ProblemError that names the field."""
        if form.ca_certificate is not None:
            form = replace(form, ca_certificate=authorities.check(form.ca_certificate, self._sources.now()))
        check_database(form.database)
        target, notices = parse(text, form)
        return Draft(gateway, text.strip(), form, target, notices)

    async def run(self, draft: Draft) -> TestResult:
        """What the gateway finds; ProblemError `gateway_offline`."""
        return await self._tester.run(draft.gateway.id, draft.gateway.name, draft.target, None)

    async def attempt(self, actor: Actor, project_id: str, body: ResourceDraft) -> TestResult:
        """Try a form, hop by hop, without saving it."""
        actor.require(Permission.PROJECT_RESOURCE_CREATE, Scope(project_id), what=f"project {project_id}")
        async with self._database.read() as session:
            gateway = await self._gateways.find_gateway(session, project_id, body.gateway)
        return await self.run(self.understand(gateway, body.connection_string, form_of(body)))

    def check(self, body: ResourceDraft) -> DraftCheck:
        """What is wrong with a form, field by field, and where it leads; nobody is asked."""
        errors: list[FieldError] = []
        notices: list[str] = []
        target, form = None, form_of(body)
        try:
            if form.ca_certificate is not None:
                authorities.check(form.ca_certificate, self._sources.now())
        except ProblemError as refused:
            errors += refused.problem.errors
            form = replace(form, ca_certificate=None)
        try:
            check_database(form.database)
        except ProblemError as refused:
            errors += refused.problem.errors
        try:
            target, notices = parse(body.connection_string, form)
        except ProblemError as refused:
            errors += refused.problem.errors
        return DraftCheck(hosts=_hosts(target), errors=errors, notices=notices)


def form_of(body: ResourceDraft) -> Form:
    """The fields beside the connection string."""
    return Form(body.database, body.ssl, body.reject_unauthorized, body.ca_certificate)


def _hosts(target: MongoTarget | None) -> list[str]:
    if target is None:
        return []
    if target.srv_host:
        return [target.srv_host]
    return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in target.hosts]
