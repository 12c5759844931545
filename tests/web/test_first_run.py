"""The first run: from an empty installation to the first steps, and the door that closes behind it."""

from __future__ import annotations

from pathlib import Path

import httpx2
from playwright.async_api import expect

from wardgate.control import first_run

from ..control.machines import Machine
from .conftest import OpenTab, Web, installation, online
from .pictures import picture


async def test_the_first_administrator_and_the_first_steps(tmp_path: Path, open_tab: OpenTab) -> None:
    async with installation(tmp_path, administrator=False) as web, open_tab(web.url) as page:
        path = first_run.write_code(tmp_path, bytes(range(16)))
        await page.goto(web.url)
        await page.wait_for_url(f"{web.url}/set-up")
        await page.get_by_label("Setup code").fill("0000-1111")
        await page.get_by_label("Organisation").fill("Shop Ltd.")
        await page.get_by_label("Your e-mail").fill("ann@example.com")
        await page.locator("#password").fill("a sentence to keep")
        await page.get_by_role("button", name="Set up wardgate").click()
        await expect(page.locator("#error-code")).to_contain_text("not the code")
        assert "a sentence to keep" not in await page.content()
        assert await web.control.count("users") == 0
        await picture(page, "set-up", full=True)
        await page.get_by_label("Setup code").fill(path.read_text().strip().upper())
        await page.locator("#password").fill("a sentence to keep")
        await page.get_by_role("button", name="Set up wardgate").click()
        await page.wait_for_url("**/start")
        assert not path.exists()
        await picture(page, "start")

        await page.get_by_role("link", name="Create a gateway").click()
        await page.get_by_label("Name").fill("near-db")
        await page.get_by_role("button", name="Create gateway").click()
        command = await page.locator("#start-command").inner_text()
        await expect(page.locator("#connected")).to_contain_text("Waiting for it to connect")
        await picture(page, "gateway-new")
        token = command.split("=", 1)[1].split(" ", 1)[0]
        machine = await Machine.join(web.control, {"token": token})
        async with online(machine):
            await expect(page.locator("#connected")).to_contain_text("Connected", timeout=20_000)
            await expect(page.locator("#instances")).to_contain_text("Online", timeout=20_000)
            await page.get_by_role("navigation", name="Main").get_by_role("link", name="Gateways").click()
            await picture(page, "gateways")


async def test_once_somebody_exists_the_door_is_closed(web: Web, tmp_path: Path) -> None:
    code = first_run.write_code(tmp_path, bytes(range(16))).read_text()
    async with httpx2.AsyncClient(base_url=web.url) as client:
        assert (await client.get("/set-up")).status_code == 404
        form = {"code": code, "email": "eve@example.com", "password": "long enough, surely", "project": "x"}
        refused = await client.post("/set-up", data=form, headers={"origin": web.url})
        assert refused.status_code == 404
    assert await web.control.count("users") == 1


async def test_guessing_the_code_is_slowed_down(tmp_path: Path) -> None:
    async with installation(tmp_path, administrator=False) as web, httpx2.AsyncClient(base_url=web.url) as client:
        first_run.write_code(tmp_path, bytes(range(16)))
        form = {"code": "guess", "email": "eve@example.com", "password": "long enough, surely", "project": "x"}
        statuses = {
            (await client.post("/set-up", data=form, headers={"origin": web.url})).status_code for _ in range(30)
        }
        assert statuses == {401, 429}
