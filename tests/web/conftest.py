"""A real browser (Debian's chromium, driven by Playwright) in front of the real control plane on a real port.

`web` is one installation with its HTTP server; `page` an empty tab that fails its test when the browser's console shows
an error or the Content-Security-Policy was violated. Time at the server stands still (`web.control.clock`), so that
pages and their screenshots are the same at every run. The address is http://localhost:PORT, because passkeys need a
name and a secure context, which localhost is.

Everything here lives in one event loop for the whole run of a worker: starting a browser costs more than most tests.
"""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import pytest_asyncio
import uvicorn
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, Playwright, async_playwright

from wardgate.api.machine import TestOrder
from wardgate.api.models import Hop, HopKind, TestResult
from wardgate.control.db import Base, Database
from wardgate.control.db.engine import sqlite_url
from wardgate.control.identity.passwords import Cost, PasswordHasher
from wardgate.control.outbound import Outbound
from wardgate.control.services import install, open_services
from wardgate.control.settings import DoorSettings, Settings
from wardgate.control.sources import Sources
from wardgate.control.vault import MasterKey
from wardgate.control.web import create_app
from wardgate.secret import Secret
from wardgate.testing import servers

from ..conftest import need
from ..control.conftest import ADMIN_EMAIL, ORIGIN, PASSWORD, Clock, Control
from ..control.machines import Machine

_LAUNCH_S = 60.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of this folder run in the loop that the browser lives in, and in one worker."""
    for item in items:
        if item.path.parent == Path(__file__).parent:
            if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.function):
                item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            item.add_marker(pytest.mark.xdist_group("web"))


@dataclass
class Web:
    """One installation that browsers can reach at `url`. `control` is the same as in the other tests' fixture."""

    control: Control
    url: str

    async def sign_in(self, page: Page, email: str = ADMIN_EMAIL, password: str = PASSWORD) -> None:
        """Sign a tab in as a person does."""
        await page.goto(f"{self.url}/sign-in")
        await page.get_by_label("E-mail").fill(email)
        await page.get_by_label("Password").fill(password)
        await page.get_by_role("button", name="Sign in").click()
        await page.wait_for_url(lambda url: "/sign-in" not in url)


async def accessible(page: Page) -> None:
    """axe-core finds nothing against WCAG 2.2 AA on the page as it is now, and it is no wider than its window."""
    modules = servers.node_modules()
    assert modules is not None, "run “make setup”: axe-core is one of its npm packages"
    # Through the driver and not as a <script>: the page's Content-Security-Policy would refuse that, as it should.
    await page.evaluate((modules / "axe-core" / "axe.min.js").read_text() + "\n;0")
    found = await page.evaluate(
        """async () => (await axe.run(document, {
            runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
        })).violations.map((v) => v.id + ": " + v.help + "\\n" + v.nodes.map((n) => "   " + n.html.slice(0, 200)
            + "\\n      " + (n.any[0] ?? n.all[0] ?? n.none[0])?.message).join("\\n"))"""
    )
    assert found == [], "\n".join(found)
    width = await page.evaluate("document.documentElement.scrollWidth - innerWidth")
    assert width <= 0, f"the page is {width} pixels wider than its window"


def _bound() -> socket.socket:
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    bound.setblocking(False)
    return bound


