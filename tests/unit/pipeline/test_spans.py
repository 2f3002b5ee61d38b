"""What a trace shows of a pump's hops; spans are kept in memory."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, DEFAULT_ON
from opentelemetry.trace import SpanKind, StatusCode

from backends.mailbox import Envelope
from pipeline import Gathered, HandlerError, HandlerResponse, StreamPump
from pipeline.messages import ErrorCode, ErrorMessage
from pipeline.spans import Spans

SECRET = "hunter2"


@dataclass
class Number:
    n: int = 0
    text: str = ""


class Traced:
    """A tracer provider, and the spans it was told of."""

    def __init__(self) -> None:
        self.provider = TracerProvider(sampler=DEFAULT_ON, shutdown_on_exit=False)
        self._exporter = InMemorySpanExporter()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self.provider.get_tracer("tests")

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """All that have ended."""
        return self._exporter.get_finished_spans()

    def named(self, name: str) -> list[ReadableSpan]:
        """Those of one name, in the order of their end."""
        return [span for span in self.spans if span.name == name]

    def only(self, name: str) -> ReadableSpan:
        (span,) = self.named(name)
        return span

    def pump(self, **handlers: Callable[..., Any]) -> StreamPump:
        """A pump with a listener for each of *handlers*."""
        pump = StreamPump(tracer_provider=self.provider)
        for name, handler in handlers.items():
            pump.register(name, handler, Number)
        return pump


@pytest.fixture
def traced() -> Traced:
    return Traced()


def told(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def parent_of(span: ReadableSpan) -> int | None:
    return span.parent and span.parent.span_id


def id_of(span: ReadableSpan) -> int:
    assert span.context is not None
    span_id: int = span.context.span_id
    return span_id


def trace_of(span: ReadableSpan) -> int:
    assert span.context is not None
    trace_id: int = span.context.trace_id
    return trace_id


async def echo(payload: Number, metadata: Any) -> HandlerResponse:
    return HandlerResponse.respond(payload)


async def scattering(payload: Any, metadata: Any) -> HandlerResponse:
    if isinstance(payload, Gathered):
        return HandlerResponse.respond(Number(sum(each.n for each in payload.results)))
    return HandlerResponse.scatter([Number(n) for n in range(payload.n)], to="square")


def square(payload: Number, metadata: Any) -> HandlerResponse:
    return HandlerResponse.respond(Number(payload.n**2))


async def to_scattering(payload: Any, metadata: Any) -> HandlerResponse:
    if metadata.from_id == "scattering":
        return HandlerResponse.respond(payload)
    return HandlerResponse(payload, to="scattering")


async def test_a_conversation_is_one_trace(traced: Traced) -> None:
    """Who called whom, from the message that came in to the answer; answers are linked."""
    async with traced.pump(front=to_scattering, scattering=scattering, square=square) as pump:
        assert await pump.request("front", Number(4)) == Number(14)
    assert len({trace_of(span) for span in traced.spans}) == 1
    sent = traced.only("send front")
    first, last = traced.named("process front")
    scatterer, gatherer = traced.named("process scattering")
    members = traced.named("process square")
    assert sent.parent is None
    assert parent_of(first) == id_of(sent)
    assert parent_of(scatterer) == id_of(first)
    assert [parent_of(each) for each in members] == [id_of(scatterer)] * 4
    assert parent_of(gatherer) == id_of(scatterer)
    assert {link.context.span_id for link in gatherer.links} == set(map(id_of, members))
    assert parent_of(last) == id_of(gatherer)
    assert len(traced.spans) == 9


async def test_what_a_span_tells(traced: Traced) -> None:
    """After the conventions for messaging."""
    async with traced.pump(echo=echo) as pump:
        thread = await pump.inject("echo", Number(1))
        await pump.join()
    sent, hop = traced.only("send echo"), traced.only("process echo")
    assert (sent.kind, hop.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    common = {
        "messaging.system": "celery_pump",
        "messaging.destination.name": "echo",
        "messaging.message.conversation_id": thread,
        "celery_pump.thread_id": thread,
    }
    assert common.items() <= told(sent).items()
    assert common.items() <= told(hop).items()
    assert told(sent)["messaging.operation.type"] == "send"
    assert told(hop)["messaging.operation.type"] == "process"
    assert told(hop)["messaging.message.id"] == told(sent)["messaging.message.id"]
    assert told(hop)["celery_pump.attempt"] == 1
    assert told(hop)["celery_pump.outcome"] == "completed"
    assert ":" in told(hop)["celery_pump.place"]
    assert 0 <= told(hop)["celery_pump.wait_s"] < 60
    assert hop.status.status_code is StatusCode.UNSET


async def test_a_request_belongs_to_its_callers_trace(traced: Traced) -> None:
    async with traced.pump(echo=echo) as pump:
        with traced.tracer.start_as_current_span("caller"):
            await pump.request("echo", Number(1))
        await pump.request("echo", Number(1))
    sent, alone = traced.named("send echo")
    assert parent_of(sent) == id_of(traced.only("caller"))
    assert alone.parent is None
    assert trace_of(alone) != trace_of(sent)


async def test_whoever_starts_a_pump_is_not_its_messages_parent(traced: Traced) -> None:
    """Their handlers' tasks begin in the context that the pump was started in."""
    with traced.tracer.start_as_current_span("starter"):
        pump = traced.pump(echo=echo)
        await pump.start()
    await pump.request("echo", Number(1))
    await pump.shutdown()
    assert trace_of(traced.only("process echo")) == trace_of(traced.only("send echo"))
    assert trace_of(traced.only("send echo")) != trace_of(traced.only("starter"))


