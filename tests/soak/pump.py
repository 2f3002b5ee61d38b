"""A pump that makes its own load: orders in, one line out for each that is done."""

import asyncio
import json
import logging
import sys
import time
from itertools import count
from typing import Any

from pipeline import StreamPump
from tests.soak.handlers import Load

#: Bytes of every payload, and requests one pump may have open.
FILLER, MOST_OPEN = "x" * 200, 500
#: Each request so much goes to a worker, the rest to a pump.
TO_PUMP_EVERY = 5
_TICK_S = 0.01


class Asker:
    """Asks as an order says; counts what is asked, answered, and answered wrongly."""

    def __init__(self, pump: StreamPump) -> None:
        self._pump = pump
        self._numbers = count()
        self.asked = self.answered = self.wrong = self.left_out = 0

    async def _ask(self) -> None:
        number = next(self._numbers)
        self.asked += 1
        to = "burn" if number % TO_PUMP_EVERY else "pass"
        told = await self._pump.request(to, Load(number, FILLER))
        self.answered += 1
        self.wrong += told.number != number

    async def at_once(self, requests: int, seconds: float) -> None:
        """Have so many requests open all the time."""
        ends_at = time.monotonic() + seconds

        async def go_on() -> None:
            while time.monotonic() < ends_at:
                await self._ask()

        await asyncio.gather(*(go_on() for _ in range(requests)))

    async def paced(self, rate: float, seconds: float) -> None:
        """Begin so many a second; what would be too many at once is left out."""
        started = time.monotonic()
        begun = 0
        running: set[asyncio.Task[None]] = set()
        while (elapsed := time.monotonic() - started) < seconds:
            due = int(rate * elapsed) - begun
            begun += due
            room = min(due, MOST_OPEN - len(running))
            self.left_out += due - room
            for _ in range(room):
                task = asyncio.create_task(self._ask())
                running.add(task)
                task.add_done_callback(running.discard)
            await asyncio.sleep(_TICK_S)
        await asyncio.gather(*running)

    async def flood(self, messages: int) -> None:
        """Inject so many as fast as they are taken, and wait until all have ended."""
        for number in range(messages):
            await self._pump.inject("burn", Load(number, FILLER))
            self.asked += 1
        await self._pump.join()


async def _obey(pump: StreamPump, order: dict[str, Any]) -> None:
    asker, started = Asker(pump), time.monotonic()
    if "rate" in order:
        await asker.paced(order["rate"], order["seconds"])
    elif "flood" in order:
        await asker.flood(order["flood"])
    else:
        await asker.at_once(order["open"], order["seconds"])
    _say(
        id=order["id"],
        asked=asker.asked,
        answered=asker.answered,
        wrong=asker.wrong,
        left_out=asker.left_out,
        seconds=time.monotonic() - started,
    )


def _say(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def _main(organism: str) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    async with StreamPump.from_file(organism) as pump:
        _say(pump="ready")
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            await _obey(pump, json.loads(line))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
