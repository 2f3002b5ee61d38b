"""One trace a conversation, wherever its handlers run: real processes and an OTLP collector."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import redis
from opentelemetry.sdk.trace import TracerProvider

from backends.redis.archive import Archive
from pipeline import HandlerError, HandlerMetadata, StreamPump, load_organism
from pipeline.spans import Spans
from pipeline.stations import codec_of, stations_of
from pipeline.worker import Call
from tasks.executor import CeleryExecutor
from tests.acceptance import traced_handlers
from tests.acceptance.fleets import Command, pump, started
from tests.acceptance.traced_handlers import Number
from tests.collector import Collector, Seen, running_collector
from tests.fleet import running_worker, write_organism
from tests.servers import RedisServer
from tests.waiting import eventually

MODULE = traced_handlers.__name__
SECRET = "hunter2"
MAX_ATTEMPTS = 2
METADATA = HandlerMetadata("thread", "test")


def listener(name: str, **settings: Any) -> dict[str, Any]:
    payload_class = f"{MODULE}.Number"
    return {
        "name": name,
        "handler": f"{MODULE}.{name}",
        "payload_class": payload_class,
        **settings,
    }


LISTENERS = [
    *map(listener, ("front", "sums", "gate")),
    *(listener(name, cpu_bound=True) for name in ("square", "plainly", "deadly")),
    listener("fails", cpu_bound=True, retries=1, backoff_s=0.01),
    listener("stubborn", cpu_bound=True, timeout_s=0.1),
]


@dataclass
class Fleet:
    """A pump and two workers, and the collector that they send their spans to."""

    file: Path
    collector: Collector
    stack: ExitStack
    pump: Command

    def replace_pump(self) -> None:
        """SIGKILL to the pump, and another in its place."""
        self.pump.kill()
        self.pump = _started_pump(self.stack, self.file, self.collector)


def _started_pump(stack: ExitStack, file: Path, collector: Collector) -> Command:
    command = stack.enter_context(started(file.parent, "run", file.name, **collector.environment))
    assert command.says("Ctrl-C ends it"), command.log
    return command


@pytest.fixture(scope="module")
def fleet(redis_server: RedisServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """One for the whole module; tests look only at traces of their own."""
    prefix = f"test-{uuid4().hex}:"
    folder = tmp_path_factory.mktemp("traced")
    celery = {"max_attempts": MAX_ATTEMPTS}
    url = redis_server.url
    file = write_organism(folder / "organism.yaml", url, prefix, LISTENERS, celery=celery)
    with running_collector() as collector, ExitStack() as stack:
        workers = [
            stack.enter_context(
                started(folder, "worker", file.name, "-c", "2", **collector.environment)
            )
            for _ in range(2)
        ]
        served = _started_pump(stack, file, collector)
        for worker in workers:
            assert worker.says(" ready."), worker.log
        yield Fleet(file, collector, stack, served)
    _clear(url, prefix)


def _clear(url: str, prefix: str) -> None:
    with redis.Redis.from_url(url) as client:
        for pattern in (f"{prefix}*", f"celery.{prefix}*"):
            for key in client.scan_iter(match=pattern, count=1000):
                client.delete(key)


class Caller:
    """A program of a user's: it has a span of its own, and asks the fleet."""

    def __init__(self, pump: StreamPump, provider: TracerProvider, collector: Collector) -> None:
        self.pump = pump
        self.tracer = provider.get_tracer("caller")
        self._collector = collector

    async def ask(self, to: str, payload: Number) -> tuple[str, Number | HandlerError]:
        """The trace that a request became part of, and what came of it."""
        with self.tracer.start_as_current_span("caller") as span:
            trace_id = f"{span.get_span_context().trace_id:032x}"
            try:
                return trace_id, await self.pump.request(to, payload, timeout_s=60)
            except HandlerError as exc:
                return trace_id, exc

    def spans(self, trace_id: str, **wanted: int) -> list[list[Seen]]:
        """Of each name as many as *wanted*, when they have come in."""
        names = [name.replace("_", " ") for name in wanted]
        counts = list(wanted.values())

        def have_come() -> bool:
            return [len(self._collector.of(trace_id, name)) for name in names] == counts

        assert eventually(have_come, timeout_s=20), self._collector.of(trace_id)
        return [self._collector.of(trace_id, name) for name in names]


@pytest.fixture
async def caller(fleet: Fleet) -> AsyncIterator[Caller]:
    provider = TracerProvider(shutdown_on_exit=False)
    organism = load_organism(fleet.file)
    async with StreamPump(organism, is_client=True, tracer_provider=provider) as client:
        yield Caller(client, provider, fleet.collector)


