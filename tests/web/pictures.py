"""Pictures of pages for the documentation: light and dark, on a desktop and on a phone.

They are written only with WARDGATE_PICTURES=1; without it, `picture` still looks at the page in all four ways, so that
a page that breaks on a phone or in the dark fails its test.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from playwright.async_api import Page, ViewportSize

from .conftest import accessible

FOLDER = Path(__file__).parents[2] / "docs/img/web"
SCREENS: dict[str, ViewportSize] = {
    "desktop": {"width": 1280, "height": 800},
    "phone": {"width": 390, "height": 844},
}
THEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
WRITTEN = os.environ.get("WARDGATE_PICTURES") == "1"


async def settled(page: Page) -> None:
    """No colour glides from one theme to the other: it would be looked at half-way.

    The end of one transition can begin another, of an element that inherits the colour.
    """
    await page.evaluate(
        """async () => {
            const gliding = () => document.getAnimations().filter((each) => each instanceof CSSTransition);
            const frame = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
            for (await frame(); gliding().length; await frame()) gliding().forEach((each) => each.finish());
        }"""
    )


async def picture(page: Page, name: str, *, full: bool = False) -> None:
    """`name-{light,dark}-{desktop,phone}.png` of the page as it is, each looked at by axe-core first."""
    before = page.viewport_size
    for screen, size in SCREENS.items():
        await page.set_viewport_size(size)
        for theme in THEMES:
            await page.emulate_media(color_scheme=theme, reduced_motion="reduce")
            await page.evaluate("document.fonts.ready")
            await settled(page)
            await accessible(page)
            if WRITTEN:
                FOLDER.mkdir(parents=True, exist_ok=True)
                path = FOLDER / f"{name}-{theme}-{screen}.png"
                await page.screenshot(path=path, full_page=full, animations="disabled", caret="hide")
    await page.emulate_media(color_scheme=None, reduced_motion=None)
    if before is not None:
        await page.set_viewport_size(before)
