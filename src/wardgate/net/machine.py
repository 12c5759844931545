"""A machine's identity: how a gateway or relay joins the control plane and talks to it.

The first time, an enrolment token proves that the newcomer was asked for; what it gets (a certificate for a key made
here, the control plane's address, the CA) is one private file in the data folder. From then on every request is signed
with the key. The certificate is renewed long before it ends, for the same key.

Law: the key and the token's secret never leave this process; plain HTTP is spoken to loopback only (`api.domain`); an
answer that does not chain to the token's fingerprint is refused.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Literal, TypeVar

import httpx2
from cryptography import x509
from pydantic import BaseModel, ValidationError

from .. import __version__
from ..api import assertion, enrolment
from ..api.client import PREFIX, UnreachableError, tls_context
from ..api.domain import canonical, is_loopback
from ..api.machine import EnrolAnswer, EnrolRequest, RenewAnswer, RenewRequest
from ..api.problems import Problem, ProblemCode, ProblemError
from ..errors import WardgateError
from ..secret import Secret
from . import certs, folder
from .tls import Credentials

MachineKind = Literal["gateway", "relay"]
Answer = TypeVar("Answer", bound=BaseModel)
IDENTITY_FILE = "identity.json"
_TIMEOUT = httpx2.Timeout(15.0, connect=5.0)
_SKEW_SHOWN = 25.0


@dataclass(frozen=True, slots=True)
class MachineIdentity:
    """Who this machine is, since it enrolled. Certificates are DER; `trust` holds the intermediates by name.

    A gateway is one name for several instances: `id` is the gateway's, `instance_id` what this one signs as.

    `audience` is the control plane's own address, which requests are signed for; `domain` is the one that is dialled,
    which may be another where the way to it is.
    """

    kind: MachineKind
    id: str
    instance_id: str
    name: str
    project_id: str | None
    domain: str
    audience: str
    certificate: bytes
    intermediate: bytes
    root: bytes
    trust: dict[str, bytes]
    key: certs.PrivateKey = field(repr=False)

    @property
    def credentials(self) -> Credentials:
        """What TLS presents."""
        return Credentials(certs.to_pem(self.certificate, self.intermediate), Secret(certs.key_to_pem(self.key)))

    @property
    def validity(self) -> tuple[datetime, datetime]:
        """From when and until when the certificate is valid (UTC)."""
        certificate = x509.load_der_x509_certificate(self.certificate)
        return certificate.not_valid_before_utc, certificate.not_valid_after_utc

    def renewal_due(self, now: datetime) -> bool:
        """Whether two thirds of the certificate's life are over."""
        start, end = self.validity
        return now >= start + (end - start) * 2 / 3

    def save(self, data_dir: Path) -> None:
        """Keep it in `data_dir`, in one step."""
        document = {
            "kind": self.kind,
            "id": self.id,
            "instance_id": self.instance_id,
            "name": self.name,
            "project_id": self.project_id,
            "domain": self.domain,
            "audience": self.audience,
            "certificate": _text(self.certificate),
            "intermediate": _text(self.intermediate),
            "root": _text(self.root),
            "trust": {name: _text(der) for name, der in self.trust.items()},
            "key": certs.key_to_pem(self.key).decode(),
        }
        folder.write_private(data_dir / IDENTITY_FILE, json.dumps(document, indent=1).encode())

    @classmethod
    def load(cls, data_dir: Path) -> MachineIdentity | None:
        """The identity in `data_dir`, None if it has none; WardgateError if the file is exposed or broken."""
        path = data_dir / IDENTITY_FILE
        content = folder.read_private(path)
        if content is None:
            return None
        try:
            document = json.loads(content)
            return cls(
                kind=document["kind"],
                id=document["id"],
                instance_id=document.get("instance_id", document["id"]),  # enrolled before there were instances
                name=document["name"],
                project_id=document["project_id"],
                domain=canonical(document["domain"]),
                audience=canonical(document["audience"]),
                certificate=_bytes(document["certificate"]),
                intermediate=_bytes(document["intermediate"]),
                root=_bytes(document["root"]),
                trust={name: _bytes(der) for name, der in document["trust"].items()},
                key=certs.key_from_pem(document["key"].encode()),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WardgateError(
                "identity_broken", f"{path} is damaged: remove it and enrol again with a new token."
            ) from error


@dataclass(frozen=True, slots=True)
class Joined:
    """The identity, and what to tell the operator about how it was found."""

    identity: MachineIdentity
    notice: str | None = None


def token_from(token: str | None, token_file: Path | None) -> str | None:
    """The enrolment token from `--token`, `--token-file` or WARDGATE_ENROLMENT_TOKEN, in this order, or None."""
    if token:
        return token
    if token_file is not None:
        try:
            return token_file.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise WardgateError("invalid_token", f"The token file {token_file} can't be read.") from error
    return os.environ.get("WARDGATE_ENROLMENT_TOKEN") or None


async def load_or_enrol(
    data_dir: Path,
    kind: MachineKind,
    *,
    name: str | None,
    token: str | None,
    domain: str | None = None,
    ca_file: Path | None = None,
) -> Joined:
    """The identity that `data_dir` holds, else a new one by `token`. The caller has claimed the folder.

    `domain` overrides the control plane's address in the token or in the file. WardgateError says in one sentence what
    is missing or refused.
    """
    known = MachineIdentity.load(data_dir)
    if known is None:
        identity = await _enrol(kind, name=name, token=token, domain=domain, ca_file=ca_file)
        identity.save(data_dir)
        return Joined(identity)
    if known.kind != kind or (name is not None and known.name != name):
        raise WardgateError(
            "wrong_folder", f"{data_dir} belongs to the {known.kind} {known.name}: name another --data-dir."
        )
    if domain is not None:
        known = replace(known, domain=canonical(domain))
    notice = f"The enrolment token is ignored: {known.name} has enrolled already." if token else None
    return Joined(known, notice)


async def _enrol(
    kind: MachineKind, *, name: str | None, token: str | None, domain: str | None, ca_file: Path | None
) -> MachineIdentity:
    if token is None:
        raise WardgateError(
            "token_missing",
            f"This {kind} has not enrolled yet: give the token that `wardgate {kind} create` printed, "
            "with --token-file or WARDGATE_ENROLMENT_TOKEN.",
        )
    parsed = enrolment.decode(token)
    address = canonical(domain) if domain else parsed.url
    key = certs.make_key()
    csr = certs.make_csr(key)
    request = EnrolRequest(
        token_id=parsed.token_id,
        kind=kind,
        name=name,
        csr=csr,
        proof=enrolment.csr_proof(parsed.secret, csr),
        version=__version__,
    )
    async with _http(address, ca_file) as http:
        answer = await _exchange(http, address, "POST", "/enrol", request.model_dump_json().encode(), {}, EnrolAnswer)
    enrolment.check_answer(parsed, answer, key.public_key())
    if name is not None and answer.name != name:
        raise WardgateError("wrong_token", f"The token is for the {kind} {answer.name}, not for {name}.")
    return MachineIdentity(
        kind=kind,
        id=answer.id,
        instance_id=answer.instance_id or answer.id,
        name=answer.name,
        project_id=answer.project_id,
        domain=address,
        audience=parsed.url,
        certificate=answer.certificate,
        intermediate=answer.intermediate,
        root=answer.root,
        trust=dict(answer.trust),
        key=key,
    )


class SignedClient:
    """HTTP to the control plane, each request signed with the machine's key. One per program; close it."""

    def __init__(self, identity: MachineIdentity, *, ca_file: Path | None = None) -> None:
        self.identity = identity
        self._http = _http(identity.domain, ca_file)

    async def close(self) -> None:
        """Let the connections go."""
        await self._http.aclose()

    async def request(
        self, method: str, path: str, answer: type[Answer], body: BaseModel | bytes | None = None
    ) -> Answer:
        """Send `body` (a model as JSON, bytes as they are) and parse the answer; ProblemError, UnreachableError."""
        content, headers = self._signed(method, path, body)
        return await _exchange(self._http, self.identity.domain, method, path, content, headers, answer)

    async def send(self, method: str, path: str, body: BaseModel | bytes | None = None) -> None:
        """A request whose answer holds nothing of interest."""
        content, headers = self._signed(method, path, body)
        _judge(await _send(self._http, self.identity.domain, method, path, content, headers), self.identity.domain)

    @contextlib.asynccontextmanager
    async def stream(self, path: str, *, read_timeout: float) -> AsyncIterator[AsyncIterator[str]]:
        """GET server-sent events: the lines of the answer. `read_timeout` bounds the silence between two of them."""
        _, headers = self._signed("GET", path, None)
        headers["accept"] = "text/event-stream"
        timeout = httpx2.Timeout(read_timeout, connect=5.0)
        try:
            async with self._http.stream("GET", PREFIX + path, headers=headers, timeout=timeout) as response:
                if response.status_code != 200:
                    await response.aread()
                    _judge(response, self.identity.domain)
                yield response.aiter_lines()
        except httpx2.TransportError as error:
            raise _unreachable(self.identity.domain, error) from error

    async def renew(self) -> MachineIdentity:
        """A new certificate for the same key. The caller saves it and rebuilds its TLS contexts."""
        request = RenewRequest(csr=certs.make_csr(self.identity.key))
        answer = await self.request("POST", f"/{self.identity.kind}/renew", RenewAnswer, request)
        renewed = replace(self.identity, certificate=answer.certificate, intermediate=answer.intermediate)
        _check_renewal(renewed)
        self.identity = renewed
        return renewed

    def _signed(self, method: str, path: str, body: BaseModel | bytes | None) -> tuple[bytes, dict[str, str]]:
        headers = {}
        content = b""
        if isinstance(body, BaseModel):
            content = body.model_dump_json().encode()
            headers["content-type"] = "application/json"
        elif body is not None:
            content = body
            headers["content-type"] = "application/octet-stream"
        headers["authorization"] = assertion.sign(
            self.identity.key,
            key_id=self.identity.instance_id,
            audience=self.identity.audience,
            method=method,
            target=httpx2.URL(PREFIX + path).raw_path.decode(),  # as it is sent, with its escapes
            body=content,
            now=time.time(),
            jti=os.urandom(assertion.JTI_BYTES),
        )
        return content, headers


def _http(domain: str, ca_file: Path | None) -> httpx2.AsyncClient:
    chosen = ca_file or (Path(os.environ["WARDGATE_CA_FILE"]) if os.environ.get("WARDGATE_CA_FILE") else None)
    host = httpx2.URL(domain).host
    return httpx2.AsyncClient(
        base_url=domain,
        verify=tls_context(chosen),
        trust_env=not is_loopback(host),  # a proxy from the environment is never the way to this machine
        follow_redirects=False,
        timeout=_TIMEOUT,
        headers={"user-agent": f"wardgate/{__version__}", "accept": "application/json"},
    )


async def _exchange(
    http: httpx2.AsyncClient,
    domain: str,
    method: str,
    path: str,
    content: bytes,
    headers: dict[str, str],
    answer: type[Answer],
) -> Answer:
    if "content-type" not in headers and content:
        headers = {**headers, "content-type": "application/json"}
    response = await _send(http, domain, method, path, content, headers)
    _judge(response, domain)
    try:
        return answer.model_validate_json(response.content)
    except ValidationError as error:
        raise UnreachableError(
            "unreachable",
            f"{domain} gave an answer that this version of wardgate does not understand: check the domain and that "
            "both have the same version.",
        ) from error


async def _send(
    http: httpx2.AsyncClient, domain: str, method: str, path: str, content: bytes, headers: dict[str, str]
) -> httpx2.Response:
    try:
        return await http.request(method, PREFIX + path, content=content, headers=headers)
    except httpx2.TransportError as error:
        raise _unreachable(domain, error) from error


def _judge(response: httpx2.Response, domain: str) -> None:
    """Raise what the answer says, unless it is a success."""
    if response.status_code < 300:
        return
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError as error:
        raise UnreachableError(
            "unreachable",
            f"{domain} answered {response.status_code} in a way no wardgate control plane does: check the domain.",
        ) from error
    detail = problem.detail
    if problem.code is ProblemCode.NOT_LOGGED_IN:
        detail += _skew(response)
    raise ProblemError(problem.code, detail, errors=problem.errors, context=problem.context)


def _skew(response: httpx2.Response) -> str:
    """A hint where the refusal may come from clocks that differ: signatures are of the minute."""
    try:
        there = parsedate_to_datetime(response.headers.get("date", ""))
    except ValueError:
        return ""
    seconds = abs((datetime.now(UTC) - there).total_seconds())
    return (
        f" This machine's clock differs from the control plane's by {seconds:.0f} s." if seconds > _SKEW_SHOWN else ""
    )


def _unreachable(domain: str, error: Exception) -> UnreachableError:
    if "certificate" in str(error).lower():
        return UnreachableError(
            "unreachable",
            f"The certificate of {domain} is not trusted: name its CA with --ca-file or WARDGATE_CA_FILE.",
        )
    if isinstance(error, httpx2.TimeoutException):
        return UnreachableError("unreachable", f"The control plane at {domain} did not answer in time.")
    return UnreachableError("unreachable", f"The control plane at {domain} can't be reached: check the address.")


def _check_renewal(identity: MachineIdentity) -> None:
    """A renewed certificate must be for our key and hang on the root we enrolled under."""
    try:
        leaf = x509.load_der_x509_certificate(identity.certificate)
        intermediate = x509.load_der_x509_certificate(identity.intermediate)
        leaf.verify_directly_issued_by(intermediate)
        intermediate.verify_directly_issued_by(x509.load_der_x509_certificate(identity.root))
        own = leaf.public_key() == identity.key.public_key()
    except Exception as error:
        raise WardgateError("renewal_refused", "The renewed certificate does not chain to wardgate's CA.") from error
    if not own:
        raise WardgateError("renewal_refused", "The renewed certificate is for another key.")


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
