"""A person's HTTP client for the control plane.

It is the only door that the CLI has: everything it does, any program with a token can do. It never follows a redirect
(a token must not be led elsewhere), turns problem documents back into `ProblemError`, and says in one sentence why a
control plane could not be reached.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import httpx2
from pydantic import BaseModel, SecretStr, ValidationError

from .. import __version__
from ..errors import WardgateError
from .domain import canonical, is_loopback
from .models import Page
from .problems import Problem, ProblemError

Model = TypeVar("Model", bound=BaseModel)
_READ_TIMEOUT = 45.0  # a connection test may take 30 s at the gateway
PREFIX = "/api/v1"


class UnreachableError(WardgateError):
    """The control plane did not answer, or what answered was no control plane."""


class Login(Protocol):
    """Where the bearer token comes from."""

    def token(self) -> str | None:
        """The access token to send, or None: the request goes without."""

    def renew(self) -> bool:
        """Called after a 401: whether there is a new token to try once more with."""


class NoLogin:
    """For the requests that make a login."""

    def token(self) -> str | None:
        """No token."""
        return None

    def renew(self) -> bool:
        """Nothing to renew."""
        return False


def tls_context(ca_file: Path | None) -> ssl.SSLContext | bool:
    """How HTTPS is checked: by the system's trust store, and `ca_file` beside it where given."""
    if ca_file is None:
        return True
    context = ssl.create_default_context()
    try:
        context.load_verify_locations(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise WardgateError(
            "invalid_ca_file", f"The CA file {ca_file} can't be used: it must be a readable PEM file of certificates."
        ) from error
    return context


class ApiClient:
    """Synchronous client of one control plane. Raises ProblemError, or UnreachableError."""

    def __init__(
        self,
        domain: str,
        login: Login | None = None,
        *,
        ca_file: Path | None = None,
        timeout_s: float = _READ_TIMEOUT,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.domain = canonical(domain)
        self._login = login or NoLogin()
        self._http = httpx2.Client(
            base_url=self.domain + PREFIX,
            verify=tls_context(ca_file),
            transport=transport,
            trust_env=not is_loopback(httpx2.URL(self.domain).host),  # a proxy is never the way to this machine
            follow_redirects=False,
            timeout=httpx2.Timeout(timeout_s, connect=min(timeout_s, 10.0)),
            headers={"user-agent": f"wardgate/{__version__}", "accept": "application/json"},
        )

    @property
    def is_local(self) -> bool:
        """Whether the control plane is on this machine."""
        return is_loopback(self._http.base_url.host)

    def close(self) -> None:
        """Let the connections go."""
        self._http.close()

    def __enter__(self) -> ApiClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def get(self, path: str, model: type[Model], params: Mapping[str, Any] | None = None) -> Model:
        """GET one object."""
        return self._parse(self._send("GET", path, None, params), model)

    def post(
        self, path: str, model: type[Model], body: BaseModel | None = None, params: Mapping[str, Any] | None = None
    ) -> Model:
        """POST `body` and parse the answer."""
        return self._parse(self._send("POST", path, body, params), model)

    def put(self, path: str, model: type[Model], body: BaseModel) -> Model:
        """PUT `body` and parse the answer."""
        return self._parse(self._send("PUT", path, body, None), model)

    def patch(self, path: str, model: type[Model], body: BaseModel, params: Mapping[str, Any] | None = None) -> Model:
        """PATCH with the fields of `body` that were set."""
        return self._parse(self._send("PATCH", path, body, params), model)

    def call(self, method: str, path: str, body: BaseModel | None = None) -> None:
        """A request whose answer holds nothing of interest."""
        self._send(method, path, body, None)

    @contextmanager
    def download(self, path: str, params: Mapping[str, Any] | None = None) -> Iterator[Iterator[bytes]]:
        """GET a file, in pieces as they come. What is cut off is UnreachableError, never a shorter file."""
        for last in (False, True):
            with self._reached(), self._http.stream("GET", path, headers=self._bearer(), params=params) as response:
                if response.status_code == 401 and not last and self._login.renew():
                    continue
                if response.status_code >= 300:
                    response.read()
                    raise self._refused(response)
                yield response.iter_bytes()
                return

    def page(self, path: str, model: type[Model], params: Mapping[str, Any] | None = None) -> Page[Model]:
        """One page of a list."""
        return self._parse(self._send("GET", path, None, params), Page[model])  # type: ignore[valid-type]

    def pages(self, path: str, model: type[Model], params: Mapping[str, Any] | None = None) -> Iterator[Model]:
        """Every item of a list, page after page."""
        query = dict(params or {})
        while True:
            page = self.page(path, model, query)
            yield from page.items
            if page.next is None:
                return
            query["after"] = page.next

    def search(self, path: str, model: type[Model], body: BaseModel, limit: int) -> Iterator[Model]:
        """Every item of a search, page after page; a page may be empty and not the last."""
        query: dict[str, Any] = {"limit": limit}
        while True:
            page = self._parse(self._send("POST", path, body, query), Page[model])  # type: ignore[valid-type]
            yield from page.items
            if page.next is None:
                return
            query["after"] = page.next

    def _send(
        self, method: str, path: str, body: BaseModel | None, params: Mapping[str, Any] | None
    ) -> httpx2.Response:
        content = None if body is None else _dump(body)
        response = self._once(method, path, content, params)
        if response.status_code == 401 and self._login.renew():
            response = self._once(method, path, content, params)
        if response.status_code >= 300:
            raise self._refused(response)
        return response

    def _once(self, method: str, path: str, content: bytes | None, params: Mapping[str, Any] | None) -> httpx2.Response:
        headers = {} if content is None else {"content-type": "application/json"}
        with self._reached():
            return self._http.request(method, path, content=content, headers=headers | self._bearer(), params=params)

    def _bearer(self) -> dict[str, str]:
        token = self._login.token()
        return {"authorization": f"Bearer {token}"} if token else {}

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """What fails in it failed on the way to the control plane."""
        try:
            yield
        except httpx2.TimeoutException as error:
            raise UnreachableError(
                "unreachable", f"The control plane at {self.domain} did not answer in time."
            ) from error
        except httpx2.TransportError as error:
            raise UnreachableError("unreachable", _why(self.domain, error)) from error

    def _refused(self, response: httpx2.Response) -> WardgateError:
        try:
            problem = Problem.model_validate_json(response.content)
        except ValidationError:
            return UnreachableError(
                "unreachable",
                f"{self.domain} answered {response.status_code} as no wardgate control plane does: check the domain.",
            )
        return ProblemError(problem.code, problem.detail, errors=problem.errors, context=problem.context)

    def _parse(self, response: httpx2.Response, model: type[Model]) -> Model:
        try:
            return model.model_validate_json(response.content)
        except ValidationError as error:
            raise UnreachableError(
                "unreachable",
                f"{self.domain} gave an answer that this version of wardgate does not understand: check the domain "
                "and that both have the same version.",
            ) from error


def _dump(body: BaseModel) -> bytes:
    """JSON of the set fields, with SecretStr revealed: the wire is the one place where they belong."""
    values = body.model_dump(mode="json", exclude_unset=True)
    for name in body.model_fields_set:
        value = getattr(body, name)
        if isinstance(value, SecretStr):
            values[name] = value.get_secret_value()
        elif isinstance(value, dict):
            revealed = {key: each.get_secret_value() for key, each in value.items() if isinstance(each, SecretStr)}
            values[name] = {**values[name], **revealed}
    return json.dumps(values).encode()


def _why(domain: str, error: Exception) -> str:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text or "certificate" in text.lower():
        return f"The certificate of {domain} is not trusted: give its CA with --ca-file or WARDGATE_CA_FILE."
    return f"The control plane at {domain} can't be reached: check the address, and that it runs."
