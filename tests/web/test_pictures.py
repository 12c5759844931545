"""Every page of the foundation, in light and dark, on a desktop and on a phone (pictures.py)."""

from __future__ import annotations

from playwright.async_api import Page

from .conftest import Web
from .pictures import picture


async def test_signing_in(web: Web, page: Page) -> None:
    await page.goto(f"{web.url}/sign-in")
    await picture(page, "sign-in")


async def test_projects(web: Web, page: Page) -> None:
    await web.sign_in(page)
    await page.goto(f"{web.url}/projects")
    await picture(page, "projects-empty")
    await page.goto(f"{web.url}/add-project")
    await picture(page, "project-add")
