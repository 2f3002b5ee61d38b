"""A pump that asks what it is told to ask: lines in, lines out, until it is killed."""

import asyncio
import json
import logging
import sys
from typing import Any

from pipeline import StreamPump
from tests.chaos.handlers import Ask


async def _answer(pump: StreamPump, order: dict[str, Any]) -> None:
    told = await pump.request(
        order["to"],
        Ask(order["number"]),
        message_id=order["id"],
        thread_id=None,
    )
    sys.stdout.write(json.dumps({"id": order["id"], "number": told.number}) + "\n")
    sys.stdout.flush()


async def _main(organism: str) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s")
    async with StreamPump.from_file(organism) as pump, asyncio.TaskGroup() as group:
        assert pump._engine is not None
        mailbox: Any = pump._engine.mailbox
        sys.stdout.write(json.dumps({"pump": mailbox.pump}) + "\n")
        sys.stdout.flush()
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            group.create_task(_answer(pump, json.loads(line)))


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
