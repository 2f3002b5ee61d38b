"""A pump that asks what it is told to ask: lines in, lines out, until it is killed or stopped."""

import asyncio
import json
import logging
import signal
import sys
from typing import Any

from pipeline import StreamPump
from pipeline.errors import NoAnswerError
from tests.chaos.handlers import Ask


def _say(**line: Any) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def _answer(pump: StreamPump, order: dict[str, Any]) -> None:
    ask = Ask(order["number"], order.get("path", ""))
    try:
        told = await pump.request(order["to"], ask, message_id=order["id"])
    except NoAnswerError as exc:
        _say(id=order["id"], error=str(exc))
    else:
        _say(id=order["id"], number=told.number, run=told.run)


async def _serve(pump: StreamPump) -> None:
    """Ask what comes by stdin; ends with it, once all is answered."""
    assert pump._engine is not None
    mailbox: Any = pump._engine.mailbox
    _say(pump=mailbox.pump)
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with asyncio.TaskGroup() as group:
        while line := await reader.readline():
            group.create_task(_answer(pump, json.loads(line)))


async def _main(organism: str) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    async with StreamPump.from_file(organism) as pump:
        serving = asyncio.create_task(_serve(pump))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, serving.cancel)
        # Whoever asked asks another pump.
        await asyncio.wait([serving])
        if not serving.cancelled():
            serving.result()


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
