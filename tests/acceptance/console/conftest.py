"""One organism at work with its console, and a browser, for every test of this folder."""

import re
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import pytest
import redis
from playwright.sync_api import Browser, Page, sync_playwright

from tests.acceptance.consoles import Scene, running_scene
from tests.servers import RedisServer, require_chromium

#: What a browser says by itself when it is not let in, nothing is kept, or Redis is away; tests ask
#: for all three.
_REFUSED = re.compile("responded with a status of (401|404|503)")


@pytest.fixture(scope="package")
def scene(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Tests look at what they have sent themselves."""
    prefix = f"test-{uuid4().hex}:"
    with running_scene(tmp_path_factory.mktemp("console"), redis_server.url, prefix) as running:
        yield running
    with redis.Redis.from_url(redis_server.url) as client:
        for pattern in (f"{prefix}*", f"celery.{prefix}*"):
            for key in client.scan_iter(match=pattern, count=1000):
                client.delete(key)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's own Chromium, without a window."""
    program = require_chromium()
    with sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Opens pages, each of a visitor of its own; whatever they complain of fails the test."""
    contexts = []
    complaints: list[str] = []

    def note(text: str) -> None:
        if not _REFUSED.search(text):
            complaints.append(text)

    def opened(**options: Any) -> Page:
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda said: note(said.text))
        page.on("pageerror", lambda error: note(str(error)))
        return page

    yield opened
    for context in contexts:
        context.close()
    assert not complaints
