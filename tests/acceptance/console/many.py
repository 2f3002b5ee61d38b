"""The console over ten thousand conversations: `python -m tests.acceptance.console.many`.

Prints how long the page takes to its first list and to others, the longest task of its script
while conversations go on coming, and what the server takes to answer. Needs Chromium.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import redis
from playwright.sync_api import Page, sync_playwright

from backends.codec import Codec
from backends.mailbox import Answer, Hop
from backends.redis.records import Records
from tests.acceptance.consoles import Visitor, running_console, write_asks
from tests.servers import chromium_command, running_redis

OPEN, ENDED, HOPS = 5_000, 5_000, 8
PREFIX = "many:"
#: Seconds the page is watched while a hundred conversations a second open and end.
WATCHED_S = 15
_WATCH = """
window.longest = 0;
window.tasks = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    window.longest = Math.max(window.longest, entry.duration);
    window.tasks += 1;
  }
}).observe({ type: "longtask", buffered: true });
"""


class Crowd:
    """Writes conversations as pumps would leave them."""

    def __init__(self, client: redis.Redis) -> None:
        self._client, self._records = client, Records(Codec())
        self._number = 0

    def add(self, count: int, *, are_open: bool) -> None:
        """So many more, begun now."""
        pipeline = self._client.pipeline(transaction=False)
        for _ in range(count):
            self._number += 1
            name = f"conversation-{self._number:06}"
            pipeline.hset(f"{PREFIX}v:{name}", mapping=self._fields(name, are_open=are_open))
            index = "i:open" if are_open else "i:closed"
            pipeline.zadd(f"{PREFIX}{index}", {name: int(time.time() * 1000)})
        pipeline.hincrby(f"{PREFIX}l:counts", "hops", count * HOPS)
        pipeline.execute()

    def server(self) -> dict[str, Any]:
        """What the server tells of itself."""
        told: dict[str, Any] = self._client.info("everything")
        return told

    def _fields(self, name: str, *, are_open: bool) -> dict[Any, Any]:
        now = time.time()
        hops = (
            Hop(
                f"{name}.{place}",
                f"listener{place}",
                "external",
                f"{name}-{place}",
                f"@{name}.external.{'.'.join(f'listener{step}' for step in range(place + 1))}",
                "asks.Ask",
                "host:1234",
                1,
                now + place * 0.01,
                0.008,
                "raised" if place == HOPS - 1 and self._number % 10 == 0 else "",
            )
            for place in range(HOPS)
        )
        fields: dict[Any, Any] = {f"h{hop.id}": self._records.hop(hop.id, hop) for hop in hops}
        fields |= {f"t{name}-{place}": b"" for place in range(HOPS)}
        if not are_open:
            answer = self._records.answer(name, Answer(is_error=False, payload=b"x" * 100))
            fields[f"r{name}"] = answer
        return fields


def main() -> int:
    """Measure, and print; 1 where there is no browser."""
    if chromium_command() is None:
        print("no chromium here", file=sys.stderr)  # noqa: T201 - a command's output
        return 1
    with tempfile.TemporaryDirectory() as name, running_redis() as server:
        folder = Path(name)
        write_asks(folder, server.url, PREFIX, backend={"keep_closed": 100_000})
        crowd = Crowd(server.client())
        crowd.add(ENDED, are_open=False)
        crowd.add(OPEN, are_open=True)
        with running_console(folder) as visitor:
            for line in (*asked(visitor), *seen(visitor, crowd)):
                print(line)  # noqa: T201 - a command's output
    return 0


def asked(visitor: Visitor) -> Iterator[str]:
    """What the server takes."""
    questions: dict[str, dict[str, Any]] = {
        "first page": {},
        "page 150": {"offset": 7500},
        "failed ones, first look": {"state": "failed"},
        "by listener, first page": {"q": "listener3"},
    }
    for what, query in questions.items():
        took = []
        for _ in range(10):
            began = time.perf_counter()
            visitor.get("conversations", limit=50, **query)
            took.append(time.perf_counter() - began)
        first, rest = took[0] * 1000, statistics.median(took[1:]) * 1000
        yield f"server, {what}: {first:.0f} ms, then {rest:.0f} ms"


def seen(visitor: Visitor, crowd: Crowd) -> Iterator[str]:
    """What the page takes."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium_command(), args=["--no-sandbox"])
        page = browser.new_page()
        page.add_init_script(_WATCH)
        page.goto(f"{visitor.url}/#token={visitor.token}")
        rows = page.locator("main tbody tr")
        rows.nth(49).wait_for()
        began = page.evaluate("performance.now()")
        yield f"page, first list of {OPEN + ENDED:,} conversations: {began:.0f} ms"
        for what, act in {
            "older page": lambda: page.get_by_role("button", name="Older").click(),
            "ended ones": lambda: page.get_by_label("State").select_option("ended"),
            "find one": lambda: page.get_by_label("Find").fill("conversation-000042"),
        }.items():
            yield f"page, {what}: {_changed(page, act):.0f} ms"
        page.get_by_label("Find").fill("")
        page.get_by_label("State").select_option("all")
        rows.nth(49).wait_for()
        yield f"page, open and quiet: {_load(crowd, page)}"
        with _busy(crowd):
            page.wait_for_timeout(WATCHED_S * 1000)
        longest, tasks = page.evaluate("[window.longest, window.tasks]")
        yield f"page, longest task: {longest:.0f} ms ({tasks} of 50 ms or more)"
        browser.close()


def _load(crowd: Crowd, page: Page) -> str:
    """What one open page costs Redis."""
    before, began = crowd.server(), time.monotonic()
    page.wait_for_timeout(5000)
    after, took = crowd.server(), time.monotonic() - began
    commands = (after["total_commands_processed"] - before["total_commands_processed"]) / took
    spent = sum(after[name] - before[name] for name in ("used_cpu_user", "used_cpu_sys")) / took
    return f"{commands:.0f} commands and {spent * 1000:.1f} ms of Redis's processor a second"


def _changed(page: Page, act: Callable[[], object]) -> float:
    """Milliseconds until the list is another one."""
    first = page.locator("main tbody tr a").first
    before = first.inner_text()
    began = time.perf_counter()
    act()
    page.wait_for_function(
        "before => { const a = document.querySelector('main tbody tr a');"
        " return a && a.textContent !== before; }",
        arg=before,
    )
    return (time.perf_counter() - began) * 1000


@contextmanager
def _busy(crowd: Crowd) -> Iterator[None]:
    """Conversations come and go."""
    is_over = False

    def come_and_go() -> None:
        while not is_over:
            crowd.add(5, are_open=True)
            crowd.add(5, are_open=False)
            time.sleep(0.1)

    with ThreadPoolExecutor(1) as pool:
        ended = pool.submit(come_and_go)
        try:
            yield
        finally:
            is_over = True
        ended.result()


if __name__ == "__main__":
    sys.exit(main())
