"""verify --bundle: proof without a control plane; the exit code says what the file is worth."""

from __future__ import annotations

import io
import json
import os
import tarfile
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from wardgate import ids
from wardgate.audit.chain import ChainWriter, EpochHead, Link, seal_statement
from wardgate.cli.main import run
from wardgate.net import certs
from wardgate.proof import bundle
from wardgate.proof.bundle import BundledEpoch, BundledSeal, Manifest

NOW = datetime(2030, 1, 1, tzinfo=UTC)
SESSION = ids.from_bytes(ids.Kind.SESSION, bytes(range(16)))


class Made:
    """A control plane's root, its audit key, and a session of one epoch in two objects."""

    def __init__(self) -> None:
        root_key = certs.make_key()
        self.root = certs.Authority(certs.make_root(root_key, NOW), root_key)
        self.key = certs.make_key()
        self.certificate = certs.to_pem(certs.issue_audit(self.root, self.key.public_key(), NOW)).decode()
        epoch_key = os.urandom(32)
        writer = ChainWriter(bytes(range(16)), 1, epoch_key, EpochHead(b"sealed", "k", "gw_x", 1, None))
        self.objects = {
            "frames/00000001/000000000000": writer.head_frame + writer.append(b"one") + writer.append(b"two"),
            "frames/00000001/000000000003": writer.append(b"three"),
        }
        self.last = Link(1, writer.seq, writer.hash)
        self.manifest = Manifest(
            SESSION,
            bytes(range(16)),
            True,
            [BundledEpoch(1, epoch_key, self.last, list(self.objects))],
            [self.seal(final=False, last=Link(1, 2, b"")), self.seal(final=True)][1:],
            {"k": self.certificate},
        )

    def seal(self, *, final: bool, last: Link | None = None) -> BundledSeal:
        statement = seal_statement(SESSION, [last or self.last], final=final, sealed_at_us=1_900_000_000_000_000)
        return BundledSeal(statement, "k", self.key.sign(statement, ec.ECDSA(hashes.SHA256())))

    def write(self, path: Path, manifest: Manifest | None = None) -> Path:
        pieces = [bundle.manifest_member(manifest or self.manifest, {})]
        pieces += [bundle.member(name, data) for name, data in self.objects.items()]
        path.write_bytes(b"".join((*pieces, bundle.end())))
        return path


@pytest.fixture
def made() -> Made:
    return Made()


def verify(
    path: Path, key: str | bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str], *more: str
) -> tuple[int, dict[str, object]]:
    key_path = tmp_path / "key.pem"
    key_path.write_bytes(key.encode() if isinstance(key, str) else key)
    status = run(["pam", "session", "verify", *more, "--bundle", str(path), "--key", str(key_path), "--json"])
    out, err = capsys.readouterr()
    return status, json.loads(out or err)


def test_a_whole_bundle_is_verified_by_key_certificate_or_root(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = made.write(tmp_path / "b.tar")
    public = x509.load_pem_x509_certificate(made.certificate.encode()).public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    for key in (made.certificate, certs.to_pem(made.root.certificate), pem):
        status, answer = verify(path, key, tmp_path, capsys, SESSION)
        assert (status, answer["state"], answer["records"], answer["head"]) == (0, "verified", 3, made.last.hash.hex())


def test_a_key_that_did_not_sign_proves_nothing(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = made.write(tmp_path / "b.tar")
    for stranger in (Made().certificate, certs.to_pem(Made().root.certificate)):
        status, answer = verify(path, stranger, tmp_path, capsys)
        assert (status, answer["state"], answer["how"]) == (1, "tampered", "bad_seal")


def test_a_gateways_certificate_vouches_for_nothing(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever holds the key of a gateway's authority has a certificate of the same root, and is still nobody here."""
    key = certs.make_key()
    intermediate = certs.make_intermediate(made.root, certs.Intermediate.GATEWAYS, key.public_key(), NOW)
    made.key = key
    forged = replace(
        made.manifest, seals=[made.seal(final=True)], certificates={"k": certs.to_pem(intermediate).decode()}
    )
    status, answer = verify(
        made.write(tmp_path / "b.tar", forged), certs.to_pem(made.root.certificate), tmp_path, capsys
    )
    assert (status, answer["how"]) == (1, "bad_seal")


@pytest.mark.parametrize(("ended", "status", "state"), [(False, 8, "open"), (True, 1, "incomplete")])
def test_without_the_final_seal_nothing_is_verified(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str], ended: bool, status: int, state: str
) -> None:
    without = replace(made.manifest, seals=[made.seal(final=False)], ended=ended)
    found, answer = verify(made.write(tmp_path / "b.tar", without), made.certificate, tmp_path, capsys)
    assert (found, answer["state"]) == (status, state)
    bare = replace(made.manifest, seals=[], ended=ended)
    assert verify(made.write(tmp_path / "b.tar", bare), made.certificate, tmp_path, capsys)[0] == status


def test_an_altered_bundle_says_where(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = next(iter(made.objects))
    data = bytearray(made.objects[name])
    data[-1] ^= 1
    made.objects[name] = bytes(data)
    status, answer = verify(made.write(tmp_path / "b.tar"), made.certificate, tmp_path, capsys)
    assert (status, answer["how"], answer["epoch"], answer["seq"]) == (1, "altered", 1, 2)
    del made.objects[name]
    status, answer = verify(made.write(tmp_path / "b.tar"), made.certificate, tmp_path, capsys)
    assert (status, answer["how"], answer["seq"]) == (1, "missing_object", 0)


def test_a_bundle_is_of_the_session_that_was_asked_for(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ids.from_bytes(ids.Kind.SESSION, bytes(16))
    assert verify(made.write(tmp_path / "b.tar"), made.certificate, tmp_path, capsys, other)[0] == 1


def _tar(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"junk" * 1000,
        _tar({}),
        _tar({"bundle.json": b"{}"}),
        _tar({"bundle.json": b"[" * 100_000}),
        _tar({"bundle.json": b'{"format": "wardgate-bundle/1", "session": 1, "uuid": "zz"}'}),
    ],
)
def test_what_is_no_bundle_is_said_to_be_none(
    data: bytes, made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "b.tar"
    path.write_bytes(data)
    status, answer = verify(path, made.certificate, tmp_path, capsys)
    assert (status, answer["code"]) == (1, "invalid_bundle")


def test_a_bundle_cut_short_is_not_verified(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = made.write(tmp_path / "b.tar").read_bytes()
    for size in range(0, len(whole) - 1024, 512):
        (tmp_path / "b.tar").write_bytes(whole[:size])
        assert verify(tmp_path / "b.tar", made.certificate, tmp_path, capsys)[0] == 1, size


@pytest.mark.parametrize("key", [b"", b"junk", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_a_key_file_that_is_none(made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str], key: bytes) -> None:
    status, answer = verify(made.write(tmp_path / "b.tar"), key, tmp_path, capsys)
    assert (status, answer["code"]) == (2, "invalid_key")


def test_a_bundle_alone_is_wrong_usage(made: Made, tmp_path: Path) -> None:
    assert run(["pam", "session", "verify", "--bundle", str(made.write(tmp_path / "b.tar"))]) == 2
    assert run(["pam", "session", "verify"]) == 2
