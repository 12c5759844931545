"""What every request meets: the door, the failures, the contract document, and the declaration of every route."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from wardgate.control.identity.permissions import MACHINE
from wardgate.control.web.routes import PUBLIC, PUBLIC_PAGES, endpoints

from ..conftest import ORIGIN

PROBLEM = "application/problem+json"


def is_problem(answer: httpx2.Response, status: int, code: str) -> bool:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == PROBLEM
    assert answer.json()["code"] == code
    assert answer.json()["status"] == status
    return True


async def test_every_endpoint_declares_one_permission_or_is_public(control: Any) -> None:
    undeclared = {(e.method, e.path) for e in endpoints(control.app) if e.permission is None}
    assert undeclared <= PUBLIC | PUBLIC_PAGES, (
        "a route that declares nothing has no authority: see control/identity/guard.py"
    )


async def test_every_endpoint_refuses_whoever_is_nobody(control: Any, nobody: httpx2.AsyncClient) -> None:
    tried = 0
    for endpoint in endpoints(control.app):
        if (endpoint.method, endpoint.path) in PUBLIC or endpoint.is_page:
            continue
        path = endpoint.path.replace("{", "").replace("}", "")
        answer = await nobody.request(endpoint.method, path)
        assert answer.status_code == 401, (endpoint, answer.text)
        assert answer.headers["content-type"] == PROBLEM
        tried += 1
    assert tried >= 5


async def test_every_page_sends_whoever_is_nobody_to_sign_in(control: Any, nobody: httpx2.AsyncClient) -> None:
    tried = 0
    for endpoint in endpoints(control.app):
        if (endpoint.method, endpoint.path) in PUBLIC_PAGES or not endpoint.is_page:
            continue
        path = endpoint.path.replace("{", "").replace("}", "")
        answer = await nobody.request(endpoint.method, path, headers={"origin": ORIGIN})
        assert answer.status_code == 303, (endpoint, answer.text)
        assert answer.headers["location"].startswith("/sign-in")
        tried += 1
    assert tried >= 5


async def test_people_can_not_use_the_doors_of_machines(control: Any, admin: httpx2.AsyncClient) -> None:
    for endpoint in endpoints(control.app):
        if endpoint.permission in MACHINE:  # none of them is a page
            assert not endpoint.is_page
            path = endpoint.path.replace("{", "").replace("}", "")
            assert (await admin.request(endpoint.method, path)).status_code in (401, 403), endpoint


async def test_failures_of_the_framework_are_problems(nobody: httpx2.AsyncClient) -> None:
    assert is_problem(await nobody.get("/api/v1/projects/"), 404, "not_found")
    assert is_problem(await nobody.delete("/api/v1/auth/login"), 405, "method_not_allowed")
    assert is_problem(await nobody.post("/api/v1/auth/login", content=b"{"), 422, "invalid_request")
    assert is_problem(await nobody.post("/api/v1/auth/login", json=[]), 422, "invalid_request")


@pytest.mark.parametrize(
    "body",
    [
        {"email": "a@example.com", "password": ["hunter2hunter2"]},
        {"email": "a@example.com", "passwort": "hunter2hunter2"},
        {"email": ["hunter2hunter2"], "password": "x"},
        {"email": "a@example.com", "password": "hunter2hunter2" * 100},
        "hunter2hunter2",
    ],
)
async def test_what_was_typed_is_never_repeated(nobody: httpx2.AsyncClient, body: object) -> None:
    answer = await nobody.post("/api/v1/auth/login", json=body)
    assert is_problem(answer, 422, "invalid_request")
    assert "hunter2" not in answer.text
    assert answer.json()["errors"]


async def test_a_bug_is_a_problem_with_a_request_id_and_no_details(
    control: Any, admin: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise KeyError("a value that must not get out")

    control.services.projects.get = broken
    answer = await admin.get("/api/v1/projects/prj_1")
    assert is_problem(answer, 500, "internal")
    assert answer.json()["context"]["request_id"] == answer.headers["x-request-id"]
    assert "must not get out" not in answer.text + caplog.text


async def test_a_large_body_is_refused_by_its_length_and_by_its_bytes(nobody: httpx2.AsyncClient) -> None:
    large = b" " * (1024 * 1024 + 1)
    assert is_problem(await nobody.post("/api/v1/auth/login", content=large), 413, "too_large")

    async def undeclared() -> Any:
        for start in range(0, len(large), 65_536):
            yield large[start : start + 65_536]

    headers = {"content-type": "application/json"}
    answer = await nobody.post("/api/v1/auth/login", content=undeclared(), headers=headers)
    assert is_problem(answer, 413, "too_large")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:8401", "", "127.0.0.1:8400.evil.example"])
async def test_only_our_own_names_are_served(nobody: httpx2.AsyncClient, host: str) -> None:
    assert is_problem(await nobody.get("/api/v1/health", headers={"host": host}), 421, "unknown_host")


async def test_every_answer_bears_the_security_headers(nobody: httpx2.AsyncClient) -> None:
    for path in ("/api/v1/health", "/api/v1/nothing", "/api/openapi.json", "/api/v1/projects"):
        headers = (await nobody.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-request-id"]
        assert "server" not in headers


async def test_health_needs_no_login_and_tells_nothing(nobody: httpx2.AsyncClient) -> None:
    answer = await nobody.get("/api/v1/health")
    assert answer.json() == {"status": "ok"}


async def test_the_contract_document(control: Any, nobody: httpx2.AsyncClient) -> None:
    answer = await nobody.get("/api/openapi.json")
    document = answer.json()
    operations = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            operations[operation["operationId"]] = operation
            assert "422" not in operation["responses"], path
            assert operation["responses"]["default"]["content"].keys() == {PROBLEM}, (method, path)
    assert len(operations) == len([each for each in endpoints(control.app) if not each.is_page]), (
        "operation ids are unique"
    )
    assert operations["create_project"]["x-permission"] == "organisation:project:create"
    assert operations["create_project"]["security"] == [{"token": []}]
    assert "security" not in operations["login"]
    assert "code" in document["components"]["schemas"]["Problem"]["properties"]
    references = set(_references(document))
    assert references <= {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert "HTTPValidationError" not in json.dumps(document)


def _references(value: Any) -> Any:
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "$ref":
                yield item
            else:
                yield from _references(item)
    elif isinstance(value, list):
        for item in value:
            yield from _references(item)


async def test_no_documentation_page_loads_anything_from_elsewhere(nobody: httpx2.AsyncClient) -> None:
    for path in ("/docs", "/redoc", "/openapi.json"):
        assert (await nobody.get(path)).status_code == 404


async def test_no_name_has_a_zero_byte(admin: httpx2.AsyncClient) -> None:
    for path in ("/users/usr_%00", "/sessions/%00", "/projects/a%00b/resources"):
        answer = await admin.get(f"/api/v1{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