def ids(spans: list[Seen]) -> set[str]:
    return {span.id for span in spans}


@pytest.mark.parametrize("members", [1, 300])
async def test_a_conversation_is_one_trace_across_pump_broker_and_workers(
    fleet: Fleet, caller: Caller, members: int
) -> None:
    """Who called whom, batched or not; a handler's own span is below its hop."""
    trace_id, answer = await caller.ask("front", Number(members))
    assert answer == Number(sum(n**2 for n in range(members)))
    wanted = {"process_front": 2, "process_sums": 2, "process_square": members}
    fronts, both_sums, squares, computes = caller.spans(trace_id, **wanted, compute=members)
    first, last = sorted(fronts, key=lambda span: span.parent in ids(both_sums))
    scatterer, gatherer = sorted(both_sums, key=lambda span: bool(span.links))
    assert scatterer.parent == first.id
    assert {span.parent for span in squares} == {scatterer.id}
    assert {span.parent for span in computes} == ids(squares)
    assert gatherer.parent == scatterer.id
    assert set(gatherer.links) <= ids(squares)
    assert len(gatherer.links) == min(members, 128)
    assert last.parent == gatherer.id
    places = {span.attributes["celery_pump.place"] for span in squares}
    assert not places & {span.attributes["celery_pump.place"] for span in fronts}
    sizes = [span.attributes.get("celery_pump.batch_size", 1) for span in squares]
    assert (max(sizes) > 1) == (members > 1)
    assert {span.service for span in fleet.collector.of(trace_id)} == {"test"}
    assert all(0 <= span.attributes["celery_pump.wait_s"] < 60 for span in squares)


async def test_what_killed_its_worker_runs_again_in_the_same_trace(
    caller: Caller, tmp_path: Path
) -> None:
    """As the second attempt; the first took its span with it."""
    trace_id, answer = await caller.ask("deadly", Number(1, str(tmp_path)))
    assert answer == Number(1, str(tmp_path))
    ((run,),) = caller.spans(trace_id, process_deadly=1)
    assert run.attributes["celery_pump.attempt"] == 2
    assert run.attributes["celery_pump.outcome"] == "completed"


async def test_what_kills_every_worker_is_seen(
    fleet: Fleet, caller: Caller, tmp_path: Path
) -> None:
    """No worker lived to tell; the pump that set it aside does. A replay is below that."""
    trace_id, answer = await caller.ask("deadly", Number(MAX_ATTEMPTS, str(tmp_path)))
    assert isinstance(answer, HandlerError)
    ((verdict,),) = caller.spans(trace_id, settle_deadly=1)
    assert verdict.is_error
    assert verdict.attributes["error.type"] == "worker_lost"
    assert [name for name, _ in verdict.events] == ["process died"] * MAX_ATTEMPTS
    assert {told["celery_pump.ending"] for _, told in verdict.events} == {"SIGKILL"}
    organism = load_organism(fleet.file)
    with Archive(organism.backend, codec_of(organism)) as archive:
        ((letter_id, _),) = archive.letters(10)
        archive.replay(letter_id)
    ((replayed,),) = caller.spans(trace_id, process_deadly=1)
    assert replayed.parent == verdict.id


async def test_what_can_only_be_stopped_with_its_process_is_seen(caller: Caller) -> None:
    """The process sends its spans before it ends itself."""
    trace_id, answer = await caller.ask("stubborn", Number(1))
    assert isinstance(answer, HandlerError)
    ((run,),) = caller.spans(trace_id, process_stubborn=1)
    assert run.attributes["error.type"] == "timeout"


async def test_a_run_outside_any_conversation_belongs_to_its_caller(
    fleet: Fleet, caller: Caller
) -> None:
    """An event loop that awaits a single run on the fleet."""
    organism = load_organism(fleet.file)
    codec = codec_of(organism)
    station = stations_of(organism, codec)["plainly"]
    executor = CeleryExecutor(organism, codec, Spans(caller.tracer))
    await executor.start()
    with caller.tracer.start_as_current_span("caller") as span:
        call = Call("plainly", station.listener.handler, codec.encode(Number(1)), METADATA)
        await executor.run(call)
    await executor.stop()
    context = span.get_span_context()
    ((run,),) = caller.spans(f"{context.trace_id:032x}", process_plainly=1)
    assert run.parent == f"{context.span_id:016x}"


async def test_an_error_leaves_no_text_of_its_own(fleet: Fleet, caller: Caller) -> None:
    """Both runs are in the trace; a payload that an exception quotes is not."""
    trace_id, answer = await caller.ask("fails", Number(1, secret=SECRET))
    assert SECRET in str(answer)
    (runs,) = caller.spans(trace_id, process_fails=2)
    assert [run.attributes["error.type"] for run in runs] == ["LookupError"] * 2
    assert sorted(run.attributes["celery_pump.attempt"] for run in runs) == [1, 2]
    assert not any(SECRET.encode() in body for body in fleet.collector.bodies)


