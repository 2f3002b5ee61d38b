"""Round trips over a Redis of its own, with or without a signing key.

Prints one JSON object: requests answered in a second of the pump's processor time, three handler
runs each, and microseconds to seal and open one record.
"""

import argparse
import asyncio
import json
import time
from dataclasses import dataclass

from backends import BackendConfig
from backends.codec import Codec
from pipeline import HandlerMetadata, HandlerResponse, StreamPump
from pipeline.cli.servers import redis_at_hand
from pipeline.organism import Organism, Serialization

KEY = "a key of thirty-two bytes, or so"
#: Records sealed and opened to time one.
TIMES = 50_000


@dataclass
class Text:
    text: str


async def ask(payload: Text, metadata: HandlerMetadata) -> HandlerResponse:
    if metadata.from_id == "answer":
        return HandlerResponse.respond(payload)
    return HandlerResponse(payload, to="answer")


async def answer(payload: Text, metadata: HandlerMetadata) -> HandlerResponse:
    return HandlerResponse.respond(payload)


async def rate(url: str, keys: tuple[str, ...], requests: int, payload: Text) -> float:
    """Requests answered in a second of this process's processor time, 200 at a time.

    Not of the clock: all that signing adds is work of the pump's, and neighbours count less so.
    """
    config = BackendConfig("redis", redis_url=url)
    signed = Serialization(signing_key=keys)
    pump = StreamPump(Organism("signing", backend=config, serialization=signed))
    pump.register("ask", ask, Text)
    pump.register("answer", answer, Text)
    async with pump:
        await pump.request("ask", payload)
        started = time.process_time()
        for _ in range(requests // 200):
            await asyncio.gather(*(pump.request("ask", payload) for _ in range(200)))
        return requests / (time.process_time() - started)


def record_us(keys: tuple[str, ...], body: bytes) -> float:
    """Microseconds to seal one record and to open it."""
    codec = Codec(keys=keys, realm="xp:")
    started = time.process_time()
    for _ in range(TIMES):
        codec.open(codec.seal(body, "outcome", "id"), "outcome", "id")
    return (time.process_time() - started) / TIMES * 1e6


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--signed", action="store_true")
    parser.add_argument("--requests", type=int, default=4000)
    parser.add_argument("--payload-bytes", type=int, default=100)
    arguments = parser.parse_args()
    keys = (KEY,) if arguments.signed else ()
    payload = Text("x" * arguments.payload_bytes)
    with redis_at_hand() as at_hand:
        found = asyncio.run(rate(at_hand.url, keys, arguments.requests, payload))
    print(json.dumps({"requests_per_cpu_s": found, "record_us": record_us(keys, b"x" * 400)}))


if __name__ == "__main__":
    main()
