"""The finders: the environment wins and is never silently ignored; what is missing says how to get it."""

from __future__ import annotations

from pathlib import Path

import pytest

from wardgate.errors import WardgateError
from wardgate.testing import servers

GHOST = servers.Program(
    name="ghost",
    variable="WARDGATE_GHOST",
    executables=("ghost-that-is-nowhere",),
    places=(),
    system=(),
    install="run it",
)


def _program(path: Path) -> Path:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def test_the_environment_wins(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = _program(tmp_path / "mongod")
    monkeypatch.setenv("WARDGATE_MONGOD", str(program))
    assert servers.find(servers.MONGOD) == program


def test_a_folder_is_enough(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = _program(tmp_path / "initdb")
    monkeypatch.setenv("WARDGATE_PG_BIN", str(tmp_path))
    assert servers.find(servers.POSTGRES) == program


def test_a_wrong_path_is_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WARDGATE_MONGOD", str(tmp_path / "absent"))
    with pytest.raises(WardgateError, match=r"WARDGATE_MONGOD names .*absent, which is no program"):
        servers.find(servers.MONGOD)


def test_path_comes_last(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = _program(tmp_path / "ghost-that-is-nowhere")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert servers.find(GHOST) == program


def test_what_is_missing_says_how_to_get_it() -> None:
    assert servers.find(GHOST) is None
    with pytest.raises(servers.ServerMissingError, match=r"ghost was not found: run it\."):
        servers.require(GHOST)
