"""The Manager's server is killed under a running pump: whoever waits is told."""

import asyncio
from dataclasses import dataclass, replace

import pytest

from backends import BackendUnavailableError, ManagerBackend
from pipeline import (
    HandlerError,
    HandlerMetadata,
    HandlerResponse,
    NoAnswerError,
    Organism,
    StreamPump,
)


@dataclass
class Question:
    wants_answer: bool


@dataclass
class Answer: ...


@pytest.mark.parametrize("keep_closed", [0, 10])
async def test_no_request_waits_for_a_dead_store(keep_closed: int) -> None:
    """Neither the answer nor the end of a conversation does, nor who comes later."""
    gate, asked = asyncio.Event(), asyncio.Semaphore(0)

    async def slow(payload: Question, metadata: HandlerMetadata) -> HandlerResponse | None:
        asked.release()
        await gate.wait()
        return HandlerResponse.respond(Answer()) if payload.wants_answer else None

    owner = ManagerBackend()
    address = owner.info()["address"]
    assert owner._private is not None
    pump = StreamPump(Organism("test", backend=replace(owner.lend(), keep_closed=keep_closed)))
    pump.register("slow", slow, Question)
    async with asyncio.timeout(20), pump:
        requests = [
            asyncio.create_task(pump.request("slow", Question(wants))) for wants in (False, True)
        ]
        for _ in requests:
            await asked.acquire()
        owner._private._process.kill()
        gate.set()
        silent, refused = await asyncio.gather(*requests, return_exceptions=True)
        assert isinstance(silent, NoAnswerError)
        assert isinstance(refused, HandlerError)
        assert address in str(refused)
        await pump.join()
        with pytest.raises(BackendUnavailableError):
            await pump.inject("slow", Question(False))
    owner.close()