@asynccontextmanager
async def installation(folder: Path, *, administrator: bool = True) -> AsyncIterator[Web]:
    """The control plane in `folder` on a port of its own; without an administrator it waits for its first run."""
    listener = _bound()
    port = listener.getsockname()[1]
    url = f"http://localhost:{port}"
    address, clock = sqlite_url(folder / "wardgate.db"), Clock()
    database = Database(address)
    hosts = frozenset({f"localhost:{port}", f"127.0.0.1:{port}", ORIGIN.partition("://")[2]})
    settings = Settings(folder, url, DoorSettings(hosts=hosts))
    hasher = PasswordHasher(Cost(memory_kib=8, iterations=1))
    sources, master = Sources(now=clock), MasterKey.of(bytes(range(32)))
    await database.run(Base.metadata.create_all)
    await install(
        database,
        master,
        organisation="test",
        admin_email=ADMIN_EMAIL if administrator else None,
        admin_password=Secret(PASSWORD) if administrator else None,
        sources=sources,
        hasher=hasher,
    )
    outbound = Outbound(frozenset({"127.0.0.1"}))  # for providers that tests run
    services = await open_services(settings, database, [master], sources=sources, hasher=hasher, outbound=outbound)
    control = Control(services, create_app(services), clock, folder, address, None)
    config = uvicorn.Config(
        control.app, lifespan="off", log_config=None, access_log=False, ws="none", timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        while not server.started and not serving.done():
            await asyncio.sleep(0)
        yield Web(control, url)
    finally:
        services.stopping.set()
        server.should_exit = True
        await serving
        await services.close()


@pytest_asyncio.fixture(loop_scope="session")
async def web(tmp_path: Path) -> AsyncIterator[Web]:
    """An installation with one administrator and nothing else."""
    async with installation(tmp_path) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def playwright() -> AsyncIterator[Playwright]:
    """Playwright's driver."""
    async with async_playwright() as driver:
        yield driver


@pytest_asyncio.fixture(loop_scope="session", scope="session")
async def browser(playwright: Playwright) -> AsyncIterator[Browser]:
    """Debian's chromium, without a window."""
    running = await playwright.chromium.launch(
        executable_path=need(servers.CHROMIUM),
        args=["--no-sandbox", "--disable-gpu", "--force-color-profile=srgb", "--font-render-hinting=none"],
        timeout=_LAUNCH_S * 1000,
    )
    yield running
    await running.close()


@asynccontextmanager
async def _context(browser: Browser, url: str) -> AsyncIterator[BrowserContext]:
    """A browser profile of its own, on a desktop screen, light."""
    made = await browser.new_context(
        base_url=url, viewport={"width": 1280, "height": 800}, locale="en-GB", timezone_id="UTC"
    )
    made.set_default_timeout(15_000)
    yield made
    await made.close()


@asynccontextmanager
async def _tab(context: BrowserContext) -> AsyncIterator[Page]:
    """An empty tab. What its console says, or an exception in a script, fails the test."""
    tab = await context.new_page()
    said = listen(tab)
    yield tab
    assert said == [], "the browser's console is not quiet"


@pytest_asyncio.fixture(loop_scope="session")
async def context(browser: Browser, web: Web) -> AsyncIterator[BrowserContext]:
    """A browser profile of its own."""
    async with _context(browser, web.url) as made:
        yield made


@pytest_asyncio.fixture(loop_scope="session")
async def page(context: BrowserContext) -> AsyncIterator[Page]:
    """An empty tab."""
    async with _tab(context) as tab:
        yield tab


OpenTab = Callable[[str], AbstractAsyncContextManager[Page]]


@pytest_asyncio.fixture(loop_scope="session")
async def open_tab(browser: Browser) -> OpenTab:
    """`async with open_tab(url) as page`: a tab in a profile of its own, of another person or installation."""

    @asynccontextmanager
    async def opened(url: str) -> AsyncIterator[Page]:
        async with _context(browser, url) as made, _tab(made) as tab:
            yield tab

    return opened


def listen(tab: Page) -> list[str]:
    """A list that fills with the errors of the tab's console and scripts. Refusals (4xx) that pages show are none."""
    said: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            said.append(f"{message.type}: {message.text}")

    tab.on("console", on_console)
    tab.on("pageerror", lambda error: said.append(f"exception: {error}"))
    return said


def _reachable(order: TestOrder) -> TestResult:
    """What a gateway says of a replica set that is well, host by host."""
    hops = []
    for host, port in order.target.hosts:
        said = {
            HopKind.DNS: (2.4, "10.20.0.11"),
            HopKind.TCP: (0.8, "connected"),
            HopKind.TLS: (6.1, "TLS 1.3; its certificate is right for this name"),
        }
        hops += [_hop(kind, f"{host}:{port}", *facts) for kind, facts in said.items()]
    if order.credentials_wanted:
        hops.append(_hop(HopKind.LOGIN, hops[0].target, 18.3, "SCRAM-SHA-256"))
    hops.append(_hop(HopKind.TOPOLOGY, hops[0].target, 3.2, "replica set rs0 of MongoDB 6.0.5, primary db1:27017"))
    return TestResult(ok=True, hops=hops)


def _hop(kind: HopKind, target: str, took: float, message: str) -> Hop:
    return Hop(hop=kind, target=target, ok=True, message=message, duration_ms=took)


@dataclass
class Shop:
    """The project `shop` with the gateway `near-db`, online, which answers connection tests with `machine.verdict`."""

    web: Web
    project_id: str
    machine: Machine
    api: httpx2.AsyncClient

    @property
    def url(self) -> str:
        """The project's pages."""
        return f"{self.web.url}/projects/{self.project_id}"

    async def resource(self, name: str, **changes: Any) -> dict[str, Any]:
        """A resource that was saved through the API."""
        body = {"name": name, "gateway": "near-db", "connection_string": f"mongodb://{name}.internal:27017"}
        path = f"/api/v1/projects/{self.project_id}/resources"
        return await self._made(await self.api.post(path, json={**body, **changes}))

    async def account(self, resource: str, name: str, **changes: Any) -> dict[str, Any]:
        """An account that was saved through the API."""
        path = f"/api/v1/projects/{self.project_id}/resources/{resource}/accounts"
        body = {"name": name, "username": name.replace("-", "_"), "password": "database secret"}
        return await self._made(await self.api.post(path, json={**body, **changes}))

    @staticmethod
    async def _made(answer: httpx2.Response) -> dict[str, Any]:
        assert answer.status_code == 201, answer.text
        made: dict[str, Any] = answer.json()
        return made


@asynccontextmanager
async def online(machine: Machine) -> AsyncIterator[None]:
    """The gateway listens, as long as this lasts."""
    serving = asyncio.create_task(machine.serve())
    while not machine.control.services.hub.is_linked(machine.id):
        await asyncio.sleep(0)
    yield
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)


@pytest_asyncio.fixture(loop_scope="session")
async def shop(web: Web) -> AsyncIterator[Shop]:
    """A project with a gateway."""
    async with await web.control.login(ADMIN_EMAIL) as api:
        project = (await api.post("/api/v1/projects", json={"name": "shop"})).json()["id"]
        created = await api.post(f"/api/v1/projects/{project}/gateways", json={"name": "near-db"})
        machine = await Machine.join(web.control, created.json())
        machine.verdict = _reachable
        async with online(machine):
            yield Shop(web, project, machine, api)
