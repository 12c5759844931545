"""The whole story, as the first person at a new installation lives it: a real browser, real programs, a real MongoDB.

Nothing here reaches past what that person has: pages, commands copied from pages, and what programs print.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from wardgate.testing.mongo import MongoDeployment
from wardgate.testing.ports import LOOPBACK, free_ports
from wardgate.testing.processes import Process
from wardgate.testing.stack import find_executable

from .conftest import OpenTab, accessible

EMAIL = "ann@example.com"
PASSWORD = "a sentence that nobody guesses"
SLOW_MS = 45_000  # what takes real programs on a busy machine


@dataclass
class Machine:
    """A person's machine: a folder, a shell, and what runs in its terminals."""

    folder: Path
    terminals: list[Process] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """Ours, with the installed command on the path and a login folder of its own."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("WARDGATE_")}
        kept.pop("PYTHONDONTWRITEBYTECODE", None)
        path = f"{find_executable().parent}{os.pathsep}{kept['PATH']}"
        return {**kept, "PATH": path, "WARDGATE_CONFIG_DIR": str(self.folder / "me")}

    async def run(self, line: str, stdin: str = "") -> str:
        """One line in the shell, to its end; what it printed."""
        done = await asyncio.to_thread(
            subprocess.run,
            ["bash", "-c", line],
            cwd=self.folder,
            env=self.environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=90,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
        return str(done.stdout)

    async def open_terminal(self, name: str, line: str, ready: str) -> tuple[Process, str]:
        """One line in a terminal of its own, and what it prints once it is ready (a pattern)."""
        argv = ["bash", "-c", f"exec env {line}"]
        process = Process(name, argv, self.folder / "logs", env=self.environment, cwd=self.folder)
        self.terminals.append(process)
        return process, await asyncio.to_thread(process.wait_line, lambda said: bool(re.search(ready, said)), 60)

    def close(self) -> None:
        """Close every terminal."""
        for process in reversed(self.terminals):
            process.stop()


@pytest.fixture
def machine() -> Iterator[Machine]:
    folder = Path(tempfile.mkdtemp(prefix="wardgate-story-"))
    made = Machine(folder)
    yield made
    made.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_the_whole_story(machine: Machine, open_tab: OpenTab, mongod_rs1: MongoDeployment, mongosh: Path) -> None:
    with mongod_rs1.client() as client:
        client.drop_database("story")
    api, relay = free_ports(2)
    url = f"http://{LOOPBACK}:{api}"
    await machine.run("wardgate server init --data-dir ./wg")
    listening = f"--listen {LOOPBACK}:{api} --relay-listen {LOOPBACK}:{relay}"
    await machine.open_terminal("server", f"wardgate server run --data-dir ./wg {listening} --json", "ready")
    async with open_tab(url) as page:
        page.set_default_timeout(SLOW_MS)
        await _first_administrator(page, machine)
        await _gateway(page, machine)
        await _resource(page, mongod_rs1)
        await _account(page, mongod_rs1)
        access, uri = await _get_in(page, machine, url)
        await _work(page, machine, f"{mongosh} --quiet '{uri}'")
        await _end(page, access)


async def _first_administrator(page: Page, machine: Machine) -> None:
    await page.goto("/")
    await page.get_by_label("Setup code").fill((machine.folder / "wg/setup-code").read_text().strip())
    await page.get_by_label("Your e-mail").fill(EMAIL)
    await page.locator("#password").fill(PASSWORD)
    await page.get_by_role("button", name="Set up wardgate").click()
    await page.wait_for_url("**/start")
    await accessible(page)


async def _first_steps(page: Page) -> None:
    """Back to the list of first steps, as the person left it."""
    await page.goto(re.sub(r"(/projects/[^/]+)/.*", r"\1/start", page.url))


async def _gateway(page: Page, machine: Machine) -> None:
    await page.get_by_role("link", name="Create a gateway").click()
    await page.get_by_label("Name").fill("near-db")
    await page.get_by_role("button", name="Create gateway").click()
    command = await page.locator("#start-command").inner_text()
    domain = page.url.partition("/projects/")[0]
    await machine.open_terminal("gateway", f"WARDGATE_DOMAIN={domain} {command} --json", "ready")
    await expect(page.locator("#connected")).to_contain_text("Connected", timeout=SLOW_MS)
    await _first_steps(page)


async def _resource(page: Page, deployment: MongoDeployment) -> None:
    await page.get_by_role("link", name="Add resource").click()
    await page.get_by_label("Name", exact=True).fill("production-mongo")
    await page.get_by_label("Connection String").fill(deployment.connection_string)
    await page.get_by_role("button", name="Test and save").click()
    await expect(page.locator(".hop.is-bad").first).to_contain_text(
        "certificate", timeout=SLOW_MS
    )  # of no known authority
    await page.get_by_label("CA Certificate").fill(deployment.ca_path.read_text())
    await page.get_by_role("button", name="Test and save").click()
    await page.wait_for_url("**/resources/production-mongo")
    await accessible(page)


async def _account(page: Page, deployment: MongoDeployment) -> None:
    await page.get_by_role("link", name="Add account").first.click()
    await page.get_by_label("Name", exact=True).fill("writer")
    await page.get_by_label("Username").fill(deployment.rw.username)
    await page.locator("#password").fill(deployment.rw.password)
    await page.get_by_role("button", name="Test and save").click()
    await page.wait_for_url("**/resources/production-mongo")
    await _first_steps(page)


async def _get_in(page: Page, machine: Machine, url: str) -> tuple[Process, str]:
    """The command from the page, run on the machine: its process and the URI that it prints."""
    await page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    steps = page.url
    await page.get_by_role("link", name="Get in").click()
    await page.get_by_role("button", name="Copy the command", exact=True).click()
    command = await page.evaluate("navigator.clipboard.readText()")
    await machine.run(f"wardgate login --domain {url} --email {EMAIL} --password-stdin", PASSWORD + "\n")
    await page.goto(steps)
    access, printed = await machine.open_terminal("access", command, "mongodb://")
    await expect(page.locator(".step.is-done")).to_have_count(4, timeout=SLOW_MS)  # the page noticed by itself
    return access, re.sub(r"\x1b\[[0-9;]*m", "", printed).strip()


async def _work(page: Page, machine: Machine, mongosh: str) -> None:
    """Commands of mongosh appear in the session's page while it is open, without a reload."""
    await page.get_by_role("link", name="To the sessions").click()
    await page.locator("tbody tr a").first.click()
    await page.wait_for_url("**/sessions/ses_*")
    await expect(page.locator("#facts")).to_contain_text("Live")
    script = "db.getSiblingDB('story').orders.insertOne({_id: 1, item: 'first light'}).acknowledged"
    assert "true" in await machine.run(f'{mongosh} --eval "{script}"')
    inserted = page.locator(".log-line.is-command").filter(has_text="insert").first
    await expect(inserted).to_be_visible(timeout=SLOW_MS)
    await inserted.locator("summary").click()
    await expect(inserted.locator(".ejson")).to_contain_text("first light")
    script = "db.getSiblingDB('story').orders.find({item: /light/}).toArray().length"
    assert "1" in await machine.run(f'{mongosh} --eval "{script}"')
    await expect(page.locator(".log-line.is-command").filter(has_text="find").first).to_be_visible(timeout=SLOW_MS)
    await accessible(page)


async def _end(page: Page, access: Process) -> None:
    access.interrupt()
    assert await asyncio.to_thread(access.wait, 30) == 0, access.stderr()
    await expect(page.locator("#facts")).to_contain_text("Closed by its user", timeout=SLOW_MS)
    await expect(page.locator("#facts")).to_contain_text("Verified", timeout=SLOW_MS)
    await page.get_by_role("button", name="Verify the record").click()
    await expect(page.get_by_text("Every record is here and unaltered.")).to_be_visible()
