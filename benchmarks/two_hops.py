"""The memory pump on the two-hop organism: one message in, two handlers run.

Prints one JSON object: hops a second over `--messages` messages.
"""

import argparse
import asyncio
import json
import time
from dataclasses import dataclass

from pipeline import HandlerMetadata, HandlerResponse, StreamPump

HOPS = 2


@dataclass
class Greeting:
    name: str


@dataclass
class Shout:
    text: str


async def greet(payload: Greeting, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse(Shout(f"hello {payload.name}"), to="shouter")


async def shout(payload: Shout, metadata: HandlerMetadata) -> None:
    return None


async def run(messages: int) -> float:
    """Seconds from the first message in to the last hop done."""
    pump = StreamPump(name="two-hops")
    pump.register("greeter", greet, Greeting)
    pump.register("shouter", shout, Shout)
    async with pump:
        started = time.perf_counter()
        for number in range(messages):
            await pump.inject("greeter", Greeting(str(number)))
        await pump.join()
        return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--messages", type=int, default=20_000)
    messages = parser.parse_args().messages
    print(json.dumps({"hops_per_s": HOPS * messages / asyncio.run(run(messages))}))


if __name__ == "__main__":
    main()