async def test_a_handlers_own_spans_are_below_its_hop(traced: Traced) -> None:
    """A coroutine's, also after it has waited, and those of a plain function in its thread."""

    async def waits(payload: Number, metadata: Any) -> HandlerResponse:
        if metadata.from_id == "plain":
            return HandlerResponse.respond(payload)
        await asyncio.sleep(0)
        with traced.tracer.start_as_current_span("waited"):
            await asyncio.sleep(0)
        return HandlerResponse(payload, to="plain")

    def plain(payload: Number, metadata: Any) -> HandlerResponse:
        with traced.tracer.start_as_current_span("in thread"):
            return HandlerResponse.respond(payload)

    async with traced.pump(waits=waits, plain=plain) as pump:
        await pump.request("waits", Number(1))
    assert parent_of(traced.only("waited")) == id_of(traced.named("process waits")[0])
    assert parent_of(traced.only("in thread")) == id_of(traced.only("process plain"))


async def test_what_a_handler_sends_by_itself_is_below_its_hop(traced: Traced) -> None:
    """A conversation of its own, in the same trace."""

    async def injects(payload: Number, metadata: Any) -> None:
        await pump.inject("echo", payload)

    async with traced.pump(injects=injects, echo=echo) as pump:
        await pump.inject("injects", Number(1))
        await pump.join()
    assert parent_of(traced.only("send echo")) == id_of(traced.only("process injects"))
    assert trace_of(traced.only("process echo")) == trace_of(traced.only("process injects"))


async def raises(payload: Number, metadata: Any) -> None:
    raise LookupError(f"no {payload.text}")


async def raises_notes(payload: Number, metadata: Any) -> None:
    exc = LookupError()
    exc.add_note(payload.text)
    raise exc


async def raises_syntax(payload: Number, metadata: Any) -> None:
    compile(f"{payload.text} {payload.text}", payload.text, "exec")


async def returns_nonsense(payload: Number, metadata: Any) -> Any:
    return payload.text


async def forwards_nowhere(payload: Number, metadata: Any) -> Any:
    return HandlerResponse(payload, to=payload.text)


@pytest.mark.parametrize(
    ("handler", "error_type", "code"),
    [
        (raises, "LookupError", ErrorCode.RAISED),
        (raises_notes, "LookupError", ErrorCode.RAISED),
        (raises_syntax, "raised", ErrorCode.RAISED),
        (returns_nonsense, "bad_return", ErrorCode.BAD_RETURN),
    ],
)
async def test_an_error_is_its_type_and_nothing_of_its_text(
    traced: Traced, handler: Callable[..., Any], error_type: str, code: str
) -> None:
    """The text of an exception may quote what must not be in a trace."""
    async with traced.pump(fails=handler) as pump:
        with pytest.raises(HandlerError):
            await pump.request("fails", Number(1, SECRET))
    hop = traced.only("process fails")
    assert told(hop)["error.type"] == error_type
    assert told(hop)["celery_pump.outcome"] == "failed"
    assert (hop.status.status_code, hop.status.description) == (StatusCode.ERROR, code)
    assert not any(SECRET in span.to_json() for span in traced.spans)


async def test_what_a_pump_refuses_is_a_span_of_its_own(traced: Traced) -> None:
    """The handler had completed by then."""
    async with traced.pump(fails=forwards_nowhere) as pump:
        with pytest.raises(HandlerError):
            await pump.request("fails", Number(1, SECRET))
    hop, verdict = traced.only("process fails"), traced.only("settle fails")
    assert told(hop)["celery_pump.outcome"] == "completed"
    assert parent_of(verdict) == id_of(hop)
    assert told(verdict)["error.type"] == "bad_return"
    assert verdict.status.status_code is StatusCode.ERROR
    assert not any(SECRET in span.to_json() for span in traced.spans)


async def test_a_retry_is_below_the_run_that_failed(traced: Traced) -> None:
    async def at_last(payload: Number, metadata: Any) -> HandlerResponse:
        if metadata.attempt < 3:
            raise TimeoutError
        return HandlerResponse.respond(payload)

    pump = traced.pump()
    pump.register("moody", at_last, Number, retries=2, backoff_s=0.001)
    async with pump:
        await pump.request("moody", Number(1))
    first, second, third = traced.named("process moody")
    assert [told(each)["celery_pump.attempt"] for each in (first, second, third)] == [1, 2, 3]
    assert (parent_of(second), parent_of(third)) == (id_of(first), id_of(second))
    assert len({trace_of(span) for span in traced.spans}) == 1


