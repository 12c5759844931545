"""What every page stands on: the browser is there, and it reaches the control plane by name."""

from __future__ import annotations

from playwright.async_api import Page

from .conftest import Web


async def test_the_browser_reaches_the_control_plane(web: Web, page: Page) -> None:
    answer = await page.goto(f"{web.url}/api/v1/health")
    assert answer is not None
    assert answer.status == 200
