"""A console beside a pump and a worker at work, and those who visit it."""

import asyncio
import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.acceptance.fleets import Command, started
from tests.fleet import write_organism
from tests.waiting import eventually

#: What must never leave Redis by way of the console.
SECRET = "planted-7c1d<script>alert(1)</script>"
SHOWN = "may-be-shown"

HANDLERS = """
import os, signal
from dataclasses import dataclass
from pathlib import Path

from pipeline import Gathered, HandlerResponse

HERE = Path(__file__).parent

@dataclass
class Ask:
    n: int
    secret: str
    shown: str

@dataclass
class Told:
    secret: str

def split(payload, metadata):
    if isinstance(payload, Gathered):
        return HandlerResponse.respond(Told(str(len(payload.results))))
    asks = [Ask(n, payload.secret, payload.shown) for n in range(payload.n)]
    return HandlerResponse.scatter(asks, to="work")

def work(payload, metadata):
    if payload.n == 1 and metadata.attempt == 1:
        raise RuntimeError(payload.secret)
    if payload.n == 2:
        raise ValueError(payload.secret)
    return HandlerResponse.respond(Told(payload.secret))

def deadly(payload, metadata):
    if not (HERE / "mended").exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return HandlerResponse.respond(Told(payload.secret))
"""


def write_asks(folder: Path, url: str, prefix: str, **sections: Mapping[str, Any]) -> Path:
    """The organism's file; its handlers beside it."""
    (folder / "asks.py").write_text(HANDLERS)
    listeners = [
        {
            "name": name,
            "payload_class": "asks.Ask",
            "handler": f"asks.{name}",
            "cpu_bound": name != "split",
            "retries": 1 if name == "work" else 0,
            "backoff_s": 0.01,
        }
        for name in ("split", "work", "deadly")
    ]
    return write_organism(folder / "organism.yaml", url, prefix, listeners, **sections)


@dataclass
class Visitor:
    """Asks a console over HTTP."""

    url: str
    token: str = ""

    def ask(
        self,
        path: str,
        body: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        method: str | None = None,
        **query: Any,
    ) -> tuple[int, str, Any]:
        """Status, text and headers of an answer."""
        told = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        if body is not None:
            told |= {"X-Pump-Console": "1", "Content-Type": "application/json"}
        request = urllib.request.Request(  # noqa: S310 - loopback
            f"{self.url}{path}?{urlencode(query)}",
            data=None if body is None else json.dumps(body).encode(),
            headers={**told, **(headers or {})},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - loopback
                return answer.status, answer.read().decode(), answer.headers
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, exc.read().decode(), exc.headers

    def get(self, path: str, **query: Any) -> Any:
        """What is answered."""
        status, text, _ = self.ask(f"/api/{path}", **query)
        assert status == 200, text
        return json.loads(text)

    def do(self, what: str, letter: str) -> int:
        """Replay or drop; the status."""
        return self.ask(f"/api/letters/{what}", {"letter": letter})[0]

    def sections(self, wanted: set[str]) -> dict[str, Any]:
        """The first of each of these sections that the stream tells."""
        found: dict[str, Any] = {}
        headers = {"Authorization": f"Bearer {self.token}"}
        request = urllib.request.Request(f"{self.url}/api/events", headers=headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - loopback
            name = ""
            while wanted - set(found):
                kind, _, text = answer.readline().decode().rstrip("\n").partition(": ")
                if kind == "event":
                    name = text
                elif kind == "data":
                    found.setdefault(name, json.loads(text))
        return found


@contextmanager
def running_console(folder: Path, *options: str, token: str = "") -> Iterator[Visitor]:
    """A console on a free port, and somebody who has its URL."""
    asked = ("console", "organism.yaml", "--port", "0", *options)
    with started(folder, *asked, PUMP_CONSOLE_TOKEN=token) as it:
        assert it.says("Ctrl-C ends it"), it.log
        yield visitor_of(it, token)


def visitor_of(console: Command, token: str = "") -> Visitor:
    """Somebody who has read what it has printed.

    Args:
        token: that was set; it is not printed.
    """
    found = re.search(r"console: (\S+)/(?:#token=(\S+))?\n", console.log)
    assert found, console.log
    assert bool(found[2]) != bool(token)
    assert not token or token not in console.log
    return Visitor(found[1], token or found[2])


@dataclass
class Scene:
    """An organism at work with a console beside it."""

    folder: Path
    console: Visitor

    def client(self, action: Callable[[Any, Any], Coroutine[Any, Any, Any]]) -> Any:
        """What *action* returns, called with a client of the organism and its payload class."""
        from pipeline import StreamPump, load_organism  # noqa: PLC0415 - after the module is there

        async def run() -> Any:
            organism = load_organism(self.folder / "organism.yaml")
            async with StreamPump(organism, is_client=True) as pump:
                return await action(pump, organism.listeners[0].payload_class)

        return elsewhere(lambda: asyncio.run(run()))

    def ask(self, to: str, n: int) -> str:
        """Send one message; its conversation."""

        async def send(pump: Any, payload_class: Any) -> str:
            thread: str = await pump.inject(to, payload_class(n, SECRET, SHOWN))
            return thread

        return str(self.client(send))


def elsewhere(action: Callable[[], Any]) -> Any:
    """Run *action* in a thread: a browser that is driven holds this one's event loop."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(action()))
    thread.start()
    thread.join(60)
    assert found, "it did not end"
    return found[0]


@contextmanager
def running_scene(folder: Path, url: str, prefix: str) -> Iterator[Scene]:
    """A pump, a worker and a console, ready."""
    write_asks(folder, url, prefix, celery={"max_attempts": 1})
    with ExitStack() as stack:
        served = stack.enter_context(started(folder, "run", "organism.yaml"))
        options = ("organism.yaml", "--concurrency", "2")
        worker = stack.enter_context(started(folder, "worker", *options))
        console = stack.enter_context(running_console(folder, "--show-field", "Ask.shown"))
        assert served.says("Ctrl-C ends it"), served.log
        assert worker.says(" ready."), worker.log
        yield Scene(folder, console)


def ended(scene: Scene, conversation: str) -> Any:
    """A conversation, once it has ended."""
    found: dict[str, Any] = {}

    def has_ended() -> bool:
        found.update(scene.console.get("conversation", id=conversation))
        return bool(found["row"]["state"] != "open")

    assert eventually(has_ended, timeout_s=30), found
    return found


def letter_of(scene: Scene, conversation: str) -> str:
    """The dead letter of a conversation that has one."""
    letters = scene.console.get("letters", limit=200)["rows"]
    (letter,) = (each["id"] for each in letters if each["conversation"] == conversation)
    return str(letter)
