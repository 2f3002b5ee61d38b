"""The console's page in a browser: live, by keyboard alone, in light and dark, with Redis away."""

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.acceptance.consoles import Scene, elsewhere, ended, visitor_of, write_asks
from tests.acceptance.fleets import started
from tests.servers import DurableRedis

Open = Callable[..., Page]

#: In each scheme: what axe is to look for, all of it where nothing is said; the page's background.
SCHEMES: dict[Literal["light", "dark"], tuple[dict[str, list[str]], str]] = {
    "light": ({}, "rgb(255, 255, 255)"),
    "dark": ({"runOnly": ["color-contrast"]}, "rgb(16, 19, 24)"),
}
#: Keys that a walk may take before it has failed.
MOST_KEYS = 60


def enter(page: Page, scene: Scene, view: str = "conversations") -> Page:
    page.goto(f"{scene.console.url}/#token={scene.console.token}")
    expect(page.get_by_role("heading", name="Conversations")).to_be_visible()
    assert scene.console.token not in page.url
    if view != "conversations":
        page.goto(f"{scene.console.url}/#/{view}")
    return page


def walk_to(page: Page, name: str) -> None:
    """Press Tab until what has the focus is called so."""
    for _ in range(MOST_KEYS):
        page.keyboard.press("Tab")
        focused = page.evaluate(
            "(document.activeElement.ariaLabel || document.activeElement.textContent).trim()"
        )
        if focused.startswith(name):
            return
    pytest.fail(f"no Tab leads to {name!r}")


def test_conversations_arrive_and_open(scene: Scene, open_page: Open) -> None:
    """Without a reload; one shows who ran where and who called whom, and fields without values."""
    page = enter(open_page(), scene)
    conversation = elsewhere(lambda: scene.ask("split", 3))
    page.get_by_role("link", name=conversation).click()
    expect(page.get_by_role("heading", name=conversation)).to_be_visible()
    waterfall = page.get_by_role("table", name="Runs of handlers")
    expect(waterfall.get_by_role("row")).to_have_count(6)
    expect(waterfall.locator(".run.failed")).to_have_count(1)
    graph = page.get_by_role("img", name="3 listeners and the calls between them")
    expect(graph.locator(".node")).to_have_count(3)
    for run in waterfall.get_by_role("button", name="work").all():
        run.click()
    expect(waterfall.get_by_text(re.compile(r"raised ValueError at asks\.py:\d+"))).to_be_visible()
    messages = page.get_by_role("table", name="Messages of this thread")
    expect(messages.get_by_text("secret text, 37 characters")).to_have_count(3)
    assert "planted" not in page.content()


def test_a_hostile_id_is_text(scene: Scene, open_page: Open) -> None:
    """Whatever stands in it, and in the address."""
    hostile = "<img src=x onerror=alert(1)>/../&#?%41 \"'"

    async def send(pump: Any, payload_class: Any) -> None:
        await pump.inject("split", payload_class(1, "", ""), thread_id=hostile)

    elsewhere(lambda: scene.client(send))
    page = enter(open_page(), scene)
    page.get_by_role("link", name=hostile).click()
    expect(page.get_by_role("heading", name=hostile)).to_be_visible()
    expect(page.get_by_role("table", name="Runs of handlers").get_by_role("row")).to_have_count(4)
    assert page.locator("img").count() == 0


def test_an_address_that_nobody_has_encoded(scene: Scene, open_page: Open) -> None:
    """Is taken as it stands; one that leads nowhere leads to the conversations."""
    page = enter(open_page(), scene, "conversation/100%")
    expect(page.get_by_role("heading", name="100%")).to_be_visible()
    page.goto(f"{scene.console.url}/#/constructor")
    expect(page.get_by_role("heading", name="Conversations")).to_be_visible()


def test_letters_by_keyboard_alone(scene: Scene, open_page: Open) -> None:
    """From the address bar to a replay and a drop, and the page says what it did."""
    first, second = scene_letters(scene)
    page = enter(open_page(), scene)
    walk_to(page, "Dead letters")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Dead letters")).to_be_focused()
    (scene.folder / "mended").touch()
    try:
        walk_to(page, f"Replay the letter to deadly, {first}")
        page.keyboard.press("Enter")
        expect(page.get_by_role("status").filter(has_text="Replayed: deadly")).to_be_attached()
        expect(
            page.get_by_role("button", name=f"Replay the letter to deadly, {first}")
        ).to_be_hidden()
    finally:
        (scene.folder / "mended").unlink()
    drop = page.get_by_role("button", name=f"Drop the letter to deadly, {second}")
    walk_to(page, f"Drop the letter to deadly, {second}")
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name="Drop this letter?")
    expect(dialog.get_by_role("button", name="Keep it")).to_be_focused()
    page.keyboard.press("Escape")
    expect(drop).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").filter(has_text="Dropped")).to_be_attached()
    expect(drop).to_be_hidden()


def scene_letters(scene: Scene) -> list[str]:
    """Two new dead letters."""

    def both() -> list[str]:
        asked = [scene.ask("deadly", n) for n in range(2)]
        return [str(ended(scene, each)["letters"][0]["id"]) for each in asked]

    found: list[str] = elsewhere(both)
    return found


def test_it_can_be_read_by_all(scene: Scene, open_page: Open) -> None:
    """No finding of axe's in any view, nor of contrast in the dark; none is wider than a phone."""
    conversation = elsewhere(lambda: scene.ask("split", 3))
    scene_letters(scene)
    page = enter(open_page(viewport={"width": 400, "height": 800}), scene)
    axe = Axe()
    for view in ("conversations", f"conversation/{conversation}", "letters", "listeners", "fleet"):
        page.goto(f"{scene.console.url}/#/{view}")
        expect(page.locator("main tbody tr").first).to_be_visible()
        for scheme, (rules, back) in SCHEMES.items():
            page.emulate_media(color_scheme=scheme)
            shown = page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
            assert shown == back
            found = axe.run(page, options=rules)
            assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth") <= 400


def test_the_door(scene: Scene, open_page: Open) -> None:
    """Without a token it asks for one, says that it is wrong, and lets in with the right one."""
    page = open_page()
    page.goto(f"{scene.console.url}/")
    page.get_by_label("Token").fill("not this one")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert").filter(has_text="is not the token")).to_be_visible()
    page.get_by_label("Token").fill(scene.console.token)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Conversations")).to_be_visible()


def test_redis_comes_back(open_page: Open, tmp_path: Path) -> None:
    """Meanwhile the page says so, and goes on by itself; an interrupt ends the console with 0."""
    server = DurableRedis(tmp_path)
    server.start()
    try:
        write_asks(tmp_path, server.url, "away:")
        with started(tmp_path, "console", "organism.yaml", "--port", "0") as command:
            assert command.says("Ctrl-C ends it"), command.log
            visitor = visitor_of(command)
            scene = Scene(tmp_path, visitor)
            page = enter(open_page(), scene)
            expect(page.get_by_text("No conversation is open or kept.")).to_be_visible()
            server.kill()
            expect(page.get_by_role("alert").filter(has_text="does not answer")).to_be_visible()
            assert visitor.ask("/api/letters")[0] == 503
            server.start()
            expect(page.get_by_text("live", exact=True)).to_be_visible()
            expect(page.get_by_role("alert")).to_be_hidden()
            assert visitor.ask("/api/letters")[0] == 200
            os.kill(command.process.pid, signal.SIGTERM)
            assert command.process.wait(10) == 0
            # The token is told once, and nowhere else.
            assert command.log.count(visitor.token) == 1
    finally:
        server.kill()
