"""A page in a real Chromium that remembers what went wrong in it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response

CHROMIUM = shutil.which("chromium") or "/usr/bin/chromium"
WITHOUT = f"{CHROMIUM} is missing; the page is tested in it: apt-get install chromium"
DESKTOP = (1400, 900)
PHONE = (360, 740)
CHECKS = (Path(__file__).parent / "checks.js").read_text().partition("\n")[2].strip()
VIEWS = ("flow", "meters", "alarms", "session", "configuration")
PATIENCE = 30_000
"""Milliseconds that a slow machine gets for what takes an instant elsewhere."""


def is_installed() -> bool:
    """Whether there is a Chromium."""
    return Path(CHROMIUM).is_file()


class Visit:
    """One reader with one page.

    :arg language, size, scheme: of the browser: its language, its window, light or dark.
    """

    def __init__(
        self, browser: Browser, address: str, language: str = "en", size: tuple[int, int] = DESKTOP, scheme: Any = "light", **settings: Any
    ) -> None:
        self.address = address
        self.problems: list[str] = []
        """Console errors, uncaught exceptions, requests that failed or were answered with an error."""
        self._context = browser.new_context(
            viewport={"width": size[0], "height": size[1]}, locale=language, color_scheme=scheme, timezone_id="UTC", **settings
        )
        self.page: Page = self._context.new_page()
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.problems.append(f"exception: {error}"))
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._answered)

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_: object) -> None:
        self._context.close()

    def go(self, hash_: str) -> Page:
        """Open a view by its address, as a link from elsewhere does, and wait for its heading."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.address}/{hash_}")
        self.page.wait_for_selector("main h1")
        return self.page

    def text(self, selector: str = "body") -> str:
        """What a reader sees there."""
        return self.page.inner_text(selector)

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"{message.type}: {message.text}")

    def _failed(self, request: Request) -> None:
        if "ERR_ABORTED" not in (request.failure or ""):  # a view that was left asks no further
            self.problems.append(f"failed: {request.url} {request.failure}")

    def _answered(self, response: Response) -> None:
        if response.status >= 400:
            self.problems.append(f"{response.status}: {response.url}")


def check(page: Page, name: str) -> Any:
    """What one of the functions of checks.js finds in the page as it is."""
    return page.evaluate(f"{CHECKS}.{name}()")
