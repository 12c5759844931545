"""What holds for every page: strict headers, forms that only our own pages can send, assets, keys and theme."""

from __future__ import annotations

import filecmp
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
from playwright.async_api import Page

from ..control.conftest import ADMIN_EMAIL, PASSWORD
from .conftest import Web, accessible

ROOT = Path(__file__).parents[2]
STATIC = ROOT / "src/wardgate/control/web/static"


@asynccontextmanager
async def signed_in(web: Web) -> AsyncIterator[httpx2.AsyncClient]:
    """An HTTP client with the cookie of a browser's sign-in."""
    async with httpx2.AsyncClient(base_url=web.url) as client:
        form = {"email": ADMIN_EMAIL, "password": PASSWORD}
        answer = await client.post("/sign-in", data=form, headers={"origin": web.url})
        assert answer.status_code == 303, answer.text
        yield client


def csrf_of(page: str) -> str:
    return page.split('<meta name="csrf" content="')[1].split('"')[0]


async def test_every_page_has_a_strict_policy_and_nothing_inline(web: Web) -> None:
    async with signed_in(web) as client:
        for path in ("/projects", "/add-project", "/nothing", "/sign-in"):
            answer = await client.get(path, follow_redirects=True)
            policy = answer.headers["content-security-policy"]
            assert "default-src 'none'" in policy
            assert "unsafe" not in policy
            assert "<style" not in answer.text
            assert " style=" not in answer.text
            assert "<script>" not in answer.text
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert len(answer.content) < 200_000


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"origin": "null"},
        {"origin": "https://evil.example"},
        {"origin": "http://127.0.0.1:1"},
    ],
)
async def test_a_form_of_another_site_is_refused(web: Web, headers: dict[str, str]) -> None:
    async with signed_in(web) as client:
        token = csrf_of((await client.get("/add-project")).text)
        refused = await client.post("/add-project", data={"name": "shop", "csrf": token}, headers=headers)
        assert refused.status_code == 403
        refused = await client.post("/sign-in", data={"email": ADMIN_EMAIL, "password": PASSWORD}, headers=headers)
        assert refused.status_code == 403
    assert await web.control.count("projects") == 0


async def test_a_form_without_the_token_of_this_very_sign_in_is_refused(web: Web) -> None:
    async with signed_in(web) as one, signed_in(web) as other:
        theirs = csrf_of((await other.get("/add-project")).text)
        for token in ("", "x", theirs):
            refused = await one.post("/add-project", data={"name": "shop", "csrf": token}, headers={"origin": web.url})
            assert refused.status_code == 403, token
        ours = csrf_of((await one.get("/add-project")).text)
        made = await one.post("/add-project", data={"name": "shop", "csrf": ours}, headers={"origin": web.url})
        assert made.status_code == 303


async def test_pages_take_no_bearer_token_and_the_api_takes_no_cookie(web: Web) -> None:
    async with signed_in(web) as browser:
        assert (await browser.get("/api/v1/auth/whoami")).status_code == 401
        cookie = browser.cookies["wardgate"]
        assert (
            await browser.get("/api/v1/auth/whoami", headers={"authorization": f"Bearer {cookie}"})
        ).status_code == 401
    api = await web.control.login(ADMIN_EMAIL)
    token = api.headers["authorization"]
    async with httpx2.AsyncClient(base_url=web.url) as client:
        assert (await client.get("/projects", headers={"authorization": token})).status_code == 303
        as_cookie = {"cookie": f"wardgate={token.removeprefix('Bearer ')}"}
        assert (await client.get("/projects", headers=as_cookie)).status_code == 303


@pytest.mark.parametrize(
    "wanted", ["//evil.example", "/\\evil.example", "https://evil.example", "javascript:alert(1)", "/a\nb"]
)
async def test_signing_in_never_leads_to_another_site(web: Web, wanted: str) -> None:
    async with httpx2.AsyncClient(base_url=web.url) as client:
        form = {"email": ADMIN_EMAIL, "password": PASSWORD, "next": wanted}
        answer = await client.post("/sign-in", data=form, headers={"origin": web.url})
        assert answer.headers["location"] == "/"


async def test_a_page_that_is_not_there_is_a_page(web: Web, page: Page) -> None:
    await page.goto(f"{web.url}/nothing/here")
    await accessible(page)
    await web.sign_in(page)
    answer = await page.goto(f"{web.url}/projects/prj_x")
    assert answer is not None
    assert answer.status == 404
    await page.get_by_role("heading", name="Nothing here").wait_for()
    await accessible(page)


async def test_assets_are_kept_for_ever_at_an_address_of_their_own(web: Web) -> None:
    async with httpx2.AsyncClient(base_url=web.url) as client:
        page = (await client.get("/sign-in")).text
        address = page.split('rel="stylesheet" href="')[1].split('"')[0]
        answer = await client.get(address)
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-type"] == "text/css; charset=utf-8"
        old = await client.get("/static/0123456789abcdef/app.css")
        assert old.headers["cache-control"] == "no-cache"
        for path in (
            "/static/",
            "/static/x/../site.py",
            f"{address}/x",
            "/static/x/icons.json",
            "/static/x/%2e%2e/site.py",
        ):
            assert (await client.get(path)).status_code == 404, path
        assert (await client.post(address)).status_code == 404


async def test_keys_lead_and_the_theme_stays(web: Web, page: Page) -> None:
    await web.sign_in(page)
    await page.keyboard.press("?")
    await page.get_by_role("dialog", name="Keyboard shortcuts").wait_for()
    await accessible(page)
    await page.keyboard.press("Escape")
    await page.get_by_role("button", name=ADMIN_EMAIL).click()
    await page.get_by_role("button", name="Dark").click()
    assert await page.locator("html").get_attribute("data-theme") == "dark"
    await page.goto(f"{web.url}/projects")
    assert await page.locator("html").get_attribute("data-theme") == "dark"
    await accessible(page)


def test_the_committed_assets_are_what_their_sources_give(tmp_path: Path, node: Path) -> None:
    if not (ROOT / ".tools/web/node_modules").is_dir():
        pytest.skip("the packages of tools/web are not here: run “make setup”")
    assert shutil.which("bash")
    subprocess.run([ROOT / "tools/web/build", tmp_path / "built"], check=True, capture_output=True)
    compared = filecmp.dircmp(tmp_path / "built", STATIC)
    differing = compared.left_only + compared.right_only + compared.diff_files
    assert differing == [], "run tools/web/build and commit what it wrote"
