"""The keeping of the relay's process, with a small real process in its place that says what it was given."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from wardgate.control.embedded_relay import EmbeddedRelay
from wardgate.control.options import Address
from wardgate.errors import WardgateError
from wardgate.testing.ports import free_port

STUB = """
import json, os, sys, time
folder = sys.argv[sys.argv.index("--data-dir") + 1]
facts = {"pid": os.getpid(), "argv": sys.argv[2:], "env": dict(os.environ), "cwd": os.getcwd()}
with open(sys.argv[1], "a") as log:
    log.write(json.dumps(facts) + "\\n")
open(os.path.join(folder, "identity.json"), "w").close()
print("ready", flush=True)
time.sleep(600)
"""


class Tokens:
    def __init__(self) -> None:
        self.asked: list[str] = []

    async def embedded_relay_token(self, address: str) -> tuple[str, str]:
        self.asked.append(address)
        return "embedded", f"token {len(self.asked)}"


class Kept:
    """An embedded relay whose program is the stub."""

    def __init__(self, folder: Path, program: str = STUB) -> None:
        self.tokens = Tokens()
        self.log = folder / "log"
        self.port = free_port()
        self.relay = EmbeddedRelay(
            self.tokens,
            Address("127.0.0.1", self.port),
            f"relay.example:{self.port}",
            program=(sys.executable, "-I", "-c", program, str(self.log)),
            back_off=(0.01,),
        )

    def starts(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    async def started(self, count: int) -> dict[str, object]:
        async with asyncio.timeout(20):
            while len(self.starts()) < count:
                await asyncio.sleep(0.01)
        return self.starts()[count - 1]


@pytest.fixture
async def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kept]:
    monkeypatch.setenv("WARDGATE_MASTER_KEY", "ours alone")
    monkeypatch.setenv("WARDGATE_DATABASE_URL", "ours alone")
    kept = Kept(tmp_path)
    yield kept
    await kept.relay.stop()


def alive(pid: object) -> bool:
    assert isinstance(pid, int)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_it_gets_nothing_of_ours(kept: Kept) -> None:
    await kept.relay.start()
    start = await kept.started(1)
    assert "ours alone" not in json.dumps(start)
    env = start["env"]
    assert isinstance(env, dict)
    assert set(env) <= {"PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "WARDGATE_ENROLMENT_TOKEN"}
    assert env["WARDGATE_ENROLMENT_TOKEN"] == "token 1"
    assert "token" not in json.dumps(start["argv"])
    assert f"127.0.0.1:{kept.port}" in json.dumps(start["argv"])


async def test_stopping_ends_it_and_takes_its_folder_away(kept: Kept) -> None:
    await kept.relay.start()
    start = await kept.started(1)
    await kept.relay.stop()
    assert not alive(start["pid"])
    assert not Path(str(start["cwd"])).exists()


async def test_it_is_started_again_when_it_dies_and_needs_no_second_token(kept: Kept) -> None:
    await kept.relay.start()
    first = await kept.started(1)
    assert isinstance(first["pid"], int)
    os.kill(first["pid"], signal.SIGKILL)
    second = await kept.started(2)
    assert second["pid"] != first["pid"]
    assert second["cwd"] == first["cwd"]
    assert kept.tokens.asked == [f"relay.example:{kept.port}"]


async def test_one_that_does_not_get_ready_is_an_error(tmp_path: Path) -> None:
    kept = Kept(tmp_path, program="raise SystemExit(3)")
    with pytest.raises(WardgateError, match="exit status 3"):
        await kept.relay.start()
    await kept.relay.stop()


async def test_a_port_in_use_is_said_by_the_name_of_its_flag(tmp_path: Path) -> None:
    kept = Kept(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", kept.port))
        taken.listen()
        with pytest.raises(WardgateError, match=f"--relay-listen 127.0.0.1:{kept.port}: another program"):
            await kept.relay.start()
    await kept.relay.stop()
    assert kept.starts() == []


@pytest.mark.skipif(sys.platform != "linux", reason="needs prctl")
async def test_it_dies_with_us_whatever_kills_us(tmp_path: Path) -> None:
    """Another process keeps a relay and is killed with -9."""
    log = tmp_path / "log"
    parent = f"""
import asyncio, sys
from wardgate.control.embedded_relay import EmbeddedRelay
from wardgate.control.options import Address
class Tokens:
    async def embedded_relay_token(self, address): return "embedded", "t"
async def main():
    program = (sys.executable, "-I", "-c", {STUB!r}, {str(log)!r})
    relay = EmbeddedRelay(Tokens(), Address("127.0.0.1", {free_port()}), "r:1", program=program)
    await relay.start()
    print("up", flush=True)
    await asyncio.Event().wait()
asyncio.run(main())
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", parent, stdout=asyncio.subprocess.PIPE, env={**os.environ, "TMPDIR": str(tmp_path)}
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"up\n"
    pid = json.loads(log.read_text())["pid"]
    assert alive(pid)
    process.kill()
    await process.wait()
    async with asyncio.timeout(20):
        while alive(pid):
            await asyncio.sleep(0.01)
