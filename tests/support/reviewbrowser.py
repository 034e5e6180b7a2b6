"""The review page served for a real browser, and the browser: Debian's Chromium."""

from __future__ import annotations

import asyncio
import base64
import shutil
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from reviewing import review_desk
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from runtime.review.web.roles import Role
from runtime.review.web.serve import Door, serve
from runtime.review.web.tokens import TokenBook
from toolstore.models import ToolVersion
from toolstore.store import ToolStore

T = TypeVar("T")

CHROMIUM: Final = shutil.which("chromium")
DRIVER: Final = shutil.which("chromedriver")
_START_SECONDS: Final = 180.0

Sample = Callable[[ToolStore], Coroutine[Any, Any, ToolVersion]]


class Server:
    """The real server in a thread of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._book = TokenBook(folder / "review" / "tokens.json", cost=2)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.address = ""
        self.store: ToolStore

    def _run(self) -> None:
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        async with review_desk(self._folder / "store", keys=self._folder / "keys") as (desk, store):
            self.store = store
            self._task = asyncio.ensure_future(
                serve(
                    desk,
                    door=Door("127.0.0.1", 0),
                    book=self._book,
                    head=store.head,
                    on_ready=self._heard,
                )
            )
            try:
                await self._task
            except asyncio.CancelledError:
                return

    def _heard(self, address: str) -> None:
        self.address = address
        self._ready.set()

    def token(self, name: str) -> str:
        """A new token."""
        from datetime import UTC, datetime  # noqa: PLC0415 - the one use

        _, secret = self._book.add(name, role=Role.REVIEWER, at=datetime.now(UTC))
        return secret

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Work on the store, in its own loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(_START_SECONDS)

    def add(self, sample: Sample) -> ToolVersion:
        """Let a sample wait."""
        return self.run(sample(self.store))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(_START_SECONDS)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(_START_SECONDS)


@contextmanager
def chromium() -> Iterator[webdriver.Chrome]:
    """A browser without a window."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        "--headless=new",
        "--no-sandbox",  # tests run as root in containers; it sees our own pages alone
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, Service(str(DRIVER)))
    try:
        yield browser
    finally:
        browser.quit()


def resize(browser: webdriver.Chrome, width: int, height: int, *, dark: bool = False) -> None:
    """The size of what is seen, and the colours that are wished for."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False},
    )
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def picture(browser: webdriver.Chrome, path: Path) -> None:
    """What is seen, as a PNG."""
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})
    path.write_bytes(base64.b64decode(shot["data"]))
