"""A gateway or relay that has really enrolled and really signs, without its program.

Its control link is taken from the hub (the HTTP client of these tests does not stream); everything else goes over HTTP.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx2

from wardgate import sealing
from wardgate.api import assertion, enrolment
from wardgate.api.machine import Credentials, EnrolAnswer, EnrolRequest, LinkEvent, TestOrder
from wardgate.api.models import Hop, HopKind, TestResult
from wardgate.net import certs

PREFIX = "/api/v1"


def passed() -> TestResult:
    """A test in which everything went well."""
    return TestResult(ok=True, hops=[_hop(kind, True) for kind in HopKind])


def failed(kind: HopKind, message: str) -> TestResult:
    """A test that failed at one hop."""
    return TestResult(ok=False, hops=[_hop(HopKind.DNS, True), _hop(kind, False, message)])


def _hop(kind: HopKind, ok: bool, message: str = "fine") -> Hop:
    code = None if ok else "broken"
    return Hop(hop=kind, target="db1:27017", ok=ok, code=code, message=message, duration_ms=1.0)


async def enrol(
    http: httpx2.AsyncClient, token: str, key: certs.PrivateKey, *, kind: Any = "gateway", **changes: Any
) -> httpx2.Response:
    """Prove `token` for `key`; `changes` spoil the request."""
    decoded, csr = enrolment.decode(token), certs.make_csr(key)
    fields = {"token_id": decoded.token_id, "kind": kind, "csr": csr, "proof": enrolment.csr_proof(decoded.secret, csr)}
    body = EnrolRequest(**{**fields, **changes}).model_dump_json()
    return await http.post(f"{PREFIX}/enrol", content=body, headers={"content-type": "application/json"})


@dataclass
class Machine:
    """An enrolled machine. `verdict` is what it answers to connection tests; `seen` what it was asked to test."""

    control: Any
    id: str
    name: str
    key: certs.PrivateKey
    answer: EnrolAnswer
    instance_id: str = ""
    verdict: Callable[[TestOrder], TestResult] = lambda _: passed()
    seen: list[tuple[TestOrder, Credentials | None]] = field(default_factory=list)

    @staticmethod
    async def join(control: Any, created: dict[str, Any], kind: str = "gateway") -> Machine:
        """Enrol with the token of what the API created."""
        key = certs.make_key()
        async with control.client() as http:
            reply = await enrol(http, created["token"], key, kind=kind)
        assert reply.status_code == 200, reply.text
        answer = EnrolAnswer.model_validate_json(reply.content)
        enrolment.check_answer(enrolment.decode(created["token"]), answer, key.public_key())
        return Machine(control, answer.id, answer.name, key, answer, answer.instance_id or answer.id)

    def sign(self, method: str, target: str, body: bytes, **changes: Any) -> str:
        """The Authorization header."""
        claims = {
            "key_id": self.instance_id,
            "audience": self.control.services.settings.public_url,
            "method": method,
            "target": target,
            "body": body,
            "now": self.control.clock().timestamp(),
            "jti": os.urandom(16),
            **changes,
        }
        return assertion.sign(self.key, **claims)

    async def send(self, method: str, path: str, body: bytes = b"", header: str | None = None) -> httpx2.Response:
        """A signed request."""
        header = header or self.sign(method, PREFIX + path, body)
        headers = {"authorization": header, "content-type": "application/json"}
        http: httpx2.AsyncClient
        async with self.control.client() as http:
            return await http.request(method, PREFIX + path, content=body, headers=headers)

    async def beat(self, body: bytes = b"{}") -> dict[str, Any]:
        """A heartbeat."""
        reply = await self.send("POST", "/gateway/heartbeat", body)
        assert reply.status_code == 200, reply.text
        document: dict[str, Any] = reply.json()
        return document

    async def serve(self) -> None:
        """Be online: one heartbeat, then answer connection tests from the link until cancelled."""
        await self.beat()
        with self.control.services.hub.connected(self.id, self.instance_id) as link:
            stop = asyncio.Event()
            async for line in link.lines(stop):
                await self._heed(line)

    async def _heed(self, line: str) -> None:
        if not line.startswith("data: "):
            return
        event = LinkEvent.model_validate_json(line.removeprefix("data: "))
        if event.test is None:
            return
        credentials = await self._secrets(event.test) if event.test.credentials_wanted else None
        self.seen.append((event.test, credentials))
        report = f'{{"result": {self.verdict(event.test).model_dump_json()}}}'.encode()
        reply = await self.send("POST", f"/gateway/tests/{event.test.test_id}", report)
        assert reply.status_code == 204, reply.text

    async def _secrets(self, order: TestOrder) -> Credentials:
        private, public = sealing.generate()
        body = f'{{"public_key": "{base64.b64encode(public).decode()}"}}'.encode()
        reply = await self.send("POST", f"/gateway/tests/{order.test_id}/secrets", body)
        assert reply.status_code == 200, reply.text
        sealed = base64.b64decode(reply.json()["sealed"])
        return Credentials.model_validate_json(
            sealing.open_(private, sealing.test_info(order.test_id, self.id), sealed)
        )
