"""xml-pipeline's pump on the two-hop organism; runs in a venv of its own.

Prints one JSON object: hops a second over `--messages` messages of two hops each.
"""

import argparse
import asyncio
import importlib.metadata
import json
import time
from dataclasses import dataclass
from typing import Any

from third_party.xmlable import xmlify
from xml_pipeline.message_bus.message_state import HandlerResponse
from xml_pipeline.message_bus.stream_pump import ListenerConfig, OrganismConfig, StreamPump

HOPS = 2


@xmlify
@dataclass
class Greeting:
    name: str


@xmlify
@dataclass
class Shout:
    text: str


async def run(messages: int) -> float:
    """Seconds from the first message in to the last hop done."""
    done = asyncio.Event()
    count = 0

    async def greet(payload: Any, metadata: Any) -> Any:
        return HandlerResponse(payload=Shout(text=f"hello {payload.name}"), to="shouter")

    async def shout(payload: Any, metadata: Any) -> None:
        nonlocal count
        count += 1
        if count == messages:
            done.set()

    pump = StreamPump(OrganismConfig(name="two-hops"))
    for name, payload_class, handler in (("greeter", Greeting, greet), ("shouter", Shout, shout)):
        path = f"{payload_class.__module__}.{payload_class.__name__}"
        config = ListenerConfig(name, path, name, name)
        config.payload_class, config.handler = payload_class, handler
        pump.register_listener(config)
    running = asyncio.create_task(pump.run())
    started = time.perf_counter()
    for number in range(messages):
        envelope = pump._wrap_in_envelope(
            Greeting(name=str(number)), "external", "greeter", _uuid(number)
        )
        await pump.inject(envelope, thread_id=_uuid(number), from_id="external")
    await done.wait()
    elapsed = time.perf_counter() - started
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    return elapsed


def _uuid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=1_500)
    messages = parser.parse_args().messages
    elapsed = asyncio.run(run(messages))
    version = importlib.metadata.version("xml-pipeline")
    print(json.dumps({"hops_per_s": HOPS * messages / elapsed, "version": version}))


if __name__ == "__main__":
    main()
