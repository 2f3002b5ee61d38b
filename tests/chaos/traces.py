"""What a request has left in the context buffer, against what one answer leaves there."""

from dataclasses import replace
from typing import Any

from backends import create_backend
from pipeline.context_buffer import ContextBuffer
from pipeline.organism import Organism
from pipeline.stations import codec_of, stations_of
from tests.chaos.handlers import SLOTS
from tests.chaos.report import Report


class Traces:
    """Reads conversations that have ended.

    Args:
        client, url: of the organism's Redis.
    """

    def __init__(self, organism: Organism, client: Any, url: str) -> None:
        self._client = client
        self._prefix = organism.backend.redis_prefix
        self._backend = create_backend(replace(organism.backend, redis_url=url))
        codec = codec_of(organism)
        stations_of(organism, codec)
        self._buffer = ContextBuffer(self._backend, codec)

    def check(self, request: str, kind: str, run: str | None, report: Report) -> None:
        """Count in *report* what is missing, and what is there twice.

        Args:
            request: the message id.
            kind: the listener that was asked.
            run: the run whose answer the caller was given; None if it was given none.
        """
        conversation = self._client.get(f"{self._prefix}n:{request}")
        if conversation is None:
            report.gaps += 1
            return
        name = conversation.decode()
        fields = self._client.hkeys(f"{self._prefix}v:{name}")
        threads = [field[1:].decode() for field in fields if field[:1] == b"t"]
        sizes = sorted(self._backend.buffer_thread_len(thread) for thread in threads)
        expected = SLOTS[kind]
        if sum(sizes) < sum(expected) or len(sizes) < len(expected):
            report.gaps += 1
        elif sizes != expected or (run is not None and self._answer_in(name) != run):
            report.doubled += 1

    def _answer_in(self, conversation: str) -> str:
        """The run whose answer is the last slot of a conversation's own thread."""
        run: str = self._buffer.get_thread(conversation)[-1].payload.run
        return run

    def close(self) -> None:
        """Close the connection."""
        self._backend.close()
