"""Runs handlers on Celery workers: for a pump, and for whoever awaits a single call."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from functools import partial
from threading import Event
from typing import TYPE_CHECKING
from uuid import uuid4

from backends.codec import Codec
from backends.mailbox import Envelope, TaskMessage
from backends.redis.ledger import LedgerClient
from backends.redis.records import Dispatch
from pipeline.errors import ConfigError, PipelineError, PumpStoppedError
from pipeline.executors.registry import ExecutorSetup
from pipeline.organism import Organism
from pipeline.settling import outcome_of
from pipeline.station import Station
from pipeline.stations import stations_of
from pipeline.worker import Call, Outcome
from tasks.application import create_app
from tasks.outcomes import OutcomeReader
from tasks.publisher import Publisher

if TYPE_CHECKING:
    from pipeline.spans import Spans


class CeleryExecutor:
    """An `Executor` whose workers are anywhere; a pump's hops reach it by the ledger.

    However many calls wait, it uses one thread and three connections for a pump: to the ledger, and
    two to the broker, for messages and for monitors. Single calls take two of each besides: to read
    outcomes, and to keep a lease.
    """

    #: The window is the ledger's to keep.
    places = None

    def __init__(self, organism: Organism, codec: Codec, spans: "Spans | None" = None) -> None:
        if organism.backend.backend_type != "redis":
            raise ConfigError("executor 'celery' needs backend.type: redis")
        self._organism = organism
        self._codec = codec
        self._publisher: Publisher | None = None
        self._reader: OutcomeReader | None = None
        self._starting: asyncio.Task[None] | None = None
        self._stopping: asyncio.Task[None] | None = None
        #: Held while it starts.
        self._changing = asyncio.Lock()
        self._stations: dict[str, Station] = {}
        self._spans = spans
        self._batch_sizes: Counter[int] = Counter()
        #: How many the ledger has sent, each by itself.
        self._sent_alone = 0

    @property
    def batch_sizes(self) -> Mapping[int, int]:
        """How many messages were sent, by how many dispatches each carried."""
        # Copied in one step: the publisher's thread goes on counting.
        sizes = self._batch_sizes.copy()
        sizes[1] += self._sent_alone
        return sizes

    async def start(self) -> None:
        """Begin to publish."""
        async with self._changing:
            if self._publisher is not None:
                return
            app = await asyncio.to_thread(create_app, self._organism)
            is_stopping = Event()
            ledger = self._ledger(is_stopping)
            self._publisher = Publisher(
                app, self._organism, ledger, is_stopping, sizes=self._batch_sizes
            )
            self._publisher.start()

    def wake(self) -> None:
        """There may be dispatches to publish. Safe from any thread."""
        if self._publisher is not None:
            self._publisher.wake()

    def message_for(self, listener: str, dispatch_id: str) -> TaskMessage | None:
        """What carries a dispatch, where the ledger's Redis is the broker as well."""
        publisher = self._publisher
        return None if publisher is None else publisher.message_for(listener, dispatch_id)

    def was_sent(self, listener: str, dispatch_id: str) -> None:
        """The ledger has sent it."""
        self._sent_alone += 1
        if self._publisher is not None:
            self._publisher.tell_of(listener, dispatch_id)

    def observe(self, listener: str, duration_s: float) -> None:
        """A handler ran for so long."""
        if self._publisher is not None:
            self._publisher.pace.observe(listener, duration_s)

    async def run(self, call: Call) -> Outcome:
        """Run one handler on whichever worker is free, outside any conversation.

        The worker takes the handler and its limits from its own organism, by *call*'s listener.
        What Redis has lost of a call is sent again, so its handler may run once more.

        Raises:
            PipelineError: the executor does not run.
            ValueError: *call* can't be encoded.
            NoAnswerError: Redis has lost it `celery.max_attempts` times.
            PumpStoppedError: the executor was stopped before the call had ended.
            BackendUnavailableError: it is the first call, and Redis does not answer.
        """
        if self._publisher is None:
            raise PipelineError("executor 'celery' does not run; await start() first")
        reader = await self._reading()
        if reader is not self._reader:
            raise PumpStoppedError("executor 'celery' was stopped meanwhile")
        station = self._station(call.listener)
        dispatch_id = uuid4().hex
        metadata = call.metadata
        envelope = Envelope(
            dispatch_id,
            conversation=metadata.thread_id,
            scope="",
            chain="",
            thread_id=metadata.thread_id,
            to=call.listener,
            from_id=metadata.from_id,
            payload=call.payload,
            attempt=metadata.attempt,
            trace=None if self._spans is None else self._spans.current(),
        )
        dispatch = Dispatch(envelope, station.fingerprint)
        record = partial(self._publisher.record, dispatch_id, dispatch, reader.stream)
        returned = await reader.expect(dispatch_id, call.listener, record)
        outcome = outcome_of(returned, station)
        self.observe(call.listener, outcome.duration_s)
        return outcome

    async def stop(self) -> None:
        """Publish and read no more; what workers run they finish.

        Cancelled, it still goes to its end.
        """
        reader, self._reader = self._reader, None
        publisher, self._publisher = self._publisher, None
        self._stopping = asyncio.create_task(self._stop(publisher, reader))
        await asyncio.shield(self._stopping)

    async def _stop(self, publisher: Publisher | None, reader: OutcomeReader | None) -> None:
        if publisher is not None:
            await asyncio.to_thread(publisher.stop)
        if reader is not None:
            if self._starting is not None:
                await asyncio.wait([self._starting])
            await asyncio.to_thread(reader.stop)
            reader.abandon()

    def _station(self, listener: str) -> Station:
        if not self._stations:
            self._stations = stations_of(self._organism, self._codec)
        station = self._stations.get(listener)
        if station is None:
            raise PipelineError(f"no listener {listener!r} in organism {self._organism.name!r}")
        return station

    async def _reading(self) -> OutcomeReader:
        if self._reader is None or self._starting is None:
            self._reader = OutcomeReader(self._ledger(Event()), self.wake)
            # Not ended with the call that came first.
            self._starting = asyncio.create_task(self._start(self._reader))
        reader = self._reader
        await asyncio.shield(self._starting)
        return reader

    async def _start(self, reader: OutcomeReader) -> None:
        try:
            await asyncio.to_thread(reader.start)
        except Exception:
            if self._reader is reader:
                self._reader = None
            await asyncio.to_thread(reader.stop)
            raise

    def _ledger(self, is_stopping: Event) -> LedgerClient:
        organism = self._organism
        terms = organism.celery.terms
        return LedgerClient(organism.backend, self._codec, terms, is_stopping=is_stopping)


def create_executor(setup: ExecutorSetup) -> CeleryExecutor:
    """What the entry point `celery` of `celery_pump.executors` names.

    Raises:
        ConfigError: the organism's backend is not Redis.
    """
    return CeleryExecutor(setup.organism, setup.codec, setup.spans)
