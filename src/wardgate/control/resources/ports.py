"""What resources need of the fleet, in their own words."""

from __future__ import annotations

from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from ...api.machine import Credentials, MongoTarget
from ...api.models import TestResult
from ...api.problems import ProblemCode, ProblemError


class GatewayFacts(Protocol):
    """A gateway, as far as a resource cares."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def name(self) -> str:
        """Its name."""


class Gateways(Protocol):
    """Finding gateways."""

    async def find_gateway(self, session: AsyncSession, project_id: str, name: str) -> GatewayFacts:
        """The usable gateway of that name; ProblemError `not_found`."""

    async def gateways_like(self, session: AsyncSession, project_id: str, text: str) -> list[str]:
        """The ids of a project's gateways whose name has `text` in it."""

    async def gateway_name(self, session: AsyncSession, gateway_id: str) -> str:
        """What a gateway is called."""


class Tester(Protocol):
    """Trying a deployment through a gateway."""

    async def run(
        self, gateway_id: str, gateway: str, target: MongoTarget, credentials: Credentials | None
    ) -> TestResult:
        """What the gateway finds, with `credentials` the login too; ProblemError `gateway_offline`."""


def must_pass(result: TestResult) -> None:
    """ProblemError `connection_test_failed` with every hop, the sentence being that of the first that failed."""
    if result.ok:
        return
    failed = next((hop for hop in result.hops if not hop.ok), None)
    why = f"{failed.target}: {failed.message}" if failed is not None else "The gateway gave no reason."
    raise ProblemError(
        ProblemCode.CONNECTION_TEST_FAILED,
        f"Nothing was saved, because the connection test failed. {why}",
        context=result.model_dump(mode="json"),
    )
