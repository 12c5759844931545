"""`wardgate relay run`: what is wrong with its command line is said in one sentence, with the exit code for it."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from wardgate.cli.exits import exit_code_of
from wardgate.errors import WardgateError
from wardgate.relay.command import cli


@pytest.fixture(autouse=True)
def _as_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """No token in the environment, and neither logging nor limits of the test process changed."""
    monkeypatch.delenv("WARDGATE_ENROLMENT_TOKEN", raising=False)
    monkeypatch.setattr("wardgate.net.logs.configure", lambda *_, **__: None)
    monkeypatch.setattr("resource.setrlimit", lambda *_: None)


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (["--listen", "nowhere"], "invalid_address", "host:port"),
        (["--listen", "0.0.0.0:1"], "invalid_address", "--advertise"),
        (["--listen", "127.0.0.1:0", "--advertise", "x"], "invalid_address", "host:port"),
        (["--listen", "127.0.0.1:0"], "token_missing", "wardgate relay create"),
        (["--listen", "127.0.0.1:0", "--token", "wge1_x"], "invalid_token", "wge1_"),
    ],
)
def test_wrong_input(tmp_path: Path, arguments: list[str], code: str, word: str) -> None:
    with pytest.raises(WardgateError) as caught:
        cli.main(["run", "--data-dir", str(tmp_path / "r"), *arguments], standalone_mode=False)
    assert caught.value.code == code
    assert word in caught.value.message
    assert exit_code_of(caught.value) == 2


def test_the_data_dir_is_needed() -> None:
    assert CliRunner().invoke(cli, ["run", "--listen", "127.0.0.1:0"]).exit_code == 2