async def test_a_pump_that_takes_over_goes_on_with_the_trace(
    fleet: Fleet, caller: Caller, tmp_path: Path
) -> None:
    """What the dead one was running runs again, where whoever sent it belongs."""
    thread = await caller.pump.inject("gate", Number(1, str(tmp_path)))
    assert eventually(lambda: len(list(tmp_path.glob("begun.*"))) == 1, timeout_s=30)
    fleet.replace_pump()
    assert eventually(lambda: len(list(tmp_path.glob("begun.*"))) == 2, timeout_s=30)
    (tmp_path / "open").touch()
    conversation = ("messaging.message.conversation_id", thread)

    def found() -> list[Seen]:
        return [span for span in fleet.collector.spans if conversation in span.attributes.items()]

    assert eventually(lambda: len(found()) == 1, timeout_s=20)
    (run,) = found()
    assert run.name == "process gate"
    # Its parent is the client's span, which is not exported here.
    assert run.parent
    assert run.attributes["celery_pump.place"].endswith(f":{fleet.pump.process.pid}")


async def test_a_workers_last_spans_are_sent(
    redis_server: RedisServer, redis_prefix: str, tmp_path: Path
) -> None:
    """When a process has served its time, and when a worker is told to stop."""
    file = write_organism(
        tmp_path / "organism.yaml",
        redis_server.url,
        redis_prefix,
        [listener("plainly", cpu_bound=True)],
        process_pool={"workers": 1, "max_tasks_per_child": 2},
        # Long enough that no copy is sent, which would count as a task.
        celery={"lease_s": 60},
    )
    with running_collector() as collector:
        seldom = collector.environment | {"OTEL_BSP_SCHEDULE_DELAY": "600000"}

        def came(number: int) -> bool:
            runs = [span for span in collector.spans if span.name == "process plainly"]
            return len(runs) == number

        with running_worker(file, environment=seldom) as worker:
            (first,) = worker.children()
            async with StreamPump(load_organism(file)) as served:
                for n in range(2):
                    await served.request("plainly", Number(n))
                assert eventually(lambda: came(2)), worker.log
                # A message that reached the process at its end would be sent again much later.
                assert eventually(lambda: worker.children() not in ([], [first]), timeout_s=30)
                await served.request("plainly", Number(2))
            assert worker.stop() == 0
            assert eventually(lambda: came(3)), worker.log
    _clear(redis_server.url, redis_prefix)


def test_a_pool_process_sends_its_handlers_spans(tmp_path: Path) -> None:
    """On a laptop: hops are the pump's spans, what a handler begins is its process's."""
    organism = {
        "organism": {"name": "laptop"},
        "process_pool": {"workers": 1},
        "listeners": [listener("plainly", cpu_bound=True)],
    }
    (tmp_path / "organism.yaml").write_text(json.dumps(organism))
    with running_collector() as collector:
        lines = "".join(f'{{"n": {n}}}\n' for n in range(3))
        words = ("run", "organism.yaml", "--to", "plainly")
        done = pump(tmp_path, *words, stdin=lines, **collector.environment)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 3
    hops = [span for span in collector.spans if span.name == "process plainly"]
    own = [span for span in collector.spans if span.name == "compute"]
    assert len({span.trace_id for span in collector.spans}) == 3
    assert len(hops) == len(own) == 3
    assert {span.parent for span in own} == ids(hops)


def test_a_command_that_sends_is_at_the_top(fleet: Fleet) -> None:
    """It has sent its span before it ends."""
    words = ("send", fleet.file.name, "plainly", '{"n": 1}', "--json")
    done = pump(fleet.file.parent, *words, **fleet.collector.environment)
    assert done.returncode == 0, done.stderr
    conversation = json.loads(done.stdout)["thread"]
    (sent,) = [
        span
        for span in fleet.collector.spans
        if span.name == "send plainly"
        and span.attributes["messaging.message.conversation_id"] == conversation
    ]
    assert not sent.parent


def test_an_exporter_that_is_not_installed_stops_a_worker(fleet: Fleet) -> None:
    """Before it has become Celery's."""
    words = ("worker", fleet.file.name)
    done = pump(fleet.file.parent, *words, OTEL_TRACES_EXPORTER="zipkin")
    assert done.returncode == 2
    assert done.stderr.startswith("OTEL_TRACES_EXPORTER: no exporter 'zipkin' is installed")
