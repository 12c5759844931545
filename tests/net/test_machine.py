"""Joining and talking to a control plane: here a double that speaks HTTP, holds a CA and may lie."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from wardgate.api import assertion, enrolment
from wardgate.api.machine import EnrolAnswer, EnrolRequest, RelayHeartbeatAnswer, RenewAnswer, RenewRequest
from wardgate.api.problems import ProblemCode, ProblemError
from wardgate.errors import WardgateError
from wardgate.net import certs
from wardgate.net.certs import Intermediate
from wardgate.net.machine import MachineIdentity, SignedClient, load_or_enrol, token_from
from wardgate.secret import Secret
from wardgate.testing.pki import Pki

SECRET = Secret(bytes(range(32)))
Answer = tuple[int, str]


def _honest(answer: EnrolAnswer) -> EnrolAnswer:
    return answer


@dataclass
class ControlPlane:
    """One token, one relay; `lie` changes the answer to an enrolment before it is proved, `forge` after."""

    pki: Pki = field(default_factory=Pki.make)
    url: str = ""
    machine_id: str = "rly_01k30fzvg0e008000000001jqy"
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    lie: Callable[[EnrolAnswer], EnrolAnswer] = _honest
    forge: Callable[[EnrolAnswer], EnrolAnswer] = _honest
    public_key: certs.PublicKey | None = None
    clock_off: timedelta = timedelta()
    serving: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def token(self) -> str:
        fingerprint = hashlib.sha256(certs.to_der(self.pki.root.certificate)).hexdigest()
        return enrolment.EnrolmentToken(self.url, fingerprint, "tok_x", SECRET).encode()

    def issue(self, csr: bytes) -> bytes:
        self.public_key = certs.csr_public_key(csr)
        issuer = self.pki.authorities[Intermediate.RELAYS]
        now = datetime.now(UTC)
        return certs.to_der(certs.issue_relay(issuer, self.public_key, self.machine_id, now, now + timedelta(days=7)))

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Answer:
        self.requests.append((method, target, headers, body))
        if target == "/api/v1/enrol":
            return self.enrol(EnrolRequest.model_validate_json(body))
        assert self.public_key is not None
        try:
            assertion.verify(
                headers["authorization"],
                self.public_key,
                audience=self.url,
                method=method,
                target=target,
                body=body,
                now=datetime.now(UTC).timestamp(),
            )
        except assertion.SignatureRefusedError:
            return self.problem(401, ProblemCode.NOT_LOGGED_IN)
        if target == "/api/v1/relay/renew":
            issuer = certs.to_der(self.pki.authorities[Intermediate.RELAYS].certificate)
            renewed = RenewAnswer(
                certificate=self.issue(RenewRequest.model_validate_json(body).csr), intermediate=issuer
            )
            return 200, renewed.model_dump_json()
        if target.startswith("/api/v1/relay/heartbeat"):
            return 200, '{"revoked": ["gw_x"]}'
        if target == "/api/v1/odd":
            return 200, "[]"
        return self.problem(403, ProblemCode.FORBIDDEN)

    def problem(self, status: int, code: ProblemCode) -> Answer:
        return status, json.dumps({"title": "t", "status": status, "detail": "No.", "code": code.value})

    def enrol(self, request: EnrolRequest) -> Answer:
        if not enrolment.csr_proof_holds(SECRET, request.csr, request.proof):
            return self.problem(403, ProblemCode.ENROLMENT_REFUSED)
        answer = EnrolAnswer(
            id=self.machine_id,
            name="r1",
            certificate=self.issue(request.csr),
            intermediate=certs.to_der(self.pki.authorities[Intermediate.RELAYS].certificate),
            root=certs.to_der(self.pki.root.certificate),
            trust=self.pki.trust,
            proof=b"",
        )
        answer = self.lie(answer)
        answer = answer.model_copy(update={"proof": enrolment.answer_proof(SECRET, answer)})
        return 200, self.forge(answer).model_dump_json()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.serving.add(task)
        while line := await reader.readline():
            method, target, _ = line.decode().split()
            headers: dict[str, str] = {}
            while (text := (await reader.readline()).decode().strip()) != "":
                name, _, value = text.partition(":")
                headers[name.lower()] = value.strip()
            body = await reader.readexactly(int(headers.get("content-length", 0)))
            status, content = self.answer(method, target, headers, body)
            date = (datetime.now(UTC) + self.clock_off).strftime("%a, %d %b %Y %H:%M:%S GMT")
            head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(content.encode())}\r\ndate: {date}\r\n\r\n"
            writer.write(head.encode() + content.encode())
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def control() -> AsyncIterator[ControlPlane]:
    made = ControlPlane()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    server.close()
    for task in made.serving:
        task.cancel()
    await asyncio.gather(*made.serving, return_exceptions=True)


async def join(control: ControlPlane, folder: Path) -> MachineIdentity:
    return (await load_or_enrol(folder, "relay", name="r1", token=control.token)).identity


async def test_a_newcomer_joins_once_and_is_known_from_then_on(control: ControlPlane, tmp_path: Path) -> None:
    identity = await join(control, tmp_path)
    assert identity.id == control.machine_id
    assert identity.domain == control.url
    again = await load_or_enrol(tmp_path, "relay", name=None, token=None)
    assert again.notice is None
    assert again.identity.certificate == identity.certificate
    assert again.identity.key.public_key() == identity.key.public_key()
    with_token = await load_or_enrol(tmp_path, "relay", name="r1", token="wge1_whatever")
    assert "ignored" in str(with_token.notice)
    assert len(control.requests) == 1


async def test_the_secret_and_the_key_never_travel(control: ControlPlane, tmp_path: Path) -> None:
    await join(control, tmp_path)
    sent = repr(control.requests)
    assert SECRET.reveal().hex() not in sent
    assert control.token not in sent
    assert "PRIVATE" not in sent
    assert (tmp_path / "identity.json").stat().st_mode & 0o777 == 0o600


def _other_root(answer: EnrolAnswer) -> EnrolAnswer:
    other = Pki.make()
    return answer.model_copy(update={"root": certs.to_der(other.root.certificate), "trust": other.trust})


def _other_key(answer: EnrolAnswer) -> EnrolAnswer:
    return answer.model_copy(update={"certificate": Pki.make().machine("relay", "r").certificate})


@pytest.mark.parametrize("lie", [_other_root, _other_key])
async def test_an_answer_that_does_not_fit_the_token_is_refused(
    control: ControlPlane, tmp_path: Path, lie: Callable[[EnrolAnswer], EnrolAnswer]
) -> None:
    control.lie = lie
    with pytest.raises(WardgateError) as caught:
        await join(control, tmp_path)
    assert caught.value.code == "enrolment_refused"
    assert not (tmp_path / "identity.json").exists()


async def test_an_answer_changed_on_its_way_is_refused(control: ControlPlane, tmp_path: Path) -> None:
    control.forge = lambda answer: answer.model_copy(update={"name": "r2"})
    with pytest.raises(WardgateError) as caught:
        await load_or_enrol(tmp_path, "relay", name=None, token=control.token)
    assert caught.value.code == "enrolment_refused"


@pytest.mark.parametrize(
    ("token", "domain", "code"),
    [
        (None, None, "token_missing"),
        ("wge1_rubbish", None, "invalid_token"),
        ("good", "http://control.example.com", "insecure_domain"),
        ("good", "http://127.0.0.1:1", "unreachable"),
    ],
)
async def test_what_is_missing_or_wrong_is_said(
    control: ControlPlane, tmp_path: Path, token: str | None, domain: str | None, code: str
) -> None:
    given = control.token if token == "good" else token
    with pytest.raises(WardgateError) as caught:
        await load_or_enrol(tmp_path, "relay", name="r1", token=given, domain=domain)
    assert caught.value.code == code
    assert "wge1_" not in caught.value.message.replace("from wge1_ on", "")


async def test_a_folder_belongs_to_one_machine(control: ControlPlane, tmp_path: Path) -> None:
    await join(control, tmp_path)
    for kind, name in (("gateway", None), ("relay", "other")):
        with pytest.raises(WardgateError) as caught:
            await load_or_enrol(tmp_path, kind, name=name, token=None)  # type: ignore[arg-type]
        assert caught.value.code == "wrong_folder"


async def test_a_damaged_identity_is_told(control: ControlPlane, tmp_path: Path) -> None:
    await join(control, tmp_path)
    (tmp_path / "identity.json").write_text("{}")
    with pytest.raises(WardgateError) as caught:
        MachineIdentity.load(tmp_path)
    assert caught.value.code == "identity_broken"


async def test_requests_are_signed_over_what_is_sent(control: ControlPlane, tmp_path: Path) -> None:
    client = SignedClient(await join(control, tmp_path))
    answer = await client.request("POST", "/relay/heartbeat?x=1&y=ä", RelayHeartbeatAnswer, b"\x00raw")
    assert answer.revoked == ["gw_x"]
    with pytest.raises(ProblemError) as caught:
        await client.send("POST", "/relay/other")
    assert caught.value.problem.code is ProblemCode.FORBIDDEN
    with pytest.raises(WardgateError) as odd:
        await client.request("GET", "/odd", RelayHeartbeatAnswer)
    assert odd.value.code == "unreachable"
    await client.close()


async def test_another_way_to_the_control_plane_changes_no_signature(control: ControlPlane, tmp_path: Path) -> None:
    """Found in review: with --domain every request was signed for the address that was dialled."""
    identity = await join(control, tmp_path)
    again = await load_or_enrol(tmp_path, "relay", name=None, token=None, domain="http://localhost:1")
    assert again.identity.domain == "http://localhost:1"
    assert again.identity.audience == identity.audience == identity.domain


async def test_a_clock_that_is_off_is_named(control: ControlPlane, tmp_path: Path) -> None:
    identity = await join(control, tmp_path)
    control.clock_off = timedelta(minutes=10)
    client = SignedClient(replace(identity, domain=identity.domain, key=certs.make_key()))
    with pytest.raises(ProblemError) as caught:
        await client.send("POST", "/relay/heartbeat")
    assert "clock" in caught.value.message
    await client.close()


async def test_renewal_keeps_the_key_and_is_due_after_two_thirds(control: ControlPlane, tmp_path: Path) -> None:
    identity = await join(control, tmp_path)
    assert not identity.renewal_due(datetime.now(UTC) + timedelta(days=4))
    assert identity.renewal_due(datetime.now(UTC) + timedelta(days=5))
    client = SignedClient(identity)
    renewed = await client.renew()
    assert renewed.certificate != identity.certificate
    assert x509.load_der_x509_certificate(renewed.certificate).public_key() == identity.key.public_key()
    await client.close()


async def test_a_renewal_of_another_ca_is_refused(control: ControlPlane, tmp_path: Path) -> None:
    client = SignedClient(await join(control, tmp_path))
    control.pki = Pki.make()
    with pytest.raises(WardgateError) as caught:
        await client.renew()
    assert caught.value.code == "renewal_refused"
    await client.close()


def test_where_a_token_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WARDGATE_ENROLMENT_TOKEN", "environment")
    path = tmp_path / "token"
    path.write_text("file\n")
    assert token_from("flag", path) == "flag"
    assert token_from(None, path) == "file"
    assert token_from(None, None) == "environment"
    monkeypatch.delenv("WARDGATE_ENROLMENT_TOKEN")
    assert token_from(None, None) is None
    with pytest.raises(WardgateError):
        token_from(None, tmp_path / "none")
