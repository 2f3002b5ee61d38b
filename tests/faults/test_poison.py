"""A handler that kills its worker: counted, set aside, and mended."""

import asyncio
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import redis

from backends.errors import LetterNotFoundError
from backends.redis.archive import Archive
from pipeline import HandlerError, StreamPump
from pipeline.organism_file import load_organism
from pipeline.stations import codec_of, stations_of
from tests.faults.fault_handlers import Dose, Survived
from tests.fleet import running_worker, write_organism
from tests.servers import RedisServer

HANDLERS = "tests.faults.fault_handlers"
NEIGHBOURS = 1000


@pytest.fixture
def organism_file(
    redis_server: RedisServer, redis_client: redis.Redis, tmp_path: Path
) -> Iterator[Path]:
    prefix = f"test-{uuid4().hex}:"
    listener = {
        "name": "swallow",
        "handler": f"{HANDLERS}.swallow",
        "payload_class": f"{HANDLERS}.Dose",
        "cpu_bound": True,
    }
    yield write_organism(tmp_path / "organism.yaml", redis_server.url, prefix, [listener])
    for pattern in (f"{prefix}*", f"celery.{prefix}*"):
        for key in redis_client.scan_iter(match=pattern, count=1000):
            redis_client.delete(key)


async def test_poison_is_set_aside_and_its_neighbours_finish(
    organism_file: Path, tmp_path: Path
) -> None:
    """Run as often as allowed, then a dead letter with its history; replayed when mended."""
    poison = tmp_path / "poison"
    poison.touch()
    organism = load_organism(organism_file)
    with running_worker(organism_file):
        async with StreamPump(organism) as pump:
            await asyncio.gather(*(pump.request("swallow", Dose(n)) for n in range(20)))
            doses = [Dose(n) for n in range(NEIGHBOURS)]
            doses.insert(NEIGHBOURS // 2, Dose(-1, str(poison)))
            answers = await asyncio.gather(
                *(pump.request("swallow", dose, timeout_s=60) for dose in doses),
                return_exceptions=True,
            )
            failed = answers.pop(NEIGHBOURS // 2)
            assert answers == [Survived(n) for n in range(NEIGHBOURS)]
            assert isinstance(failed, HandlerError)
            assert failed.code == "worker_lost"

            codec = codec_of(organism)
            stations_of(organism, codec)
            archive = Archive(organism.backend, codec)
            ((letter_id, letter),) = archive.letters(10)
            assert letter is not None
            assert letter.code == "worker_lost"
            assert len(letter.history) == organism.celery.max_attempts
            assert len({process for process, _ in letter.history}) == len(letter.history)
            assert {process.partition(" ")[2] for process, _ in letter.history} == {"SIGKILL"}
            conversation = letter.envelope.conversation
            before = len(pump.buffer.get_thread(conversation))

            poison.unlink()
            assert archive.replay(letter_id) == conversation
            with pytest.raises(LetterNotFoundError):
                archive.replay(letter_id)
            async with asyncio.timeout(20):
                while archive.conversations(1)[0].is_open:
                    await asyncio.sleep(0.02)
            after = [slot.payload for slot in pump.buffer.get_thread(conversation)]
            assert len(after) == before + 1
            assert after[-1] == Survived(-1)
            assert archive.letters(10) == []
            archive.close()


async def test_how_each_process_ended_is_told(organism_file: Path, tmp_path: Path) -> None:
    """With the death, where it ran and by which status; so in the error and the worker's log."""
    poison = tmp_path / "poison"
    poison.touch()
    organism = load_organism(organism_file)
    with running_worker(organism_file) as worker:
        async with StreamPump(organism) as pump:
            with pytest.raises(HandlerError, match=r"killed its worker 3 times \(exit status 3\)"):
                await pump.request("swallow", Dose(1, str(poison), status=3), timeout_s=60)
    with Archive(organism.backend, codec_of(organism)) as archive:
        ((_, letter),) = archive.letters(10)
    assert letter is not None
    assert letter.reason.endswith("(exit status 3)")
    here = re.escape(socket.gethostname())
    for process, _ in letter.history:
        assert re.fullmatch(rf"{here}:\d+ exit status 3", process)
        assert process in worker.log