async def test_a_callers_sampling_holds(traced: Traced) -> None:
    """Nothing of a trace that is not sampled is recorded, and its id still goes along."""
    seen = []

    async def looks(payload: Number, metadata: Any) -> HandlerResponse | None:
        seen.append(trace.get_current_span().get_span_context())
        return HandlerResponse(Number(2), to="looks") if payload.n == 1 else None

    unsampled = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("tests")
    async with traced.pump(looks=looks, echo=looks) as pump:
        with unsampled.start_as_current_span("caller") as caller:
            await pump.inject("echo", Number(1))
            await pump.join()
    assert not traced.spans
    trace_id = caller.get_span_context().trace_id
    assert [each.trace_id for each in seen] == [trace_id, trace_id]
    assert not any(each.trace_flags.sampled for each in seen)


async def test_vendors_state_goes_along(traced: Traced) -> None:
    seen = []

    async def looks(payload: Number, metadata: Any) -> None:
        seen.append(trace.get_current_span().get_span_context().trace_state)

    state = trace.TraceState([("vendor", "value")])
    context = trace.SpanContext(7, 7, True, trace.TraceFlags(1), state)
    async with traced.pump(looks=looks) as pump:
        with trace.use_span(trace.NonRecordingSpan(context)):
            await pump.inject("looks", Number(1))
            await pump.join()
    assert seen == [state]


async def test_what_is_given_up_has_a_span(traced: Traced) -> None:
    """A pump that stops without draining cancels its handlers."""
    begun = asyncio.Event()

    async def hangs(payload: Number, metadata: Any) -> None:
        begun.set()
        await asyncio.Event().wait()

    pump = traced.pump(hangs=hangs)
    await pump.start()
    await pump.inject("hangs", Number(1))
    await begun.wait()
    await pump.shutdown(drain=False)
    assert told(traced.only("process hangs"))["celery_pump.outcome"] == "abandoned"


async def test_a_message_that_is_not_let_in_has_a_span(traced: Traced) -> None:
    """Only its being sent: with the error's class."""
    async with traced.pump(echo=echo) as pump:
        pump._running()._max_open = 0
        with pytest.raises(TimeoutError):
            await pump.request("echo", Number(1, SECRET), timeout_s=0.01)
    sent = traced.only("send echo")
    assert told(sent)["error.type"] == "CancelledError"
    assert not traced.named("process echo")


async def test_a_hop_leaves_no_span_behind(traced: Traced) -> None:
    """A task runs one hop after the other; none is in the trace of the one before."""
    async with traced.pump(echo=echo) as pump:
        await asyncio.gather(*(pump.request("echo", Number(n)) for n in range(50)))
    sent = {trace_of(span): id_of(span) for span in traced.named("send echo")}
    assert len(sent) == 50
    assert {trace_of(hop): parent_of(hop) for hop in traced.named("process echo")} == sent


def test_a_message_without_a_trace_begins_one(traced: Traced) -> None:
    """It came from a pump that is not traced; what comes of it belongs together."""
    envelope = Envelope("m", "c", "s", "chain", "t", "echo", "from", b"payload")
    spans = Spans(traced.tracer)
    with traced.tracer.start_as_current_span("not its parent"):
        hop = spans.enter(envelope)
        after = hop.envelope
        hop.leave()
    following = spans.enter(after)
    following.leave()
    first, second = traced.named("process echo")
    assert first.parent is None
    assert parent_of(second) == id_of(first)
    assert "celery_pump.wait_s" not in told(first)


def test_deaths_are_told(traced: Traced) -> None:
    """A run that is done again is a later attempt; what killed too many tells of each."""
    envelope = Envelope("m", "c", "s", "chain", "t", "deadly", "from", b"payload")
    spans = Spans(traced.tracer)
    spans.enter(envelope, deaths=2, batch_size=1).leave()
    error = ErrorMessage(ErrorCode.WORKER_LOST, SECRET, "deadly")
    spans.set_aside(envelope, error, [("w/1", 1.5), ("w/2", 2.5)])
    assert told(traced.only("process deadly"))["celery_pump.attempt"] == 3
    verdict = traced.only("settle deadly")
    assert told(verdict)["celery_pump.attempt"] == 2
    assert [(each.timestamp, dict(each.attributes or {})) for each in verdict.events] == [
        (1_500_000_000, {"celery_pump.place": "w/1"}),
        (2_500_000_000, {"celery_pump.place": "w/2"}),
    ]
    assert SECRET not in verdict.to_json()


async def test_without_a_provider_nothing_is_traced() -> None:
    """The default: no message grows by a trace."""
    pump = StreamPump()
    pump.register("echo", echo, Number)
    async with pump:
        assert pump._running().spans is None
        assert await pump.request("echo", Number(1)) == Number(1)
